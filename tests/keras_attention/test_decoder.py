"""The decoder against a loop over the paper's equations, its masks, its dropout, its gradients."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import AdditiveSoftAttention, AttentionCell, AttentionDecoder
from tests import reference

B, T, Tv, D, Dv, UNITS, FED = 2, 3, 5, 2, 11, 7, 13
CELLS = {
    "SimpleRNN": (lambda: keras.layers.SimpleRNNCell(UNITS), reference.simple_rnn_step),
    "LSTM": (lambda: keras.layers.LSTMCell(UNITS), reference.lstm_step),
    "GRU": (lambda: keras.layers.GRUCell(UNITS), reference.gru_step),
    "GRU of 2014": (lambda: keras.layers.GRUCell(UNITS, reset_after=False), reference.gru_step),
}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


INPUTS, VALUE = draw(B, T, D), draw(B, Tv, Dv, seed=1)
VALUE_MASK = np.array([[True, False, True, True, False], [True, True, True, False, True]])


ORDERS = {
    "look, then update": {},
    "update, then look": {"attentional_units": FED},
    "update, then look, and feed nothing back": {"attentional_units": FED, "input_feeding": False},
}
orders = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)


def make(cell, order=ORDERS["look, then update"], **options):
    """A decoder whose every weight is drawn at random, so that no bias is 0."""
    cell = AttentionCell(cell, AdditiveSoftAttention(3), **order)
    decoder = AttentionDecoder(cell, **options)
    decoder(INPUTS, VALUE)
    decoder.set_weights(
        [0.5 * draw(*w.shape, seed=50 + i) for i, w in enumerate(decoder.get_weights())]
    )
    return decoder


def numpy(tree):
    return keras.tree.map_structure(ops.convert_to_numpy, tree)


def oracle(decoder, step, b, first_states):
    """The sequence of row b by the equations: outputs, contexts, weights, last states."""
    cell = decoder.cell
    kernels = [w.astype("float64") for w in cell.cell.get_weights()]
    W, U, v = (w.astype("float64") for w in cell.attention.get_weights())
    keys = values = VALUE[b].astype("float64")

    def score(query, key):
        return reference.additive_score(query, key, W, U, v)

    def attend(hidden):
        return reference.attend(hidden, keys, values, score, reference.softmax, VALUE_MASK[b])

    def update(x, states):
        return step(x, states, *kernels)

    states, output, steps = first_states, np.zeros(FED), []
    for t in range(T):
        if cell.attentional_units is None:
            done = reference.bahdanau_step(update, attend, INPUTS[b, t], states)
        else:
            W_c = ops.convert_to_numpy(cell.attentional.kernel)
            fed = output if cell.input_feeding else np.zeros(0)
            done = reference.luong_step(update, attend, W_c, INPUTS[b, t], states, fed)
        output, context, weights, states = done
        steps.append((output, context, weights))
    return *(np.stack(each) for each in zip(*steps, strict=True)), states


@orders
@pytest.mark.parametrize("name", CELLS)
def test_decoder_follows_the_equations(name, order):
    cell, step = CELLS[name]
    decoder = make(cell(), order)
    num_states = 2 if name == "LSTM" else 1
    first = [draw(B, UNITS, seed=20 + i) for i in range(num_states)]
    decoded = numpy(decoder(INPUTS, VALUE, initial_state=first, value_mask=VALUE_MASK))
    for b in range(B):
        outputs, contexts, weights, states = oracle(decoder, step, b, [state[b] for state in first])
        close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
        close(decoded.outputs[b], outputs)
        close(decoded.contexts[b], contexts)
        close(decoded.weights[b], weights)
        for found, expected in zip(decoded.state.cell, states, strict=True):
            close(found[b], expected)
        if decoder.cell.attentional_units and decoder.cell.input_feeding:
            close(decoded.state.feed[b], outputs[-1])
        else:
            assert decoded.state.feed == ()


@orders
def test_at_a_masked_step_the_state_stands_still(order):
    """A step masked in the middle might as well not be there."""
    decoder = make(keras.layers.LSTMCell(UNITS), order)
    mask = np.array([[True, False, True], [True, True, True]])
    found = numpy(decoder(INPUTS, VALUE, inputs_mask=mask))
    without = numpy(decoder(INPUTS[:1, [0, 2]], VALUE[:1]))
    whole = numpy(decoder(INPUTS[1:], VALUE[1:]))
    for masked, one, other in zip(found[:3], without[:3], whole[:3], strict=True):
        np.testing.assert_allclose(masked[0, [0, 2]], one[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(masked[1], other[0], rtol=1e-5, atol=1e-6)
        assert (masked[0, 1] == 0.0).all()
    ends = (keras.tree.flatten(decoded.state) for decoded in (found, without, whole))
    for masked, one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(masked, np.concatenate([one, other]), rtol=1e-5, atol=1e-6)


def test_a_sequence_masked_throughout_ends_where_it_began():
    decoder = make(keras.layers.GRUCell(UNITS))
    first, mask = draw(B, UNITS, seed=3), np.array([[False] * T, [True] * T])
    decoded = numpy(decoder(INPUTS, VALUE, initial_state=[first], inputs_mask=mask))
    np.testing.assert_array_equal(decoded.state.cell[0][0], first[0])
    assert (decoded.outputs[0] == 0.0).all() and (decoded.outputs[1] != 0.0).any()


def test_masks_of_embeddings_reach_the_decoder_and_ride_on():
    ids, source = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(5, D, mask_zero=True)(ids)
    value = keras.layers.Embedding(7, Dv, mask_zero=True)(source)
    cell = AttentionCell(keras.layers.GRUCell(UNITS), AdditiveSoftAttention(3))
    decoded = AttentionDecoder(cell)(embedded, value)
    pooled = keras.layers.GlobalAveragePooling1D()(decoded.outputs)  # over what is real
    model = keras.Model([ids, source], [decoded.outputs, decoded.weights, pooled])
    outputs, weights, pooled = numpy(
        model([np.array([[1, 4, 0], [2, 1, 3]]), np.array([[1, 2, 3, 0], [5, 6, 0, 0]])])
    )
    assert (weights[0, :2, :3] > 0.0).all() and (weights[0, :, 3] == 0.0).all()
    assert (weights[0, 2] == 0.0).all() and (outputs[0, 2] == 0.0).all()
    assert (weights[1, :, 2:] == 0.0).all()
    np.testing.assert_allclose(pooled[0], outputs[0, :2].mean(0), rtol=1e-5)


def test_key_may_differ_from_the_value():
    decoder = AttentionDecoder(AttentionCell(keras.layers.GRUCell(UNITS), AdditiveSoftAttention(3)))
    key = draw(B, Tv, 17, seed=4)
    decoded = numpy(decoder(INPUTS, VALUE, key))
    moved = numpy(decoder(INPUTS, VALUE + 1.0, key))
    np.testing.assert_array_equal(moved.weights[:, 0], decoded.weights[:, 0])
    assert decoded.contexts.shape == (B, T, Dv)


@pytest.mark.parametrize("kind", [keras.layers.GRUCell, keras.layers.LSTMCell])
def test_cell_dropout_draws_one_mask_a_sequence_and_another_for_the_next(kind):
    decoder = make(kind(UNITS, dropout=0.4, recurrent_dropout=0.3))
    quiet = numpy(decoder(INPUTS, VALUE).outputs)
    one, other = (numpy(decoder(INPUTS, VALUE, training=True).outputs) for _ in range(2))
    assert not np.allclose(one, quiet) and not np.allclose(one, other)
    np.testing.assert_array_equal(numpy(decoder(INPUTS, VALUE).outputs), quiet)


def test_dropout_inside_stacked_cells_is_forgotten_too():
    cells = [keras.layers.GRUCell(3, dropout=0.4), keras.layers.GRUCell(UNITS, dropout=0.4)]
    decoder = make(keras.layers.StackedRNNCells(cells))
    one, other = (numpy(decoder(INPUTS, VALUE, training=True).outputs) for _ in range(2))
    assert not np.allclose(one, other)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_training_with_every_dropout_compiles(jit_compile):
    if jit_compile and keras.backend.backend() == "torch":
        pytest.skip("torch compiles by a compiler of its own")
    inputs, value = keras.Input((T, D)), keras.Input((Tv, Dv))
    attention = AdditiveSoftAttention(3, dropout=0.2)
    cell = AttentionCell(keras.layers.GRUCell(UNITS, dropout=0.2), attention, FED)
    model = keras.Model([inputs, value], AttentionDecoder(cell)(inputs, value).outputs)
    model.compile("sgd", "mse", jit_compile=jit_compile)
    losses = model.fit([INPUTS, VALUE], draw(B, T, FED), epochs=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all()


def test_decoder_learns_to_copy():
    """A toy world: the target is the value at the step's own place, told by a one-hot input."""
    draw = np.random.default_rng(5)
    marks = np.eye(4, dtype="float32")
    content = draw.integers(0, 2, size=(64, 4, 1)).astype("float32")
    value = np.concatenate([np.repeat(marks[None], 64, 0), content], axis=-1)
    inputs, memory = keras.Input((None, 4)), keras.Input((None, 5))
    cell = AttentionCell(keras.layers.GRUCell(17), AdditiveSoftAttention(11), attentional_units=17)
    decoded = AttentionDecoder(cell)(inputs, memory)
    model = keras.Model([inputs, memory], keras.layers.Dense(1, "sigmoid")(decoded.outputs))
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    data = [np.repeat(marks[None], 64, 0), value]
    model.fit(data, content, batch_size=16, epochs=40, verbose=0)
    assert ((model.predict(data, verbose=0) > 0.5) == content).mean() > 0.97


def test_cell_must_be_an_attention_cell():
    with pytest.raises(
        ValueError, match="`cell` must be an `AttentionCell`. Received: cell=<GRUCell"
    ):
        AttentionDecoder(keras.layers.GRUCell(3))


def test_without_an_attentional_vector_the_cell_must_be_fed():
    with pytest.raises(ValueError, match="`input_feeding=False` needs `attentional_units`"):
        AttentionCell(keras.layers.GRUCell(3), AdditiveSoftAttention(3), input_feeding=False)
