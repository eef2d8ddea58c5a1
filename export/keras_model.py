"""Any built Keras model as a signature, as a version on disk, and out of a `.keras` file."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export.errors import ExportError
from export.layout import DEFAULT_SIGNATURE
from export.saved_model import write
from export.signatures import Signature

_HALF = (tf.float16, tf.bfloat16)
# What Keras calls inputs that have no name; the numbers change with the history of the process.
_NO_NAME = re.compile(r"(keras_tensor|input_layer)(_\d+)?")
# The sizes of unknown axes that an example is tried with: convolutions may not fit into one step.
_SIZES = (1, 8, 64, 256)


def signature_of(
    model: keras.Model,
    *,
    inputs: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    examples: Sequence[Mapping[str, Any]] | None = None,
) -> Signature:
    """The signature of a built Keras model: functional, sequential, or of a class of its own.

    It runs the model with `training=False`. Half-precision inputs and outputs, which REST cannot
    carry, are float32 to its clients, and recurrent layers run without cuDNN, so that what is
    written where there is a GPU answers where there is none.

    An input is called by its key, where the model takes a dict, or as its `keras.Input` is; an
    output by its key, or as its layer is; all in lower case, with `_` for what else does not fit.
    Names that Keras chose, or that two have, give way to `inputs`, `inputs_1`, … and `outputs`,
    `outputs_1`, …, as they would change with the history of the process.

    Args:
        model: the model. One of a class of its own must have been called, on a single argument.
        inputs: what the model takes, a structure of `tf.TensorSpec` or `keras.Input`; default: the
            model's own inputs. A model of a class of its own does not tell the types that it was
            called on, only the shapes: give it where they are others than the model's
            `input_dtype`, or where an axis beside the batch may vary.
        input_names: the names of all inputs, in the order of `keras.tree.flatten`.
        output_names: the same of all outputs.
        examples: as for `Signature`; default: one row of zeros or empty strings.

    Raises:
        ValueError: if the model is not built, or cannot be served: see the message.

    Example:

    >>> rows = keras.Input((3,), name="Rows")
    >>> model = keras.Model(rows, keras.layers.Dense(2, name="scores")(rows))
    >>> signature = signature_of(model)
    >>> sorted(signature.inputs), sorted(signature.function(rows=tf.ones((1, 3))))
    (['rows'], ['scores'])
    """
    _check(model)
    structure = _inputs_of(model) if inputs is None else inputs
    leaves = keras.tree.flatten(structure)
    found = [_key(path) or leaf.name for path, leaf in keras.tree.flatten_with_path(structure)]
    names = _names(found, "inputs", input_names)

    def function(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        flat = [
            tf.cast(tensors[name], leaf.dtype) if _is_half(leaf.dtype) else tensors[name]
            for name, leaf in zip(names, leaves, strict=True)
        ]
        with _without_cudnn(model):
            outputs = model(keras.tree.pack_sequence_as(structure, flat), training=False)
        return _named_outputs(model, outputs, output_names)

    specs = {name: _spec(name, leaf) for name, leaf in zip(names, leaves, strict=True)}
    if examples is None:
        examples = [_example(function, specs)]
    return Signature(function, specs, examples)


def write_model(
    base: str | os.PathLike[str],
    model: keras.Model,
    *,
    batch_sizes: Sequence[int] = (),
    **options: Any,
) -> Path:
    """Writes a built Keras model as the next version below `base`, and returns its folder.

    Args:
        base: as for `write`.
        model: as for `signature_of`.
        batch_sizes: as for `write`.
        options: the others of `signature_of`.

    Example:

    >>> import tempfile
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_model(f"{folder}/tiny", model, output_names=["scores"]).name
    '1'
    """
    signatures = {DEFAULT_SIGNATURE: signature_of(model, **options)}
    return write(base, signatures, resources=[model], batch_sizes=batch_sizes)


def read_model(path: str | os.PathLike[str]) -> keras.Model:
    """The model in a `.keras` file; no code that is stored in it is run.

    Raises:
        ExportError: in one line, if there is none that can be read.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"{path}: expected a .keras file. Received: no such file.")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise ExportError(f"{path}: expected a .keras file, as `model.save` writes it.")
    with contextlib.suppress(ImportError):  # our layers are known to Keras once they are imported
        importlib.import_module("keras_attention")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever a file or a layer in it leads to.
        raise ExportError(f"{path}: cannot be loaded. {reason_of(error)}") from error
    if not isinstance(model, keras.Model):
        raise ExportError(
            f"{path}: expected a keras.Model in it. Received: {type(model).__name__}."
        )
    return model


def reason_of(error: Exception) -> str:
    """What an error of Keras says in the first place, as it may go on for pages."""
    text = str(error).rpartition("Exception encountered: ")[2]
    text = " ".join(re.split(r"\n\n|\s*Full object config:", text.strip())[0].split())
    text = text or type(error).__name__
    return text if len(text) <= 400 else f"{text[:400]} …"


def _check(model: object) -> None:
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: {model!r}.")
    if not model.built:
        raise ValueError(
            f"`model` must be built: call it on a batch. Received: {model.name}, never called."
        )


def _inputs_of(model: keras.Model) -> Any:
    """The structure of what a model takes, of tensors that have a shape, a type and a name."""
    if isinstance(model, keras.Sequential) and hasattr(model, "inputs"):
        (given,) = model.inputs
        shape = (None, *given.shape[1:])  # one that was built by a call has the batch of that call
        return keras.KerasTensor(shape, given.dtype, given.sparse, given.ragged, name=given.name)
    if _is_functional(model):
        return model.input
    shapes = (model.get_build_config() or {}).get("input_shape")
    if shapes is None:
        raise ValueError(
            f"`inputs` must be given, as {model.name} does not tell what it was called on."
        )
    return keras.tree.map_shape_structure(
        lambda shape: keras.KerasTensor((None, *shape[1:]), model.input_dtype), shapes
    )


def _is_functional(model: keras.Model) -> bool:
    """Whether Keras knows the graph of its operations, from its inputs on."""
    return hasattr(model, "operations") and hasattr(model, "output_names")


def _is_half(dtype: Any) -> bool:
    return tf.as_dtype(dtype) in _HALF


def _spec(name: str, leaf: Any) -> tf.TensorSpec:
    if getattr(leaf, "sparse", False) or getattr(leaf, "ragged", False):
        kind = "sparse" if leaf.sparse else "ragged"
        raise ValueError(f"Input `{name}` must be a dense tensor. Received: a {kind} one.")
    return tf.TensorSpec(leaf.shape, tf.float32 if _is_half(leaf.dtype) else leaf.dtype)


def _key(path: Sequence[Any]) -> str | None:
    """Where something is in a structure that has dicts; None where it has only an order."""
    return "_".join(map(str, path)) if any(isinstance(each, str) for each in path) else None


def _snake_case(name: str) -> str:
    """As Keras makes the names of layers of those of their classes."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _fitting(name: str | None) -> str | None:
    """The name as a signature can have it, or None where it has none or cannot."""
    name = re.sub("[^a-z0-9]+", "_", _snake_case(name or "")).strip("_")
    return name if re.match("[a-z]", name) and not _NO_NAME.fullmatch(name) else None


def _names(
    found: Sequence[str | None], default: str, chosen: Sequence[str] | None = None
) -> list[str]:
    """A name for each, no two the same: the one chosen, the one found, or a numbered default."""
    if chosen is not None:
        if len(chosen) != len(found) or len(set(chosen)) != len(chosen):
            raise ValueError(
                f"`{default.removesuffix('s')}_names` must be {len(found)} names, all different. "
                f"Received: {list(chosen)}."
            )
        return list(chosen)
    fitting = [_fitting(name) for name in found]
    kept = [name if fitting.count(name) == 1 else None for name in fitting]
    numbered = (f"{default}_{number}" if number else default for number in itertools.count())
    free = (name for name in numbered if name not in kept)
    return [name or next(free) for name in kept]


def _named_outputs(
    model: keras.Model, outputs: Any, chosen: Sequence[str] | None
) -> dict[str, tf.Tensor]:
    paths, leaves = zip(*keras.tree.flatten_with_path(outputs), strict=True)
    found = [_key(path) for path in paths]
    if not any(found):
        of_layers = _names_of_output_layers(model)
        found = of_layers if len(of_layers) == len(found) else found
    names = _names(found, "outputs", chosen)
    return {
        name: tf.cast(leaf, tf.float32) if _is_half(leaf.dtype) else leaf
        for name, leaf in zip(names, leaves, strict=True)
    }


def _names_of_output_layers(model: keras.Model) -> list[str | None]:
    """As the user called them, in order; empty where the model does not know its outputs."""
    if isinstance(model, keras.Sequential):
        last = model.layers[-1:]
    elif _is_functional(model):
        known = {each.name: each for each in model.operations}
        last = [known[name] for name in model.output_names]
    else:
        last = []
    return [None if _is_named_by_keras(each) else each.name for each in last]


def _is_named_by_keras(layer: Any) -> bool:
    own = re.escape(_snake_case(type(layer).__name__))
    return re.fullmatch(rf"{own}(_\d+)?", layer.name) is not None


@contextlib.contextmanager
def _without_cudnn(model: keras.Model) -> Iterator[None]:
    """Its kernels run on GPUs only, and Keras chooses them wherever it sees one."""
    before = [
        (layer, layer.use_cudnn) for layer in model._flatten_layers() if hasattr(layer, "use_cudnn")
    ]
    try:
        for layer, _ in before:
            layer.use_cudnn = False
        yield
    finally:
        for layer, value in before:
            layer.use_cudnn = value


def _example(function: Any, specs: Mapping[str, tf.TensorSpec]) -> dict[str, np.ndarray]:
    """One row of nothing, as small as the model takes it."""
    if all(size is not None for spec in specs.values() for size in spec.shape[1:]):
        return _zeros(specs, 1)
    for size in _SIZES:
        example = _zeros(specs, size)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a softmax of one: it is only a trial
                function(**{key: tf.constant(value) for key, value in example.items()})
        except Exception as error:  # whatever a layer raises that has too little to work on
            reason = error
        else:
            return example
    raise ValueError(
        f"`examples` must be given, as the model fails on zeros. {reason_of(reason)}"
    ) from reason


def _zeros(specs: Mapping[str, tf.TensorSpec], size: int) -> dict[str, np.ndarray]:
    return {
        name: np.full(
            [1, *(size if each is None else each for each in spec.shape[1:])],
            b"" if spec.dtype == tf.string else 0,
            spec.dtype.as_numpy_dtype,
        )
        for name, spec in specs.items()
    }
