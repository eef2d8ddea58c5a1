"""The client's messages and tensors beside TensorFlow's own."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import any_pb2, wrappers_pb2
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    status_pb2,
)

from export.errors import ExportError, ServingError
from export.messages import MESSAGES, SCHEMA
from export.tensor_codec import TYPES, from_proto, to_proto, type_name

# Type -> the field of a TensorProto that holds its values.
FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    "float16": "half_val",
    "bfloat16": "half_val",
    "float8_e5m2": "float8_val",
    "float8_e4m3fn": "float8_val",
    "complex64": "scomplex_val",
    "complex128": "dcomplex_val",
    "bool": "bool_val",
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16", "int4", "uint4"), "int_val"),
}
REAL = {
    "Dim": tensor_shape_pb2.TensorShapeProto.Dim,
    "TensorShapeProto": tensor_shape_pb2.TensorShapeProto,
    "TensorProto": tensor_pb2.TensorProto,
    "NamedTensor": predict_pb2.PredictRequest.InputsEntry,
    "Int64Value": wrappers_pb2.Int64Value,
    "ModelSpec": model_pb2.ModelSpec,
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
    "StatusProto": status_pb2.StatusProto,
    "ModelVersionStatus": get_model_status_pb2.ModelVersionStatus,
    "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
    "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest,
    "Any": any_pb2.Any,
    "NamedAny": get_model_metadata_pb2.GetModelMetadataResponse.MetadataEntry,
    "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse,
    "TensorInfo": meta_graph_pb2.TensorInfo,
    "NamedTensorInfo": meta_graph_pb2.SignatureDef.InputsEntry,
    "SignatureDef": meta_graph_pb2.SignatureDef,
    "NamedSignatureDef": get_model_metadata_pb2.SignatureDefMap.SignatureDefEntry,
    "SignatureDefMap": get_model_metadata_pb2.SignatureDefMap,
}


def some(name):
    """An asymmetric array of a type, with its extremes."""
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    if name == "bool":
        return np.array([[True, False, False], [True, True, False]])
    if dtype.kind == "c":
        return np.array([[1 + 2j, -3.5j, 0], [np.inf, -0.25, 7 - 1j]], dtype)
    if dtype.kind == "f" or "float" in name:
        return np.array([[1.5, -2.0, 0.0], [np.nan, 0.25, -0.5]]).astype(dtype)
    limits = ml_dtypes.iinfo(dtype)
    return np.array([[limits.min, limits.max, 0], [1, 2, 3]], object).astype(dtype)


def typed(array):
    """TensorFlow's message of an array, its values in their typed field."""
    proto = tensor_pb2.TensorProto(
        dtype=tf.dtypes.as_dtype(array.dtype).as_datatype_enum,
        tensor_shape=tf.TensorShape(array.shape).as_proto(),
    )
    field, flat = FIELDS[array.dtype.name], array.ravel()
    if field == "float8_val":
        proto.float8_val = flat.tobytes()
    elif field == "half_val":
        proto.half_val.extend(flat.view(np.uint16).tolist())
    elif flat.dtype.kind == "c":
        getattr(proto, field).extend(flat.view(flat.real.dtype).tolist())
    else:
        getattr(proto, field).extend(flat.tolist())
    return proto


def theirs(proto):
    return tensor_pb2.TensorProto.FromString(proto.SerializeToString())


def ours(proto):
    return MESSAGES["TensorProto"].FromString(proto.SerializeToString())


def assert_same(actual, expected):
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()  # bit for bit, NaN too


@pytest.mark.parametrize("name", FIELDS)
def test_every_type_there_and_back(name):
    array = some(name)
    assert_same(tf.make_ndarray(theirs(to_proto(array))), array)
    assert_same(from_proto(ours(tf.make_tensor_proto(array))), array)
    assert_same(tf.make_ndarray(typed(array)), array)
    assert_same(from_proto(ours(typed(array))), array)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 1, 3)])
def test_every_shape(name, shape):
    array = np.resize(some(name), shape)
    assert_same(tf.make_ndarray(theirs(to_proto(array))), array)
    assert_same(from_proto(ours(tf.make_tensor_proto(array))), array)
    assert_same(from_proto(ours(typed(array))), array)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("given", [0, 1, 4])
def test_fewer_values_than_the_shape_asks_for(name, given):
    proto = typed(some(name).ravel()[:given])
    proto.tensor_shape.CopyFrom(tf.TensorShape((2, 3)).as_proto())
    assert_same(from_proto(ours(proto)), np.asarray(tf.make_ndarray(proto)))


@pytest.mark.parametrize("shape", [(), (0,), (2, 1, 3)])
def test_strings(shape):
    array = np.resize(np.array([b"cat", b"", b"tail\x00", b"\xff"], object), shape)
    expected = array.tolist()
    assert np.asarray(tf.make_ndarray(theirs(to_proto(array)))).tolist() == expected
    read = from_proto(ours(tf.make_tensor_proto(array, tf.string, array.shape)))
    assert (read.dtype, read.shape, read.tolist()) == (object, shape, expected)


def test_the_last_string_stands_for_the_rest():
    proto = MESSAGES["TensorProto"](dtype=7, string_val=[b"a", b"b"])
    proto.tensor_shape.dim.add(size=4)
    assert from_proto(proto).tolist() == [b"a", b"b", b"b", b"b"]
    del proto.string_val[:]
    assert from_proto(proto).tolist() == [b""] * 4


@pytest.mark.parametrize(
    "array",
    [np.array([1.5, -2.0], ">f4"), np.arange(12, dtype=np.int32).reshape(3, 4).T[::2]],
    ids=["big-endian", "strided"],
)
def test_any_layout_in_memory_is_sent_as_it_reads(array):
    np.testing.assert_array_equal(tf.make_ndarray(theirs(to_proto(array))), array)


def test_what_is_read_can_be_written():
    for proto in (tf.make_tensor_proto([1.0, 2.0]), typed(np.array([1, 2], np.int64))):
        array = from_proto(ours(proto))
        array += 1
        assert array.tolist() == [2, 3]


def test_a_float_may_come_in_several_packs():
    first, second = (typed(np.array([x], np.float32)) for x in (1.5, 2.5))
    content = first.SerializeToString() + second.SerializeToString()
    proto = MESSAGES["TensorProto"].FromString(content)
    del proto.tensor_shape.dim[:]
    proto.tensor_shape.dim.add(size=2)
    assert from_proto(proto).tolist() == [1.5, 2.5]


def test_no_array_of_the_server_has_this_type():
    with pytest.raises(ExportError, match="numbers or strings. Received: datetime64"):
        to_proto(np.array(["2026-11-03"], "datetime64[D]"))


@pytest.mark.parametrize(
    ("dtype", "sizes", "words"),
    [
        (1, [2, 3], "float32, cannot reshape"),
        (1, [-1], "float32, an unknown size in"),
        (11, [1], "qint8, a type that arrays do not have"),
        (99, [1], "invalid, a type that arrays do not have"),
    ],
)
def test_an_answer_that_is_no_tensor(dtype, sizes, words):
    proto = MESSAGES["TensorProto"](dtype=dtype, float_val=[bytes(4 * 7)])
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    with pytest.raises(ServingError, match=f"INTERNAL: tensor parsing error: {words}"):
        from_proto(proto)


def test_types_have_the_numbers_of_tensorflow():
    known = {
        number: tf.dtypes.as_dtype(number).name
        for name, number in types_pb2.DataType.items()
        if number < 100 and name not in ("DT_INVALID", "DT_RESOURCE", "DT_VARIANT")
    }
    assert known == {number: type_name(number) for number in known}
    assert len(TYPES) == max(known) + 1 and type_name(101) == type_name(-1) == "invalid"
    assert (types_pb2.DT_RESOURCE, types_pb2.DT_VARIANT) == (
        TYPES.index("resource"),
        TYPES.index("variant"),
    )


@pytest.mark.parametrize("message", SCHEMA)
def test_messages_have_the_numbers_of_tensorflow_serving(message):
    real = REAL[message].DESCRIPTOR
    for field in MESSAGES[message].DESCRIPTOR.fields:
        peer = real.fields_by_name[field.name]
        assert peer.number == field.number and peer.is_repeated <= field.is_repeated
        if field.message_type:  # as the real one has it, whichever entry of a map it is
            inner = {each.name: each.number for each in peer.message_type.fields}
            fields = SCHEMA[field.message_type.name].items()
            assert {name: number for name, (number, _) in fields}.items() <= inner.items()
        elif field.type == field.TYPE_BYTES and peer.type != peer.TYPE_BYTES:
            assert peer.is_packed
        elif peer.enum_type:
            assert field.type == field.TYPE_INT32
        else:
            assert peer.type == field.type


def test_a_request_is_the_same_to_both():
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.version.value = "m", 3
    request.inputs["x"].CopyFrom(typed(np.array([1.5], np.float32)))
    read = MESSAGES["PredictRequest"].FromString(request.SerializeToString())
    assert (read.model_spec.name, read.model_spec.version.value) == ("m", 3)
    assert [(entry.key, from_proto(entry.value).tolist()) for entry in read.inputs] == [
        ("x", [1.5])
    ]
    assert predict_pb2.PredictRequest.FromString(read.SerializeToString()) == request
