"""`TensorProto`s to arrays and back, and the names types have in the server's messages."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from export.errors import ServingError

# The field of a TensorProto that holds values of a type. Servers fill these unless they are told
# to use `tensor_content`, so clients have to read them.
_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
    **dict.fromkeys((tf.int8, tf.int16, tf.int32, tf.uint8, tf.uint16), "int_val"),
}

# TensorFlow's 254 are more than NumPy has, and strings of more than 32 end the process where they
# cross from one to the other; a model may add a few to those of its inputs.
_MAX_RANK = 24
# Bytes that a few values may stand for, in a tensor whose other values repeat the last one, or in
# examples that share a context: what a small message may make of itself.
MAX_REPEATED = 64 * 2**20
_STRING = 24  # bytes of a string tensor's element, without the characters of a long one

_AT_ONCE = (
    2**16
)  # elements that are Python's at one time; between two such times others have a turn


def to_array(name: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    """The value of input `name`, in typed fields or in `tensor_content`.

    Raises:
        ServingError: if it cannot be read, or is too large for what was sent.
    """
    try:
        shape = tf.TensorShape(proto.tensor_shape)
        if not shape.is_fully_defined():  # NumPy would make up the size that is missing
            raise ValueError(shape)
        _check_repeated(name, proto)
        return np.asarray(tf.make_ndarray(proto))
    except (TypeError, ValueError, KeyError, MemoryError, OverflowError) as error:
        raise ServingError("INVALID_ARGUMENT", f"tensor parsing error: {name}") from error


def _check_repeated(name: str, proto: tensor_pb2.TensorProto) -> None:
    dtype = tf.dtypes.as_dtype(proto.dtype)
    elements = math.prod(dim.size for dim in proto.tensor_shape.dim)
    values = getattr(proto, _FIELDS.get(dtype, "half_val"))
    size = _STRING + len(values[-1] if values else b"") if dtype == tf.string else dtype.size
    if not proto.tensor_content and size * (elements - len(values)) > MAX_REPEATED:
        raise ServingError(
            "RESOURCE_EXHAUSTED",
            f"Expected at most {MAX_REPEATED} bytes of values that repeat the last one sent of "
            f"{name}. Received: {len(values)} values for {elements} elements.",
        )


def check_rank(rank: int) -> None:
    """Refuses inputs of more axes than the session can be given.

    Raises:
        ServingError: if `rank` is too high.
    """
    if rank > _MAX_RANK:
        raise ServingError(
            "INVALID_ARGUMENT", f"Expected at most {_MAX_RANK} axes of a tensor. Received: {rank}."
        )


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """An array in typed fields; half and complex numbers, which are rare, in `tensor_content`."""
    dtype = dtype_of(array)
    if dtype not in _FIELDS:
        return tf.make_tensor_proto(array, dtype=dtype)
    proto = tensor_pb2.TensorProto(
        dtype=dtype.as_datatype_enum, tensor_shape=tf.TensorShape(array.shape).as_proto()
    )
    field, values = getattr(proto, _FIELDS[dtype]), array.ravel()
    for start in range(0, values.size, _AT_ONCE):
        field.extend(values[start : start + _AT_ONCE].tolist())
    return proto


def dtype_of(array: np.ndarray) -> tf.DType:
    """TensorFlow's type of an array; an array of objects holds strings."""
    return tf.string if array.dtype == object else tf.dtypes.as_dtype(array.dtype)


def type_name(dtype: tf.DType) -> str:
    """The name of a type in the server's messages: C++'s for floating point."""
    return {"float32": "float", "float64": "double", "float16": "half"}.get(dtype.name, dtype.name)
