"""`TensorProto`s to arrays and back, and the names types have in the server's messages."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from export import tensor_codec
from export.errors import ServingError
from export.messages import MESSAGES

# The type of an array -> its number, and the field of a TensorProto that holds its values. Servers
# fill these unless they are told to use `tensor_content`, so clients have to read them.
_KINDS = {
    np.dtype(name): (tensor_codec.TYPES.index(name), tensor_codec.FIELDS[name][0])
    for name in "float32 float64 bool int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()
}
_KINDS[np.dtype(object)] = (tensor_codec.TYPES.index("string"), "string_val")
_PACKED = ("float_val", "double_val", "bool_val")  # fields that are the array itself on the wire

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
        dtype = tf.dtypes.as_dtype(proto.dtype)
        _check_repeated(name, proto, dtype)
        if dtype.is_quantized:  # which only TensorFlow has arrays of
            return np.asarray(tf.make_ndarray(proto))
        return tensor_codec.decode(proto)
    except (TypeError, ValueError, KeyError, MemoryError, OverflowError) as error:
        raise ServingError("INVALID_ARGUMENT", f"tensor parsing error: {name}") from error


def _check_repeated(name: str, proto: tensor_pb2.TensorProto, dtype: tf.DType) -> None:
    if proto.tensor_content:
        return
    field, _ = tensor_codec.FIELDS.get(dtype.name, ("string_val", None))
    values = getattr(proto, field)
    size = _STRING + len(values[-1] if values else b"") if dtype == tf.string else dtype.size
    elements = math.prod([max(axis.size, 0) for axis in proto.tensor_shape.dim])
    if size * (elements - len(values)) > MAX_REPEATED:
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


def fill(proto: tensor_pb2.TensorProto, array: np.ndarray) -> None:
    """Writes an array into an empty message: in typed fields, as the server does by default.

    Half and complex numbers, which are rare, are left to TensorFlow.
    """
    if array.dtype not in _KINDS:
        proto.CopyFrom(tf.make_tensor_proto(array, dtype=dtype_of(array)))
        return
    proto.dtype, field = _KINDS[array.dtype]
    axes = proto.tensor_shape.dim
    proto.tensor_shape.SetInParent()  # a scalar has a shape too
    for size in array.shape:
        axes.add(size=size)
    if field in _PACKED:  # a hundred times as fast as one Python number after the other
        packed = MESSAGES["TensorProto"](**{field: [array.tobytes()]})
        proto.MergeFromString(packed.SerializeToString())
        return
    values = array.ravel()
    for start in range(0, values.size, _AT_ONCE):
        getattr(proto, field).extend(values[start : start + _AT_ONCE].tolist())


def dtype_of(array: np.ndarray) -> tf.DType:
    """TensorFlow's type of an array; an array of objects holds strings."""
    return tf.string if array.dtype == object else tf.dtypes.as_dtype(array.dtype)


def type_name(dtype: tf.DType) -> str:
    """The name of a type in the server's messages: C++'s for floating point."""
    return {"float32": "float", "float64": "double", "float16": "half"}.get(dtype.name, dtype.name)
