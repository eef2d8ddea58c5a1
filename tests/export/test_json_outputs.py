"""Tensors to JSON: the rows T1 to T11 of the conformance table."""

import json

import numpy as np
import pytest

from export import ServingError
from export.dev_server.json_outputs import decimals, dumps, write_predictions


def row(**outputs):
    return json.loads(write_predictions(outputs, row=True).decode("utf-8", "surrogateescape"))


def column(**outputs):
    return json.loads(write_predictions(outputs, row=False).decode("utf-8", "surrogateescape"))


def texts(values, dtype):
    body = write_predictions({"y": np.array(values, dtype)}, row=True).decode()
    return body.removeprefix('{"predictions": [').removesuffix("]}").split(", ")


def test_nesting_follows_the_shape():  # T1, T2
    cube = np.arange(12, dtype=np.int32).reshape(2, 3, 2)
    assert row(y=cube) == {"predictions": cube.tolist()}
    assert column(y=cube) == {"outputs": cube.tolist()}
    assert row(y=np.array([5, 7], np.int64)) == {"predictions": [5, 7]}


def test_the_name_of_an_output_decides_between_text_and_base64():  # T3
    words = np.array([b"hello", b"\xff"], object)
    assert column(y_bytes=words) == {"outputs": [{"b64": "aGVsbG8="}, {"b64": "/w=="}]}
    assert write_predictions({"y": words}, row=False) == b'{"outputs": ["hello", "\xff"]}'
    quoted = np.array([b'a "b"\\\n', "é€".encode()], object)
    assert column(y=quoted) == {"outputs": ['a "b"\\\n', "é€"]}


def test_floats_are_short_where_that_is_exact():  # T4
    assert texts([9000000, 999999, 0.00003, 555557.5, 0.2, 2, -0.0, 1 / 3], np.float32) == (
        ["9e+06", "999999.0", "3e-05", "555557.5", "0.2", "2.0", "-0.0", "0.333333343"]
    )
    assert texts([0.1 + 0.2, 0.2], np.float64) == ["0.30000000000000004", "0.2"]
    assert texts([3.4028235e38], np.float32) == ["3.40282347e+38"]


def test_every_float_comes_back_exactly():
    values = np.random.default_rng(3).normal(size=997).astype(np.float32)
    assert np.array_equal(np.array(row(y=values)["predictions"], np.float32), values)


def test_numbers_that_json_lacks():  # T5
    assert texts([np.nan, np.inf, -np.inf], np.float32) == ["NaN", "Infinity", "-Infinity"]


def test_truth_values():
    assert row(y=np.array([True, False])) == {"predictions": [True, False]}


def test_no_output_is_an_error():  # T6
    with pytest.raises(ServingError, match="Cannot convert empty tensor map to JSON"):
        row()


@pytest.mark.parametrize(
    ("dtype", "name"), [("complex64", "complex64"), ("float16", "half"), ("complex128", "complex")]
)
def test_types_that_json_lacks_are_refused(dtype, name):  # T7
    with pytest.raises(ServingError, match=f"Failed to write JSON value for tensor type: {name}"):
        row(y=np.ones(2, dtype))


def test_a_scalar_is_no_row():  # T8
    with pytest.raises(ServingError, match="Tensor name: y has no shape information"):
        row(y=np.float32(2.5))
    assert column(y=np.array(2.5, np.float32)) == {"outputs": 2.5}


def test_several_outputs_keep_their_names():  # T9
    a, b = np.array([[1, 2], [3, 4]], np.int32), np.array([0.5, 1.5], np.float32)
    assert row(a=a, b=b) == {"predictions": [{"a": [1, 2], "b": 0.5}, {"a": [3, 4], "b": 1.5}]}
    assert column(a=a, b=b) == {"outputs": {"a": [[1, 2], [3, 4]], "b": [0.5, 1.5]}}


def test_rows_need_one_batch_size():  # T10
    a, b = np.zeros((2, 3), np.int32), np.zeros(3, np.int32)
    with pytest.raises(ServingError, match="name: b has inconsistent batch size: 3 expecting: 2"):
        row(a=a, b=b)
    assert column(a=a, b=b)["outputs"]["b"] == [0, 0, 0]


def test_an_empty_batch_is_an_empty_list():  # T11
    assert row(y=np.zeros((0, 3), np.float32)) == {"predictions": []}
    assert column(y=np.zeros((0, 3), np.float32)) == {"outputs": []}
    assert row(y=np.zeros((2, 0, 5), np.float32)) == {"predictions": [[], []]}


def test_error_texts_never_fail_to_encode():
    assert dumps({"error": "\udcff"}) == b'{"error": "\xff"}'
    assert dumps({"error": "\ud800"}) == b'{"error": "\\ud800"}'


@pytest.mark.parametrize(("dtype", "digits"), [(np.float32, 9), (np.float64, 17)])
def test_six_digits_where_they_are_the_number_else_all(dtype, digits):
    random = np.random.default_rng(3)
    short = [float(f"{m}e{e}") for m in (1, 7, 10, 999999, 123457) for e in range(-50, 33)]
    with np.errstate(all="ignore"):
        near = np.array(short).astype(dtype)
        near = np.concatenate([near, np.nextafter(near, dtype(0)), np.nextafter(near, dtype(9e9))])
        bits = random.integers(0, 2**63, 3000).view(dtype)
    values = np.concatenate([near, -near, bits])
    values = values[np.isfinite(values)]
    expected = []
    for value in values.tolist():
        with np.errstate(over="ignore"):
            exact = dtype(float(f"{value:.6g}")) == dtype(value)
        expected.append(f"{value:.6g}" if exact else f"{value:.{digits}g}")
    written = decimals(values)
    assert [text.removesuffix(".0") for text in written] == expected
    assert all("." in text or "e" in text for text in written)
