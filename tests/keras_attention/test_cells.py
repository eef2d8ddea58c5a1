"""Cells taken apart: the same numbers as the Keras cell, and as its paper."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import cells
from tests import reference

N, KNOWN, FED, UNITS = 3, 2, 5, 7

ACTIVATIONS = [{}, {"activation": "relu"}]
GATES = [{}, {"recurrent_activation": "hard_sigmoid"}]
BIAS = [{"use_bias": True}, {"use_bias": False}]
RESET = [{"reset_after": True}, {"reset_after": False}]
OPTIONS = [
    *((keras.layers.SimpleRNNCell, *each) for each in itertools.product(ACTIVATIONS, BIAS)),
    *((keras.layers.LSTMCell, *each) for each in itertools.product(ACTIVATIONS, GATES, BIAS)),
    *((keras.layers.GRUCell, *each) for each in itertools.product(ACTIVATIONS, GATES, BIAS, RESET)),
]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(kind, **options):
    """A cell whose every weight, the biases too, is drawn at random."""
    cell = kind(UNITS, **options)
    cell.build((None, KNOWN + FED))
    cell.set_weights([draw(*w.shape, seed=i) for i, w in enumerate(cell.get_weights())])
    return cell


def numpy(tree):
    return keras.tree.map_structure(ops.convert_to_numpy, tree)


def take_apart(cell, x, states):
    """What `AttentionCell` does: the known part through the kernel first, then the rest."""
    weights = cells.split(cell, KNOWN)
    known = ops.matmul(x[:, :KNOWN], weights.known_kernel) + weights.bias
    projected = known + ops.matmul(x[:, KNOWN:], weights.fed_kernel)
    return numpy(cells.update(cell, weights, projected, states))


def states_of(cell):
    sizes = cell.state_size if isinstance(cell.state_size, list) else [cell.state_size]
    return [ops.convert_to_tensor(draw(N, size, seed=31 + i)) for i, size in enumerate(sizes)]


@pytest.mark.parametrize("case", OPTIONS, ids=str)
def test_taken_apart_a_cell_gives_its_own_numbers(case):
    kind, *options = case
    cell = built(kind, **{k: v for each in options for k, v in each.items()})
    assert cells.can_split(cell)
    x, states = ops.convert_to_tensor(draw(N, KNOWN + FED, seed=41)), states_of(cell)
    output, new = take_apart(cell, x, states)
    expected_output, expected = numpy(cell(x, states))
    np.testing.assert_allclose(output, expected_output, rtol=1e-4, atol=1e-5)
    keras.tree.assert_same_structure(list(new), list(expected))
    for found, wanted in zip(new, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "oracle", "options"),
    [
        (keras.layers.SimpleRNNCell, reference.simple_rnn_step, {}),
        (keras.layers.LSTMCell, reference.lstm_step, {}),
        (keras.layers.GRUCell, reference.gru_step, {"reset_after": True}),
        (keras.layers.GRUCell, reference.gru_step, {"reset_after": False}),
    ],
)
def test_taken_apart_a_cell_follows_its_equations(kind, oracle, options):
    cell = built(kind, **options)
    x, states = draw(N, KNOWN + FED, seed=41), states_of(cell)
    output, new = take_apart(cell, ops.convert_to_tensor(x), states)
    weights = [w.astype("float64") for w in cell.get_weights()]
    for row in range(N):
        row_states = [ops.convert_to_numpy(state)[row] for state in states]
        expected_output, expected = oracle(x[row], row_states, *weights)
        np.testing.assert_allclose(output[row], expected_output, rtol=1e-4, atol=1e-5)
        for found, wanted in zip(new, expected, strict=True):
            np.testing.assert_allclose(found[row], wanted, rtol=1e-4, atol=1e-5)


def test_only_cells_whose_equations_are_known_are_taken_apart():
    class Own(keras.layers.GRUCell):
        pass

    layers = keras.layers
    assert not cells.can_split(Own(3))
    assert not cells.can_split(layers.GRUCell(3, dropout=0.1))
    assert not cells.can_split(layers.LSTMCell(3, recurrent_dropout=0.1))
    assert not cells.can_split(layers.StackedRNNCells([layers.GRUCell(3)]))


def test_weights_come_in_the_compute_dtype():
    cell = keras.layers.GRUCell(UNITS, dtype="mixed_bfloat16")
    cell.build((None, KNOWN + FED))
    for weight in cells.split(cell, KNOWN):
        assert keras.backend.standardize_dtype(weight.dtype) == "bfloat16"
