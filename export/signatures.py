"""One callable of a served model: named tensors in, named tensors out, requests to try it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

# Python-like, so that every client can spell it; `__saved_model_init_op` is TensorFlow's own.
_NAME = re.compile(r"[a-z][a-z0-9_]*")

# What both protocols can carry: REST has no way to write half, bfloat16 or complex numbers.
CARRIED = (
    tf.float32, tf.float64, tf.bool, tf.string, tf.int8, tf.int16, tf.int32, tf.int64,
    tf.uint8, tf.uint32, tf.uint64,
)  # fmt: skip


@dataclass(frozen=True)
class Signature:
    """A function of a batch, with the names, types and shapes a server shows to its clients.

    Args:
        function: takes one keyword tensor per entry of `inputs` and returns a dict of
            tensors, one per named output. It is traced as it stands (no AutoGraph):
            write loops with `tf.while_loop`, or hand in a `tf.function` of your own.
        inputs: name -> `tf.TensorSpec`; the leading axis is the batch and must be `None`.
        examples: requests, each a dict name -> array or list. They become the warm-up
            records of the SavedModel and are what `check_parity` compares on. Of those of a single
            row `write` makes records of whole batches too.

    Example:

    >>> signature = Signature(
    ...     lambda x: {"y": x / 2.0 + 2.0},
    ...     inputs={"x": tf.TensorSpec((None, 3), tf.float32)},
    ...     examples=[{"x": [[1.0, 2.0, 5.0]]}],
    ... )
    >>> signature.arrays(0)["x"].dtype
    dtype('float32')
    """

    function: Callable[..., Mapping[str, tf.Tensor]]
    inputs: Mapping[str, tf.TensorSpec]
    examples: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ValueError(f"`function` must be callable. Received: function={self.function!r}.")
        if not self.inputs:
            raise ValueError("`inputs` must name at least one tensor. Received: inputs={}.")
        for name, spec in self.inputs.items():
            check_name(name, "Input")
            _check_input(name, spec)
        for index in range(len(self.examples)):
            self.arrays(index)

    def arrays(self, index: int) -> dict[str, np.ndarray]:
        """Example number `index` as arrays of the types and shapes of `inputs`."""
        example = self.examples[index]
        if set(example) != set(self.inputs):
            raise ValueError(
                f"Example {index} must give exactly the inputs {sorted(self.inputs)}. "
                f"Received: {sorted(example)}."
            )
        return {name: _array(index, name, example[name], self.inputs[name]) for name in self.inputs}

    def trace(self) -> Any:
        """A `tf.function` holding the one graph that is written; outputs are checked."""
        specs = {  # named anew: the name in the spec becomes the name in the served signature
            name: tf.TensorSpec(spec.shape, spec.dtype, name=name)
            for name, spec in self.inputs.items()
        }

        def serve(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = self.function(**tensors)
            check_outputs(outputs)
            return {name: tf.convert_to_tensor(value) for name, value in outputs.items()}

        traced = tf.function(serve, autograph=False)
        traced.get_concrete_function(**specs)
        return traced


def check_name(name: object, what: str) -> None:
    """Refuses a name of a signature, an input or an output that a client could not rely on."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{what} names must match [a-z][a-z0-9_]*. Received: {name!r}.")
    if name.startswith("keras_tensor"):
        raise ValueError(
            f"{what} names must be chosen: Keras' own change with the history of the process. "
            f"Received: {name!r}."
        )


def check_outputs(outputs: object) -> None:
    """Refuses what a function returned if a server could not hand it to every client."""
    if not isinstance(outputs, Mapping) or not outputs:
        raise ValueError(
            "The function of a signature must return a dict of named tensors, at least one. "
            f"Received: {type(outputs).__name__}."
        )
    for name, value in outputs.items():
        check_name(name, "Output")
        if isinstance(value, tf.RaggedTensor | tf.SparseTensor | tf.IndexedSlices):
            raise ValueError(
                f"Output `{name}` must be a dense tensor; pad it and return its lengths. "
                f"Received: {type(value).__name__}."
            )
        dtype = tf.convert_to_tensor(value).dtype
        if dtype not in CARRIED:
            raise ValueError(
                f"Output `{name}` must have a type that REST can write, such as float32; "
                f"cast it. Received: {dtype.name}."
            )


def _check_input(name: str, spec: object) -> None:
    if not isinstance(spec, tf.TensorSpec):
        raise ValueError(f"Input `{name}` must be a tf.TensorSpec. Received: {spec!r}.")
    if spec.shape.rank is None or spec.shape.rank == 0 or spec.shape[0] is not None:
        raise ValueError(
            f"Input `{name}` must have the batch as its leading axis, of size None. "
            f"Received: shape={spec.shape}."
        )
    if spec.dtype not in CARRIED:
        raise ValueError(
            f"Input `{name}` must have a type that REST can read, such as float32. "
            f"Received: {spec.dtype.name}."
        )


def _array(index: int, name: str, value: object, spec: tf.TensorSpec) -> np.ndarray:
    try:
        tensor = tf.convert_to_tensor(value, spec.dtype)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"Input `{name}` of example {index} must be convertible to {spec.dtype.name}. "
            f"Received: {value!r}."
        ) from error
    if not spec.shape.is_compatible_with(tensor.shape):
        raise ValueError(
            f"Input `{name}` of example {index} must have the shape {spec.shape}. "
            f"Received: shape={tensor.shape}."
        )
    return tensor.numpy()
