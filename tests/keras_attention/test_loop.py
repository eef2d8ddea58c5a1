"""The loop over time against a Python loop."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import loop

T, B, D = 5, 2, 3
needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="takes gradients by TensorFlow's own means"
)


def step(carry, now):
    """Outputs unlike the carry in number and shape: what Keras' own scan cannot do here."""
    x, weight = now
    total = ops.tanh(carry["total"] * 0.5 + x * weight[:, None])
    count = carry["count"] + 1
    return {"total": total, "count": count}, (ops.sum(total, axis=-1), total * 2.0)


def arguments():
    draw = np.random.default_rng(0)
    carry = {"total": ops.zeros((B, D)), "count": ops.zeros((B,), "int32")}
    x = draw.normal(size=(T, B, D)).astype("float32")
    weight = draw.normal(size=(T, B)).astype("float32")
    output = ops.zeros((B,)), ops.zeros((B, D))
    inputs = ops.convert_to_tensor(x), ops.convert_to_tensor(weight)
    return step, carry, inputs, output


def expected():
    _, carry, (x, weight), _ = arguments()
    outputs = []
    for t in range(T):
        carry, output = step(carry, (x[t], weight[t]))
        outputs.append(output)
    return carry, tuple(ops.stack(each) for each in zip(*outputs, strict=True))


def assert_trees_equal(found, wanted):
    keras.tree.assert_same_structure(found, wanted)
    for a, b in zip(keras.tree.flatten(found), keras.tree.flatten(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_scan_is_a_python_loop():
    assert_trees_equal(loop.scan(*arguments()), expected())


def test_one_tensor_may_come_instead_of_a_tuple():
    carry, outputs = loop.scan(
        lambda total, x: (total + x, total * x), ops.zeros(()), ops.arange(1.0, 5.0), ops.zeros(())
    )
    assert float(carry) == 10.0
    assert ops.convert_to_numpy(outputs).tolist() == [0.0, 2.0, 9.0, 24.0]


@needs_tensorflow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_scan_and_its_gradients_are_the_same_in_a_graph(jit_compile):
    import tensorflow as tf

    def total(inputs):
        step, carry, _, output = arguments()
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            carry, outputs = loop.scan(step, carry, inputs, output)
            loss = sum(tf.reduce_sum(each**2) for each in outputs)
        return carry, outputs, tape.gradient(loss, inputs)

    inputs = arguments()[2]
    assert_trees_equal(tf.function(total, jit_compile=jit_compile)(inputs), total(inputs))


@needs_tensorflow
def test_lengths_and_batches_unknown_while_tracing():
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, None, D)), tf.TensorSpec((None, None))])
    def run(x, weight):
        rows = tf.shape(x)[1]
        carry = {"total": tf.zeros((rows, D)), "count": tf.zeros((rows,), "int32")}
        return loop.scan(step, carry, (x, weight), (tf.zeros((rows,)), tf.zeros((rows, D))))

    x, weight = arguments()[2]
    assert_trees_equal(run(x, weight), expected())
    assert run(x[:1], weight[:1])[1][1].shape == (1, B, D)


@pytest.mark.parametrize("shape", [(2, 3), (2, 0), (0,)])
def test_what_is_written_on_a_tape_is_read(shape):
    row = ops.ones(shape)
    tape = loop.new_tape(5, row)
    for time in (3, 1):
        tape = loop.write(tape, ops.convert_to_tensor(time, "int32"), row * time)
    expected = np.multiply.outer([0, 1, 0, 3, 0], np.ones(shape))
    np.testing.assert_array_equal(ops.convert_to_numpy(loop.read(tape)), expected)


def test_a_loop_carries_a_tape_within_a_tree():
    def body(carry):
        time, tape = carry["time"], carry["tape"]
        row = ops.cast(ops.stack([time, time * time]), "float32")
        return ({"time": time + 1, "tape": loop.write(tape, time, row)},)

    carry = {"time": ops.zeros((), "int32"), "tape": loop.new_tape(7, ops.zeros((2,)))}
    (carry,) = ops.while_loop(lambda carry: carry["time"] < 3, body, (carry,))
    expected = [[0, 0], [1, 1], [2, 4], *[[0, 0]] * 4]
    np.testing.assert_array_equal(ops.convert_to_numpy(loop.read(carry["tape"])), expected)
