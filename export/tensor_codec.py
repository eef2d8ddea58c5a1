"""Arrays to the `TensorProto`s of `export.messages` and back, without TensorFlow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from export.arrays import numpy_type
from export.errors import ExportError, ServingError
from export.messages import MESSAGES

# The types by their numbers in protocol buffers, from 0.
TYPES = (
    "invalid float32 float64 int32 uint8 int16 int8 string complex64 int64 bool qint8 quint8 "
    "qint32 bfloat16 qint16 quint16 uint16 complex128 float16 resource variant uint32 uint64 "
    "float8_e5m2 float8_e4m3fn float8_e4m3fnuz float8_e4m3b11fnuz float8_e5m2fnuz int4 uint4 int2 "
    "uint2 float4_e2m1fn"
).split()

# The field that holds the values of a type, and the type that they have there. Fields of bytes hold
# the array itself; half-precision numbers travel as the integers with the same bits, and complex
# ones as two numbers each.
FIELDS = {
    "float32": ("float_val", "float32"),
    "float64": ("double_val", "float64"),
    "complex64": ("scomplex_val", "float32"),
    "complex128": ("dcomplex_val", "float64"),
    "bool": ("bool_val", "bool"),
    "int64": ("int64_val", "int64"),
    "uint32": ("uint32_val", "uint32"),
    "uint64": ("uint64_val", "uint64"),
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), ("int_val", "int32")),
    **dict.fromkeys(("int4", "uint4", "int2", "uint2"), ("int_val", "int32")),
    **dict.fromkeys(("float16", "bfloat16"), ("half_val", "uint16")),
    **dict.fromkeys((name for name in TYPES if name.startswith("float8")), ("float8_val", "uint8")),
    "float4_e2m1fn": ("float8_val", "uint8"),
}
_SAME_BITS = ("half_val", "float8_val", "scomplex_val", "dcomplex_val")


def type_name(number: int) -> str:
    """The name of a type; `"invalid"` for one that is newer than this table."""
    return TYPES[number] if 0 <= number < len(TYPES) else "invalid"


def to_proto(array: np.ndarray) -> Any:
    """An array, strings as objects of bytes.

    Raises:
        ExportError: if the server has no such type.
    """
    name = "string" if array.dtype == object else array.dtype.name
    if name != "string" and name not in FIELDS:
        raise ExportError(f"Expected an array of numbers or strings. Received: {array.dtype}.")
    proto = MESSAGES["TensorProto"](dtype=TYPES.index(name))
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_shape.SetInParent()  # a scalar has a shape too
    if name == "string":
        proto.string_val.extend(array.ravel().tolist())
    else:
        proto.tensor_content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return proto


def from_proto(proto: Any) -> np.ndarray:
    """A tensor of an answer, in typed fields or in `tensor_content`, as a server may send either.

    Raises:
        ServingError: if the values do not fit the shape, or the type has no array.
    """
    try:
        return decode(proto)
    except (ValueError, OverflowError) as error:
        name = type_name(proto.dtype)
        raise ServingError("INTERNAL", f"tensor parsing error: {name}, {error}") from error


def decode(proto: Any) -> np.ndarray:
    """The array of a message, TensorFlow's or one of `export.messages`.

    Where a field holds fewer values than the shape asks for, its last value stands for the rest.

    Raises:
        ValueError: if the values do not fit the shape, or the type has no array.
        OverflowError: if a value does not fit the type.
    """
    name = type_name(proto.dtype)
    shape = tuple([axis.size for axis in proto.tensor_shape.dim])
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise ValueError(f"an unknown size in {shape}")
    content = proto.tensor_content
    if name == "string":
        if content:
            raise ValueError("strings in tensor_content")
        return _padded(_strings(proto.string_val), shape)
    dtype = numpy_type(name)
    if name not in FIELDS or dtype is None:
        raise ValueError("a type that arrays do not have")
    if content:
        return np.frombuffer(bytearray(content), dtype).reshape(shape)
    return _padded(_numbers(proto, name, dtype), shape)


def _numbers(proto: Any, name: str, dtype: np.dtype) -> np.ndarray:
    field, stored = FIELDS[name]
    values = getattr(proto, field)
    if len(values) and isinstance(values[0], bytes):
        array = np.frombuffer(bytearray().join(values), stored)
    else:
        array = np.fromiter(values, stored, len(values))
    return array.view(dtype) if field in _SAME_BITS else array.astype(dtype, copy=False)


def _strings(values: Any) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = list(values)
    return array


def _padded(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    missing = math.prod(shape) - len(values)
    if missing > 0:
        nothing = b"" if values.dtype == object else np.zeros((), values.dtype)
        last = values[-1] if len(values) else nothing
        values = np.concatenate([values, np.full(missing, last, values.dtype)])
    return values.reshape(shape)
