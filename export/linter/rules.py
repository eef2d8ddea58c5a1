"""What can be told of a SavedModel from its messages, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from export import graph
from export.layout import DEFAULT_SIGNATURE

_HALF = {"DT_HALF", "DT_BFLOAT16"}
_SHOWN = 5  # names in one finding
# Operations that change what a later run finds: state, or the state of a random generator.
_REMEMBERED = re.compile(
    "(Resource)?Scatter(Nd)?(Add|Div|Max|Min|Mul|Sub|Update)"
    "|Assign(Add|Sub)?(VariableOp)?|(Resource)?StridedSliceAssign|(Resource)?CountUpTo"
    "|LookupTable(Insert|Remove)(V2)?"
    "|Random(Crop|Gamma|Poisson|PoissonV2|Shuffle|StandardNormal|Uniform|UniformInt)"
    "|(Parameterized)?TruncatedNormal|Multinomial|NonDeterministicInts|Rng(ReadAnd)?Skip"
    r"|Stateful(RandomBinomial|StandardNormal|StandardNormalV2|TruncatedNormal|Uniform\w*)"
    r"|SampleDistortedBoundingBox(V2)?|\w*CandidateSampler"
)


class Finding(NamedTuple):
    """Something a server would refuse or do wrong, or that may surprise."""

    level: str  # "error" or "warning"
    where: str
    what: str


def signatures(meta_graph: Any, name_of_type: Callable[[int], str]) -> Iterator[Finding]:
    """Of the names, types and shapes that a client sees.

    Args:
        meta_graph: A `MetaGraphDef`.
        name_of_type: The name of a `tensorflow.DataType`, such as `DT_HALF`.
    """
    if DEFAULT_SIGNATURE not in meta_graph.signature_def:
        yield Finding(
            "error",
            "signatures",
            f"expected one named {DEFAULT_SIGNATURE}, which is asked where none is named. "
            f"Received: {_listed(name for name in meta_graph.signature_def if name[:2] != '__')}",
        )
    for signature, definition in sorted(meta_graph.signature_def.items()):
        if signature.startswith("__"):  # of the SavedModel itself, not to be asked
            continue
        for kind, tensors in (("input", definition.inputs), ("output", definition.outputs)):
            for name, tensor in sorted(tensors.items()):
                for level, what in _of_tensor(kind, name, tensor, name_of_type(tensor.dtype)):
                    yield Finding(level, f"{signature}, {kind} {name}", what)


def _of_tensor(kind: str, name: str, tensor: Any, dtype: str) -> Iterator[tuple[str, str]]:
    if tensor.WhichOneof("encoding") == "composite_tensor":
        yield "error", "it is ragged or sparse, which no server can return; pad it, with lengths"
        return
    if name.startswith("keras_tensor"):
        yield "error", "Keras' own name, which changes with every export; name the tensor"
    if kind == "output" and dtype in _HALF:
        yield "error", f"{dtype}, which has no form in JSON; cast it to float32"
    shape = tensor.tensor_shape
    if shape.unknown_rank:
        return
    if not shape.dim:
        yield "warning", "it has no batch axis, so a server that batches requests refuses it"
    elif shape.dim[0].size >= 0:
        size = shape.dim[0].size
        level = "error" if kind == "input" else "warning"
        yield level, f"its batch is always of {size}; the first axis should be of any size"


def compiled(meta_graph: Any) -> Iterator[Finding]:
    """Of what asks for XLA, which a stock server has switched off."""
    if names := graph.compiled_functions(meta_graph):
        yield Finding(
            "error",
            "graph",
            "a stock server answers `XLA compilation disabled` to what is compiled with "
            f"jit_compile=True: {_listed(names)}",
        )


def operations(
    meta_graph: Any, exists: Callable[[str], bool], on_cpu: Callable[[str], bool]
) -> Iterator[Finding]:
    """Of the operations that TensorFlow lacks, or that do not run on a CPU.

    Args:
        meta_graph: A `MetaGraphDef`.
        exists: Whether there is an operation of this name.
        on_cpu: Whether it runs on a CPU.
    """
    if unknown := {name for name in graph.op_names(meta_graph) if not exists(name)}:
        yield Finding("error", "graph", f"a stock server has no such operation: {_listed(unknown)}")
    reached = graph.reached_op_names(meta_graph) - unknown
    if elsewhere := {name for name in reached if not on_cpu(name)}:
        yield Finding(
            "error",
            "graph",
            "no kernel runs it on a CPU (an RNN exported beside a GPU, or Python code in the "
            f"graph): {_listed(elsewhere)}",
        )


def remembering(meta_graph: Any) -> Iterator[Finding]:
    """Of the signatures whose answers depend on what was asked before."""
    for signature, definition in sorted(meta_graph.signature_def.items()):
        if signature.startswith("__"):
            continue
        outputs = [tensor.name for tensor in definition.outputs.values()]
        reached = graph.reached_op_names(meta_graph, outputs)
        if names := {name for name in reached if _REMEMBERED.fullmatch(name)}:
            yield Finding(
                "warning",
                signature,
                "its answers may depend on chance and on what was asked before (dropout left on, "
                f"sampling, a state that is kept): {_listed(names)}",
            )


def _listed(names: Any) -> str:
    ordered = sorted(set(names))
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return (", ".join(ordered[:_SHOWN]) or "none") + more
