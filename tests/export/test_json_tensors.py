"""JSON to tensors: the rows J1 to J30 of the conformance table, without a server."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from export import ServingError
from export.dev_server.json_tensors import parse, signature_name, tensors


def infos(**dtypes):
    return {
        name: meta_graph_pb2.TensorInfo(dtype=dtype.as_datatype_enum)
        for name, dtype in dtypes.items()
    }


INT = infos(a=tf.int32)
FLOAT = infos(a=tf.float32)
STRING = infos(a=tf.string)
PAIR = infos(a=tf.int32, b=tf.string)
MIXED = infos(int_=tf.int32, str_=tf.string, float_=tf.float32, double_=tf.float64)


def read(body, signature):
    return tensors(parse(body if isinstance(body, bytes) else body.encode()), signature).inputs


def refused(body, signature=INT, code="INVALID_ARGUMENT"):
    with pytest.raises(ServingError) as caught:
        read(body, signature)
    assert caught.value.code == code
    return caught.value.message


def test_rows_of_integers():  # J1
    array = read('{"instances": [[1, 2], [3, 4], [5, 6]]}', INT)["a"]
    assert array.dtype == np.int32 and array.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_floats_take_integers_too():  # J4, J5, J6
    array = read('{"instances": [1, 2.0, 3, 5.003]}', FLOAT)["a"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, np.float32([1, 2, 3, 5.003]))
    whole, decimal = read('{"inputs": [1435774380, 1435774380.0]}', FLOAT)["a"]
    assert whole == decimal == 1435774336.0
    extremes = read('{"inputs": [1.8e308, -1.8e308, 2.2e-308, 1%s]}' % ("0" * 400), FLOAT)["a"]
    assert extremes.tolist() == [np.inf, -np.inf, 0.0, np.inf]


def test_signature_name_is_read():  # J7, J14
    assert signature_name(parse(b'{"signature_name": "translate"}')) == "translate"
    assert signature_name(parse(b"{}")) == ""
    for value in (5, None, [["x"]]):
        with pytest.raises(ServingError, match="'signature_name' key must be a string value"):
            signature_name({"signature_name": value})


@pytest.mark.parametrize(
    ("instances", "shape"),
    [
        ('[{"b64": "aGVsbG8="}, "hello"]', (2,)),
        ('[[{"b64": "aGVsbG8="}], [{"b64": "aGVsbG8"}]]', (2, 1)),
        ('[{"a": [["hello"], [{"b64": "aGVsbG8="}]]}]', (1, 2, 1)),
        (r'[{"b64": "aGVs\nbG8 =\r\n"}]', (1,)),
    ],
)
def test_base64_stands_for_bytes(instances, shape):  # J8
    array = read(f'{{"instances": {instances}}}', STRING)["a"]
    assert array.shape == shape and set(array.ravel()) == {b"hello"}


def test_bytes_that_are_no_utf8_arrive_unchanged():
    body = b'{"inputs": ["\xff\x00caf\xc3\xa9"]}'.replace(b"\x00", b"\\u0000")
    assert read(body, STRING)["a"].tolist() == [b"\xff\x00caf\xc3\xa9"]


def test_rows_of_objects():  # J9
    row = (
        '{"int_": [[1, 2], [3, 4], [5, 6]], "str_": ["foo", "bar"],'
        ' "float_": [1, NaN], "double_": [-Infinity]}'
    )
    arrays = read(f'{{"instances": [{row}, {row}]}}', MIXED)
    shapes = {name: array.shape for name, array in arrays.items()}
    assert shapes == {"int_": (2, 3, 2), "str_": (2, 2), "float_": (2, 2), "double_": (2, 1)}
    assert np.isnan(arrays["float_"][1, 1]) and arrays["double_"][0, 0] == -np.inf


@pytest.mark.parametrize("inputs", ['{"a": [[[1, 2], [3, 4], [5, 6]]]}', "[[[1,2],[3,4],[5,6]]]"])
def test_a_column_with_or_without_its_name(inputs):  # J10
    assert read(f'{{"inputs": {inputs}}}', INT)["a"].shape == (1, 3, 2)


def test_columns_may_be_scalars():  # J11
    arrays = read('{"inputs": {"a": 7, "b": {"b64": "eA=="}}}', PAIR)
    assert arrays["a"].shape == arrays["b"].shape == () and arrays["b"].item() == b"x"
    assert read('{"inputs": {"b64": "eA=="}}', STRING)["a"].item() == b"x"


def test_what_is_no_json_is_told_so():  # J12, J13
    assert refused("") == "JSON Parse error: The document is empty"
    assert refused(" \n") == "JSON Parse error: The document is empty"
    assert refused("instances = [1]") == "JSON Parse error: Invalid value. at offset: 0"
    assert "Missing a name for object member." in refused("{instances: [1]}")
    assert "Missing a comma" in refused('{"instances": [1 2]}')
    assert refused("[1]") == "JSON Value: [1] Is not object"
    assert "too deeply" in refused('{"instances": ' + "[" * 100_000 + "}")
    assert "surrogate" in refused('{"instances": ["\\ud800"]}', STRING)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"inputs": 1, "instances": [1]}', "Not formatted correctly expecting only one of"),  # J15
        ('{"instances": [[1, 2], [3, 4, 5]]}', "Expecting tensor size: 2 but got: 3"),  # J16
        ('{"instances": [[1, 2], [[5, 6]]]}', "Expecting shape [2] but got: [1,2]"),
        ('{"instances": [1, [1]]}', "Expecting shape [] but got: [1]"),  # J18
        (
            '{"instances": ["a", "b"]}',
            'JSON Value: "a" Type: String is not of expected type: int32',
        ),
        ('{"instances": [{"a": 1}, [2]]}', "Expecting object but got list at item 1"),  # J20
        ('{"instances": [[2], {"a": 1}]}', "Expecting value/list but got object at item 1"),  # J21
        ('{"instances": [{"q": 1}]}', "JSON object: does not have named input: q"),  # J23
        ('{"instances": []}', "No values in 'instances' array"),  # J24
        ('{"instances": {"a": 1}}', "to be an list/array"),
        ('{"instance": [1]}', "Missing 'inputs' or 'instances' key"),  # J25
        ('{"instances": [1.0]}', "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ('{"instances": [2147483648]}', "is not of expected type: int32"),
        ('{"instances": [null]}', "Type: Null is not of expected type: int32"),
        ('{"instances": [true]}', "Type: True is not of expected type: int32"),
        ('{"instances": [{"b64": "eA=="}]}', "Type: Object is not of expected type: int32"),
        ('{"inputs": [[1, 2], [3]]}', "list at unexpected size: 1 at level: 1 expected size: 2"),
        (
            '{"inputs": [[1], 2]}',
            "found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ('{"inputs": [1, [2]]}', "Encountered list at unexpected level: 1 expected < 1"),
    ],
)
def test_a_single_input_that_is_wrong_is_refused(body, words):
    assert words in refused(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"instances": [1]}', "instances is a plain list, but expecting list of objects"),  # J22
        ('{"instances": [{"b64": "YQ=="}]}', "instances is a plain list, but expecting list of ob"),
        ('{"inputs": [1]}', "inputs is a plain value/list, but expecting an object"),
        ('{"instances": [{"a": 1}]}', "keys must be equal to: a,b"),  # J23
        ('{"instances": [{"a": 1, "b": "x", "c": 2}]}', "does not have named input: c"),
        ('{"inputs": {"a": 1}}', "Missing named input: b in 'inputs' object."),  # J26
    ],
)
def test_several_inputs_that_are_wrong_are_refused(body, words):
    assert words in refused(body, PAIR)


def test_of_keys_that_are_there_twice_the_first_counts():
    body = '{"inputs": {"a": 1, "b": "x", "a": 2}, "inputs": 3}'
    assert read(body, PAIR)["a"].item() == 1


def test_an_extra_column_is_ignored_and_so_is_what_follows_the_object():  # J26, J30
    body = '{"inputs": {"a": 1, "b": "x", "c": [[]]}, "else": 1} and more'
    assert read(body, PAIR)["b"].item() == b"x"


@pytest.mark.parametrize(
    ("signature", "value", "dtype"),
    [
        (FLOAT, "true", "float"),
        (FLOAT, '"1"', "float"),
        (infos(a=tf.float64), "[null]", "double"),
        (STRING, "3", "string"),
        (infos(a=tf.bool), "1", "bool"),
        (infos(a=tf.uint32), "-1", "uint32"),
        (infos(a=tf.uint64), "18446744073709551616", "uint64"),
        (infos(a=tf.int64), "9223372036854775808", "int64"),
    ],
)
def test_each_type_takes_its_own_json_only(signature, value, dtype):  # J19, J27
    assert f"is not of expected type: {dtype}" in refused(f'{{"inputs": {value}}}', signature)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (tf.bool, "[true, false]", [True, False]),
        (tf.int64, "[9223372036854775807]", [2**63 - 1]),
        (tf.uint64, "[18446744073709551615]", [2**64 - 1]),
        (tf.uint32, "[4294967295]", [2**32 - 1]),
        (tf.uint8, "[300]", [44]),  # as in C++: no check narrower than 32 bits
        (tf.int8, "[-3]", [-3]),
    ],
)
def test_each_type_arrives_as_itself(dtype, value, expected):
    array = read(f'{{"inputs": {value}}}', infos(a=dtype))["a"]
    assert array.dtype == dtype.as_numpy_dtype and array.tolist() == expected


def test_base64_that_is_wrong_is_refused():  # J28
    assert "Unable to base64 decode" in refused('{"inputs": [{"b64": "-_-_"}]}', STRING)
    assert "not formatted correctly for base64 data" in refused('{"inputs":[{"b64":1}]}', STRING)
    assert "Unable to base64 decode" in refused('{"instances": [{"b64": "A"}]}', STRING)


def test_half_precision_has_no_json():  # J29
    half = infos(a=tf.float16)
    words = "Conversion of JSON Value: 1.5 to type: half"
    assert words in refused('{"inputs": [1.5]}', half, "UNIMPLEMENTED")
    assert f"Error: UNIMPLEMENTED: {words}" in refused('{"instances": [1.5]}', half)


def test_a_signature_without_inputs_cannot_be_asked():
    assert refused(json.dumps({"instances": [1]}), {}) == (
        "Failed to get input map for signature: DEFAULT"
    )
