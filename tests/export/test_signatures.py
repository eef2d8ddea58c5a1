import numpy as np
import pytest
import tensorflow as tf

from export import Signature
from tests.export.conftest import half_plus_two, spec


def test_examples_take_the_types_of_the_inputs():
    signature = Signature(
        lambda x, word: {"y": x},
        {"x": spec(tf.float32, 2), "word": spec(tf.string)},
        [{"x": [[1, 2]], "word": ["Hund"]}, {"x": np.ones((3, 2)), "word": ["a", "b", b"\xff"]}],
    )
    first, second = signature.arrays(0), signature.arrays(1)
    assert first["x"].dtype == np.float32 and first["word"].tolist() == [b"Hund"]
    assert second["x"].shape == (3, 2) and second["word"].tolist() == [b"a", b"b", b"\xff"]


def test_names_of_inputs_become_names_of_the_traced_function():
    inputs = {"x": tf.TensorSpec((None,), tf.float32, name="something_else")}
    traced = Signature(half_plus_two, inputs).trace()
    assert traced(x=tf.constant([4.0]))["y"].numpy() == [4.0]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "`inputs` must name at least one tensor. Received: inputs={}"),
        ({"X": spec(tf.float32)}, r"Input names must match \[a-z\].*Received: 'X'"),
        ({"": spec(tf.float32)}, "Input names must match .*Received: ''"),
        ({"keras_tensor_7": spec(tf.float32)}, "Input names must be chosen.*'keras_tensor_7'"),
        ({"x": (None, 3)}, r"Input `x` must be a tf.TensorSpec. Received: \(None, 3\)"),
        ({"x": tf.TensorSpec((2,))}, r"`x` must have the batch.*Received: shape=\(2,\)"),
        ({"x": tf.TensorSpec(())}, r"`x` must have the batch.*Received: shape=\(\)"),
        ({"x": tf.TensorSpec(None)}, "`x` must have the batch.*Received: shape=<unknown>"),
        ({"x": spec(tf.float16)}, "`x` must have a type that REST can read.*Received: float16"),
    ],
)
def test_an_input_that_cannot_be_served_is_refused(inputs, words):
    with pytest.raises(ValueError, match=words):
        Signature(half_plus_two, inputs)


def test_something_that_is_no_function_is_refused():
    with pytest.raises(ValueError, match="`function` must be callable. Received: function=3"):
        Signature(3, {"x": spec(tf.float32)})


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ({}, r"Example 0 must give exactly the inputs \['x'\]. Received: \[\]"),
        ({"x": [[1.0, 2.0]], "z": 1}, r"exactly the inputs \['x'\]. Received: \['x', 'z'\]"),
        ({"x": [["a", "b"]]}, "`x` of example 0 must be convertible to float32. Received: "),
        ({"x": [[1.0]]}, r"must have the shape \(None, 2\). Received: shape=\(1, 1\)"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(example, words):
    with pytest.raises(ValueError, match=words):
        Signature(half_plus_two, {"x": spec(tf.float32, 2)}, [example])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x, "must return a dict of named tensors, at least one. Received: "),
        (lambda x: {}, "must return a dict of named tensors, at least one. Received: dict"),
        (lambda x: {"Y": x}, "Output names must match .*Received: 'Y'"),
        (lambda x: {"keras_tensor": x}, "Output names must be chosen"),
        (
            lambda x: {"y": tf.RaggedTensor.from_row_lengths(x, [1])},
            "Output `y` must be a dense tensor; pad it.*Received: RaggedTensor",
        ),
        (lambda x: {"y": tf.sparse.from_dense(x)}, "`y` must be dense|dense tensor.*SparseTensor"),
        (lambda x: {"y": tf.cast(x, tf.float16)}, "`y` must have a type.*cast it.*float16"),
        (lambda x: {"y": tf.cast(x, tf.bfloat16)}, "Received: bfloat16"),
    ],
)
def test_an_output_that_cannot_be_served_is_refused(function, words):
    with pytest.raises(ValueError, match=words):
        Signature(function, {"x": spec(tf.float32)}).trace()
