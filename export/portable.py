"""A function as one file for another runtime: ONNX Runtime, or LiteRT.

Neither has the strings and tables of a SavedModel, so this is for functions of numbers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export.errors import ExportError
from export.saved_model import compare
from export.signatures import Signature

# Format -> the ending of its files, and the packages that write and run them.
SUFFIXES = {"onnx": ".onnx", "litert": ".tflite"}
_PACKAGES = {"onnx": ("onnx", "tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}
_STEPS = "TensorListReserve"

_Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


def write_portable(
    path: str | os.PathLike[str],
    signature: Signature,
    format: str,
    *,
    resources: Sequence[object] = (),
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> Path:
    """Writes a signature as one file that ONNX Runtime or LiteRT runs, without TensorFlow.

    Inputs and outputs keep their names. The file has run on all examples in its own runtime, and
    answered what the function does, before it gets its name; if anything fails, an older one stays.
    A file for LiteRT needs nothing but its built-in operations.

    Args:
        path: the file, which ends in `.onnx` or `.tflite`; one that exists is replaced.
        signature: a function of numbers, and examples to try the file with, at least one.
        format: `"onnx"` or `"litert"`.
        resources: the Keras layers and models that the function uses.
        rtol: how near the answers must be, of their size.
        atol: how near the answers must be, beside that.

    Returns:
        The file.

    Raises:
        ValueError: if an argument cannot be used: see the message.
        ExportError: if packages are missing, or the format cannot hold the function.
    """
    path = Path(path)
    _check(path, signature, format)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as folder:
        partial = Path(folder) / path.name
        try:
            with _quiet():
                _convert(partial, signature, format, resources)
                run = _RUNTIMES[format](partial)
                answers = [run(signature.arrays(at)) for at in range(len(signature.examples))]
        except OSError:
            raise
        except Exception as error:  # The converters and runtimes have no error in common.
            raise ExportError(f"{format} cannot hold this function: {_first(error)}") from error
        for index, answer in enumerate(answers):
            _compare(answer, signature, index, rtol, atol)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    return path


def _check(path: Path, signature: Signature, format: str) -> None:
    if format not in SUFFIXES:
        raise ValueError(f"`format` must be one of {', '.join(SUFFIXES)}. Received: {format!r}.")
    if path.suffix != SUFFIXES[format]:
        raise ValueError(f"`path` must end in {SUFFIXES[format]}. Received: {str(path)!r}.")
    if not signature.examples:
        raise ValueError("`signature` must have an example to try the file with. Received: none.")
    for name, spec in signature.inputs.items():
        if spec.dtype == tf.string:
            raise ValueError(f"Input `{name}` must be of numbers. Received: string.")
    graph = signature.trace().get_concrete_function(**_specs(signature)).graph.as_graph_def()
    if format == "litert" and _STEPS in _op_names(graph):
        raise ExportError(
            "litert cannot hold this function: it loops over steps and keeps what each makes, for "
            f"which LiteRT has no built-in operation ({_STEPS})."
        )
    missing = [name for name in _PACKAGES[format] if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"{format} needs packages that are not installed. Install them with: "
            f"pip install {' '.join(missing)}"
        )


def _specs(signature: Signature) -> dict[str, tf.TensorSpec]:
    return {
        name: tf.TensorSpec(spec.shape, spec.dtype, name=name)
        for name, spec in signature.inputs.items()
    }


def _op_names(graph: Any) -> set[str]:
    bodies = (graph.node, *(function.node_def for function in graph.library.function))
    return {node.op for body in bodies for node in body}


class _Model(keras.Model):
    """A function as a model, for what exports models only."""

    def __init__(self, function: Callable[..., Mapping[str, Any]], resources: Sequence[object]):
        super().__init__(name="model", dtype="float32")
        self.function, self.resources = function, list(resources)
        self.built = True

    def call(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self.function(**inputs))


def _convert(path: Path, signature: Signature, format: str, resources: Sequence[object]) -> None:
    built_in = {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}}
    _Model(signature.function, resources).export(
        str(path),
        format=format,
        input_signature=[_specs(signature)],
        verbose=False,
        **(built_in if format == "litert" else {}),
    )


def _in_onnx_runtime(path: Path) -> _Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _in_litert(path: Path) -> _Run:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path)).get_signature_runner()
    return lambda inputs: run(**inputs)


_RUNTIMES: dict[str, Callable[[Path], _Run]] = {
    "onnx": _in_onnx_runtime,
    "litert": _in_litert,
}


def _compare(
    answer: Mapping[str, np.ndarray], signature: Signature, index: int, rtol: float, atol: float
) -> None:
    tensors = {name: tf.constant(array) for name, array in signature.arrays(index).items()}
    for name, expected in signature.function(**tensors).items():
        try:
            compare(
                f"Output `{name}`, example {index}", answer[name], np.array(expected), rtol, atol
            )
        except ValueError as error:
            raise ExportError(f"The file does not answer as the function does. {error}") from error


def _first(error: Exception) -> str:
    """What it says first, as such errors go on for pages."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what converters warn of, log and write: that the file is right is seen by its run."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        logging.disable(before)
