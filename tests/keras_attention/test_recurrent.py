"""One decoding step: who asks, what is fed back, beams that share a memory."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import (
    AdditiveSoftAttention,
    AttentionCell,
    AttentionState,
    DotAttention,
    SoftAttention,
    normalizers,
)
from keras_attention.scores import BilinearScore

B, K, Tv, D, Dv, UNITS = 2, 3, 5, 2, 11, 7
CELLS = {
    "GRU": lambda: keras.layers.GRUCell(UNITS),
    "LSTM": lambda: keras.layers.LSTMCell(UNITS),
    "stacked": lambda: keras.layers.StackedRNNCells(
        [keras.layers.LSTMCell(3), keras.layers.GRUCell(UNITS)]
    ),
    "dropping": lambda: keras.layers.GRUCell(UNITS, dropout=0.5),
}
cells = pytest.mark.parametrize("cell", CELLS)
orders = pytest.mark.parametrize("attentional_units", [None, 13])


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


VALUE = draw(B, Tv, Dv, seed=1)
MASK = np.array([[True, True, True, False, False], [True, False, True, True, True]])


def built(cell, attentional_units=None):
    attention = SoftAttention(BilinearScore(), normalizers.entmax15)
    layer = AttentionCell(CELLS[cell](), attention, attentional_units)
    layer.build((None, D), VALUE.shape)
    return layer


def numpy(tree):
    return keras.tree.map_structure(ops.convert_to_numpy, tree)


def close(found, wanted):
    found, wanted = ops.convert_to_numpy(found), ops.convert_to_numpy(wanted)
    return np.allclose(found, wanted, rtol=1e-4, atol=1e-5)


def assert_equal(found, wanted):
    np.testing.assert_array_equal(ops.convert_to_numpy(found), ops.convert_to_numpy(wanted))


def assert_trees_equal(found, wanted):
    keras.tree.assert_same_structure(found, wanted)
    for a, b in zip(*map(keras.tree.flatten, (numpy(found), numpy(wanted))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@orders
@cells
def test_beams_that_share_a_memory_equal_beams_run_apart(cell, attentional_units):
    layer = built(cell, attentional_units)
    memory = layer.prepare(VALUE, mask=MASK)
    first = layer.initial_state(memory)
    # Rows 0 … K-1 are hypotheses of the first sequence, and so on.
    state = keras.tree.map_structure(
        lambda leaf: ops.convert_to_tensor(draw(B * K, leaf.shape[-1], seed=leaf.shape[-1])), first
    )
    inputs = draw(B * K, D, seed=3)
    together = layer(inputs, state, memory)
    assert together.output.shape == (B * K, layer.output_size)
    assert together.weights.shape == (B * K, Tv)
    for k in range(K):
        rows = np.arange(B) * K + k
        own = keras.tree.map_structure(lambda leaf: ops.take(leaf, rows, axis=0), state)  # noqa: B023
        apart = layer(inputs[rows], own, memory)
        taken = keras.tree.map_structure(lambda leaf: ops.take(leaf, rows, axis=0), together)  # noqa: B023
        assert_trees_equal(apart, taken)


@cells
def test_look_then_update_asks_with_the_state_before(cell):
    layer = built(cell)
    memory = layer.prepare(VALUE, mask=MASK)
    state = layer.initial_state(memory)
    one, other = layer(draw(B, D), state, memory), layer(draw(B, D, seed=9), state, memory)
    assert_equal(one.weights, other.weights)
    assert not close(one.output, other.output)
    assert one.state.feed == ()


@cells
def test_update_then_look_asks_with_the_new_state_and_feeds_the_output_back(cell):
    layer = built(cell, attentional_units=13)
    memory = layer.prepare(VALUE, mask=MASK)
    state = layer.initial_state(memory)
    one, other = layer(draw(B, D), state, memory), layer(draw(B, D, seed=9), state, memory)
    assert not close(one.weights, other.weights)
    assert_equal(one.state.feed, one.output)
    unfed = one.state._replace(feed=ops.zeros_like(one.state.feed))
    after = layer(draw(B, D), one.state, memory).output
    assert not close(after, layer(draw(B, D), unfed, memory).output)


def test_the_topmost_of_stacked_cells_asks():
    layer = built("stacked")
    memory = layer.prepare(VALUE)
    first = layer.initial_state(memory)
    (hidden, carry), top = first.cell
    below = AttentionState([[hidden + 1.0, carry], top], (), ())
    above = AttentionState(
        [[hidden, carry], keras.tree.map_structure(lambda s: s + 1.0, top)], (), ()
    )
    inputs = draw(B, D)
    weights = layer(inputs, first, memory).weights
    assert_equal(layer(inputs, below, memory).weights, weights)
    assert not close(layer(inputs, above, memory).weights, weights)


def test_the_first_state_is_zeros_unless_given():
    layer = built("LSTM", attentional_units=13)
    memory = layer.prepare(VALUE)
    state = layer.initial_state(memory)
    assert [tuple(leaf.shape) for leaf in keras.tree.flatten(state)] == [(B, 7), (B, 7), (B, 13)]
    assert all((ops.convert_to_numpy(leaf) == 0.0).all() for leaf in keras.tree.flatten(state))
    given = [draw(B, UNITS), draw(B, UNITS, seed=1)]
    assert_trees_equal(layer.initial_state(memory, given).cell, given)


def test_the_only_state_of_a_cell_may_come_without_a_list():
    layer = built("GRU")
    memory, given = layer.prepare(VALUE), draw(B, UNITS)
    assert_trees_equal(layer.initial_state(memory, given).cell, [given])


def test_inputs_may_be_projected_many_steps_at_once():
    layer = built("GRU")
    memory = layer.prepare(VALUE)
    state, inputs = layer.initial_state(memory), draw(B, 4, D)
    projected = layer.project(inputs, memory)
    assert_trees_equal(
        layer.advance(projected[:, 2], state, memory), layer(inputs[:, 2], state, memory)
    )


def test_dropout_masks_are_drawn_for_a_sequence_and_forgotten_after():
    layer = built("dropping")
    memory = layer.prepare(VALUE)
    state, inputs = layer.initial_state(memory), np.ones((B, D), "float32")
    sequences = []
    for _ in range(2):
        with layer.dropout_masks(inputs, state, training=True):
            one, two = (layer(inputs, state, memory, training=True).output for _ in range(2))
        assert_equal(one, two)  # One mask for all steps of a sequence,
        sequences.append(ops.convert_to_numpy(one))
    assert not close(*sequences)  # another for the next sequence,
    quiet = layer(inputs, state, memory).output  # and none when not training.
    assert not close(quiet, sequences[0])
    assert_equal(layer(inputs, state, memory).output, quiet)


def test_a_mask_left_by_steps_before_does_not_reach_the_next_sequence():
    layer = built("dropping")
    memory = layer.prepare(VALUE)
    state, inputs = layer.initial_state(memory), np.ones((B, D), "float32")
    alone = layer(inputs, state, memory, training=True).output
    with layer.dropout_masks(inputs, state, training=True):
        in_sequence = layer(inputs, state, memory, training=True).output
    assert not close(in_sequence, alone)


def test_both_parts_and_their_weights_are_kept_in_the_config():
    layer = built("stacked", attentional_units=13)
    revived = AttentionCell.from_config(layer.get_config())
    assert revived.attentional_units == 13
    assert [type(each) for each in revived.cell.cells] == [
        keras.layers.LSTMCell,
        keras.layers.GRUCell,
    ]
    revived.build((None, D), VALUE.shape)
    assert [w.shape for w in revived.weights] == [w.shape for w in layer.weights]


def test_a_cell_must_be_a_cell():
    with pytest.raises(
        ValueError, match=r"`cell` must be a Keras RNN cell, such as .* Received: cell=<Dense"
    ):
        AttentionCell(keras.layers.Dense(3), DotAttention())


def test_prepare_needs_weights():
    layer = AttentionCell(keras.layers.GRUCell(3), AdditiveSoftAttention(5))
    with pytest.raises(ValueError, match="has no weights yet"):
        layer.prepare(VALUE)
