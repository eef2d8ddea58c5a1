"""Stacks against a loop over the paper's equations, and in a world of brackets."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import StackCell

B, D, units, K, depth = 3, 5, 4, 2, 6


def numpy(tree):
    return keras.tree.map_structure(ops.convert_to_numpy, tree)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("rounding", [False, True])
def test_a_step_is_the_papers(keep, recurrent, rounding):
    rng = np.random.default_rng(0)
    cell = StackCell(units, K, depth, keep=keep, recurrent=recurrent, rounding=rounding)
    cell.build((B, D))
    x, before = rng.normal(size=(B, D)), rng.normal(size=(B, units))
    stacks = rng.normal(size=(B, K, depth))
    h, (again, after) = numpy(cell(x, [before, stacks.reshape(B, -1)]))
    np.testing.assert_array_equal(h, again)
    after = after.reshape(B, K, depth)
    dense = [
        (numpy(each.kernel), numpy(each.bias)) for each in (cell.hidden, cell.moves, cell.pushed)
    ]
    for b in range(B):
        seen = [*x[b], *stacks[b, :, :2].ravel(), *(before[b] if recurrent else [])]
        expected = sigmoid(np.array(seen) @ dense[0][0] + dense[0][1])
        np.testing.assert_allclose(h[b], expected, rtol=1e-4, atol=1e-5)
        scores = (expected @ dense[1][0] + dense[1][1]).reshape(K, -1)
        value = sigmoid(expected @ dense[2][0] + dense[2][1])
        for k in range(K):
            a = np.exp(scores[k]) / np.exp(scores[k]).sum()
            a = np.eye(len(a))[a.argmax()] if rounding else a
            for i in range(depth):
                above = value[k] if i == 0 else stacks[b, k, i - 1]
                below = -1.0 if i == depth - 1 else stacks[b, k, i + 1]
                number = a[0] * above + a[1] * below + (a[2] * stacks[b, k, i] if keep else 0.0)
                np.testing.assert_allclose(after[b, k, i], number, rtol=1e-3, atol=1e-5)


def test_stacks_are_empty_at_first():
    hidden, stacks = numpy(StackCell(units, K, depth).get_initial_state(batch_size=B))
    assert not hidden.any() and (stacks == -1.0).all() and stacks.shape == (B, K * depth)


def test_rounding_waits_in_training():
    cell = StackCell(units, K, depth, rounding=True)
    network = keras.layers.RNN(cell, return_state=True)
    x = np.random.default_rng(1).normal(size=(B, 3, D))
    stacks = numpy(network(x, training=True)[-1])
    plain = StackCell(units, K, depth)
    same = keras.layers.RNN(plain, return_state=True)
    same(x)
    same.set_weights(network.get_weights())
    np.testing.assert_allclose(stacks, numpy(same(x)[-1]), rtol=1e-5, atol=1e-6)
    assert not np.allclose(stacks, numpy(network(x)[-1]))


def test_symbolic_states_have_their_real_shapes():
    network = keras.layers.RNN(StackCell(units, K, depth), return_state=True)
    symbolic, real = network(keras.Input((None, D))), network(np.zeros((B, 2, D)))
    assert [tuple(s.shape)[1:] for s in symbolic] == [tuple(r.shape)[1:] for r in real]


def reversals(count, seed):
    """Two to four bits, a mark, and the bits from last to first, to be told."""
    rng = np.random.default_rng(seed)
    x, y, weight = np.zeros((count, 8, 3), "float32"), np.zeros((count, 8)), np.zeros((count, 8))
    for row in range(count):
        bits = rng.integers(0, 2, rng.integers(2, 5))
        x[row, np.arange(len(bits)), bits] = 1.0
        x[row, len(bits) :, 2] = 1.0
        y[row, len(bits) : 2 * len(bits)] = bits[::-1]
        weight[row, len(bits) : 2 * len(bits)] = 1.0
    return x, y[..., None], weight


def test_a_stack_learns_to_tell_backwards():
    keras.utils.set_random_seed(2)
    network = keras.layers.RNN(StackCell(12, 2, 8), return_sequences=True)
    model = keras.Sequential([keras.Input((None, 3)), network, keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    x, y, weight = reversals(512, 0)
    model.fit(x, y, sample_weight=weight, epochs=60, batch_size=32, verbose=0)
    x, y, weight = reversals(200, 1)
    right = (model.predict(x, verbose=0) > 0.5) == y
    assert right[weight == 1.0].mean() > 0.97


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_stacks": 0}, "`num_stacks` must be a positive integer"),
        ({"depth": 1, "visible": 2}, "`visible` must be at most `depth`"),
    ],
)
def test_errors_say_what_was_expected(options, message):
    with pytest.raises(ValueError, match=message):
        StackCell(4, **options)
