"""The tensors of a server's answers, and of requests, beside TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from export.dev_server.tensor_protos import fill, to_array
from export.errors import ServingError

# Type -> the field that is filled.
FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    "bool": "bool_val",
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "int_val"),
    "complex64": "scomplex_val",
    "complex128": "dcomplex_val",
    **dict.fromkeys(("float16", "bfloat16"), "tensor_content"),
}
SHAPES = [(), (0,), (3, 0, 2), (2, 1, 3)]


def some(name, shape):
    dtype = tf.dtypes.as_dtype(name).as_numpy_dtype
    if name == "bool":
        return np.resize(np.array([True, False, False]), shape)
    values = [0, 1, 3, 100] if name.startswith("u") else [0, 1, -3, 100]
    return np.resize(np.array(values).astype(dtype), shape)


def filled(array):
    proto = tensor_pb2.TensorProto()
    fill(proto, array)
    return proto


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FIELDS)
def test_every_type_and_shape_there_and_back(name, shape):
    array = some(name, shape)
    proto = filled(array)
    assert proto.HasField("tensor_shape")
    for read in (np.asarray(tf.make_ndarray(proto)), to_array("x", proto)):
        assert (read.dtype, read.shape) == (array.dtype, shape)
        assert read.tobytes() == array.tobytes()


@pytest.mark.parametrize("name", FIELDS)
def test_values_are_in_the_field_in_which_a_server_sends_them(name):
    fields = {field.name for field, _ in filled(some(name, (2, 3))).ListFields()}
    assert fields == {"dtype", "tensor_shape", FIELDS[name]}


@pytest.mark.parametrize("shape", SHAPES)
def test_strings(shape):
    array = np.resize(np.array([b"cat", b"", b"tail\x00", b"\xff"], object), shape)
    proto = filled(array)
    for read in (np.asarray(tf.make_ndarray(proto)), to_array("x", proto)):
        assert (read.shape, read.tolist()) == (shape, array.tolist())


def test_rows_of_a_larger_array_are_written_as_they_read():
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T[1:3]
    np.testing.assert_array_equal(tf.make_ndarray(filled(array)), array)


@pytest.mark.parametrize("name", ["complex64", "complex128", "float16", "bfloat16", "qint8"])
def test_rare_types_are_read_from_their_fields(name):
    dtype = tf.dtypes.as_dtype(name)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    proto.tensor_shape.dim.add(size=2)
    if name.startswith("complex"):
        field = "scomplex_val" if name == "complex64" else "dcomplex_val"
        getattr(proto, field).extend([1.0, -2.0, 0.5, 3.0])
        expected = [1 - 2j, 0.5 + 3j]
    elif name == "qint8":
        proto.int_val.extend([3, -4])
        expected = [(3,), (-4,)]
    else:
        proto.half_val.extend(np.array([1.5, -2.0], dtype.as_numpy_dtype).view("uint16").tolist())
        expected = [1.5, -2.0]
    assert to_array("x", proto).tolist() == expected


@pytest.mark.parametrize(
    "proto",
    [
        tensor_pb2.TensorProto(dtype=1, tensor_shape={"unknown_rank": True}),
        tensor_pb2.TensorProto(dtype=1, tensor_shape={"dim": [{"size": -1}]}),
        tensor_pb2.TensorProto(dtype=1, tensor_shape={"dim": [{"size": -(2**40)}] * 2}),
        tensor_pb2.TensorProto(dtype=1, tensor_shape={"dim": [{"size": 1}]}, float_val=[1, 2]),
        tensor_pb2.TensorProto(
            dtype=1, tensor_shape={"dim": [{"size": 2}]}, tensor_content=b"four"
        ),
        tensor_pb2.TensorProto(dtype=7, tensor_shape={"dim": [{"size": 1}]}, tensor_content=b"a"),
        tensor_pb2.TensorProto(dtype=19, tensor_shape={"dim": [{"size": 1}]}, half_val=[2**17]),
        tensor_pb2.TensorProto(dtype=8, tensor_shape={"dim": [{"size": 1}]}, scomplex_val=[1.0]),
        tensor_pb2.TensorProto(dtype=20, tensor_shape={"dim": [{"size": 1}]}),
        tensor_pb2.TensorProto(dtype=99),
        tensor_pb2.TensorProto(),
    ],
    ids="rank size sizes many content strings half complex resource newer none".split(),
)
def test_what_is_no_tensor_is_refused(proto):
    with pytest.raises(ServingError, match="INVALID_ARGUMENT: tensor parsing error: x$"):
        to_array("x", proto)
