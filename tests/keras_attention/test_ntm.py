"""The Neural Turing Machine against loops over the paper's equations, and by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import NTMCell, StackCell, addressing

B, N, M, H, D = 2, 7, 3, 2, 5


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def call(function, *arrays):
    """A function of tensors, given arrays: an array."""
    return numpy(function(*(ops.convert_to_tensor(each, "float32") for each in arrays)))


def numpy(tree):
    return keras.tree.map_structure(ops.convert_to_numpy, tree)


def softmax(x):
    shifted = np.exp(x - x.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def one_head(k, beta, gate, s, gamma, previous, memory):
    """Equations 5 to 9 for one head of one example, in the paper's order."""
    norm = np.linalg.norm
    likeness = np.array([k @ row / (norm(k) * norm(row)) for row in memory])
    content = softmax(beta * likeness)
    gated = gate * content + (1 - gate) * previous
    reach = len(s) // 2
    shifted = np.zeros(N)
    for i in range(N):
        for j in range(N):
            offset = (i - j + N // 2) % N - N // 2  # the shorter way around
            if abs(offset) <= reach:
                shifted[i] += gated[j] * s[offset + reach]
    powered = shifted**gamma
    return powered / powered.sum()


def test_content_is_a_softmax_of_cosines():
    key, strength, memory = draw(B, H, M), abs(draw(B, H)), draw(B, N, M, seed=1)
    found = call(addressing.content_weights, key, strength, memory)
    for b, h in np.ndindex(B, H):
        still = [0.0, 1.0, 0.0]
        expected = one_head(key[b, h], strength[b, h], 1.0, still, 1.0, np.zeros(N), memory[b])
        np.testing.assert_allclose(found[b, h], expected, rtol=1e-4)


def test_an_empty_memory_resembles_nothing_and_has_gradients():
    weights = call(addressing.content_weights, draw(B, H, M), abs(draw(B, H)), np.zeros((B, N, M)))
    np.testing.assert_allclose(weights, 1.0 / N, rtol=1e-5)


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_a_certain_shift_moves_a_head_around_the_end(offset):
    weights = np.eye(N, dtype="float32")[[[0, N - 1]]]
    distribution = np.eye(3, dtype="float32")[[[1 + offset] * 2]]
    moved = call(addressing.shift, weights, distribution)
    assert moved[0].argmax(-1).tolist() == [offset % N, (N - 1 + offset) % N]


def test_sharpening_is_a_power_and_stays_finite_at_nothing():
    weights = softmax(draw(B, H, N))
    power = 1.0 + abs(draw(B, H, seed=1))
    expected = weights ** power[:, :, None]
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(call(addressing.sharpen, weights, power), expected, rtol=1e-4)
    sharp = call(addressing.sharpen, np.eye(N)[None, :2], np.full((1, 2), 50.0))
    np.testing.assert_array_equal(sharp, np.eye(N)[None, :2])


def test_heads_erase_and_then_add():
    weights, memory = softmax(draw(B, H, N)), draw(B, N, M, seed=1)
    erase, add = sigmoid(draw(B, H, M, seed=2)), draw(B, H, M, seed=3)
    expected = memory.astype("float64")
    for b, i, h in np.ndindex(B, N, H):
        expected[b, i] *= 1 - weights[b, h, i] * erase[b, h]
    for b, i, h in np.ndindex(B, N, H):
        expected[b, i] += weights[b, h, i] * add[b, h]
    found = call(addressing.write, weights, erase, add, memory)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("controller", [keras.layers.LSTMCell, keras.layers.Dense])
def test_a_step_is_the_papers(controller):
    reads, writes, shifts = 2, 1, 3
    cell = NTMCell(controller(4), N, M, reads, writes, gate_bias=0.3, shift_bias=0.7)
    cell.build((B, D))
    cell.heads.kernel.assign(draw(*cell.heads.kernel.shape, seed=4))
    inputs = draw(B, D, seed=5)
    states = [draw(B, size, seed=6 + i) * 0.5 for i, size in enumerate(cell.state_size)]
    heads = reads + writes
    states[-2] = softmax(states[-2].reshape(B, heads, N)).reshape(B, -1)
    output, new = numpy(cell(inputs, states))
    seen = np.concatenate([inputs, states[-3]], axis=-1)
    hidden = cell.controller(seen, states[:2])[0] if len(states) == 5 else cell.controller(seen)
    hidden = numpy(hidden)
    np.testing.assert_allclose(output[:, :4], hidden, rtol=1e-4, atol=1e-5)
    kernel, bias = numpy(cell.heads.kernel), numpy(cell.heads.bias)
    sizes = [heads * M, heads, heads, heads * shifts, heads, writes * M, writes * M]
    key, beta, gate, s, gamma, erase, add = np.split(
        hidden @ kernel + bias, np.cumsum(sizes)[:-1], -1
    )
    for b in range(B):
        before = states[-1][b].reshape(N, M)
        memory = before.copy()
        w = [
            one_head(
                np.tanh(key[b].reshape(heads, M)[h]),
                softplus(beta[b, h]),
                sigmoid(gate[b, h] + 0.3),
                softmax(s[b].reshape(heads, shifts)[h] + [0.0, 0.7, 0.0]),
                1.0 + softplus(gamma[b, h]),
                states[-2][b].reshape(heads, N)[h],
                before,
            )
            for h in range(heads)
        ]
        np.testing.assert_allclose(new[-2][b].reshape(heads, N), w, rtol=1e-3, atol=1e-5)
        read = [w[h] @ before for h in range(reads)]
        np.testing.assert_allclose(new[-3][b].reshape(reads, M), read, rtol=1e-3, atol=1e-5)
        memory *= 1 - np.outer(w[2], sigmoid(erase[b]))
        memory += np.outer(w[2], np.tanh(add[b]))
        np.testing.assert_allclose(new[-1][b].reshape(N, M), memory, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(output[b, 4:], new[-3][b], rtol=1e-6)


@pytest.mark.parametrize("kind", ["learned", "focused", "uniform"])
def test_first_states(kind):
    first = keras.initializers.Constant(0.25)
    cell = NTMCell(keras.layers.Dense(4), N, M, initial_weighting=kind, memory_initializer=first)
    cell.build((None, D))
    reads, weights, memory = numpy(cell.get_initial_state(batch_size=B))
    weights = weights.reshape(B, 2, N)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(reads, 0.25, rtol=1e-5)
    np.testing.assert_array_equal(memory, np.full((B, N * M), 0.25, "float32"))
    if kind == "focused":
        assert (weights[..., 0] == 1.0).all()
    if kind == "uniform":
        np.testing.assert_allclose(weights, 1.0 / N, rtol=1e-6)
    if kind == "learned":
        assert any(each.path.endswith("first_logits") for each in cell.trainable_weights)


def test_equal_slots_and_uniform_weights_stay_equal_for_ever():
    """The trap that the other first states are for."""
    equal = keras.initializers.Constant(1e-6)
    cell = NTMCell(
        keras.layers.LSTMCell(4), N, M, initial_weighting="uniform", memory_initializer=equal
    )
    states = keras.layers.RNN(cell, return_state=True)(draw(B, 9, D))
    memory = numpy(states[-1]).reshape(B, N, M)
    np.testing.assert_allclose(memory, memory[:, :1] + np.zeros_like(memory), rtol=1e-4, atol=1e-6)


def test_symbolic_states_have_their_real_shapes():
    machine = keras.layers.RNN(NTMCell(keras.layers.LSTMCell(4), N, M), return_state=True)
    symbolic = machine(keras.Input((None, D)))
    real = machine(draw(B, 6, D))
    assert [tuple(s.shape)[1:] for s in symbolic] == [tuple(r.shape)[1:] for r in real]


def test_inputs_of_any_size_leave_every_number_finite():
    cell = NTMCell(keras.layers.LSTMCell(4), N, M, num_writes=2)
    machine = keras.layers.RNN(cell, return_sequences=True)
    for scale in (1e-6, 1.0, 1e3, 1e6):
        assert np.isfinite(numpy(machine(scale * draw(B, 30, D)))).all()


def test_a_machine_learns_to_copy_one_symbol_over_a_gap():
    keras.utils.set_random_seed(3)
    x = np.zeros((256, 6, 4), "float32")
    y = np.random.default_rng(0).integers(0, 3, 256)
    x[np.arange(256), 0, y] = 1.0
    x[:, -1, 3] = 1.0
    cell = NTMCell(keras.layers.Dense(16, "tanh"), N, M)
    model = keras.Sequential(
        [keras.Input((None, 4)), keras.layers.RNN(cell), keras.layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01, global_clipnorm=10.0), loss, metrics=["accuracy"])
    model.fit(x, y, epochs=30, batch_size=32, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_slots": 0}, "`num_slots` must be a positive integer"),
        ({"max_shift": 4, "num_slots": 7}, "less than half of `num_slots`"),
        ({"initial_weighting": "first"}, "`initial_weighting` must be one of"),
        ({"controller": keras.layers.Flatten()}, "`controller` must have `units`"),
    ],
)
def test_errors_say_what_was_expected(options, message):
    with pytest.raises(ValueError, match=message):
        NTMCell(**{"controller": keras.layers.LSTMCell(4), **options})


@pytest.mark.parametrize(
    "controller",
    [
        lambda: keras.layers.LSTMCell(4, dropout=0.3, recurrent_dropout=0.3),
        lambda: keras.layers.StackedRNNCells(
            [keras.layers.GRUCell(4, dropout=0.3), keras.layers.LSTMCell(5, dropout=0.3)]
        ),
    ],
    ids=["one", "stacked"],
)
def test_a_controller_may_drop_out_in_batches_of_any_size(controller):
    machine = keras.layers.RNN(NTMCell(controller(), N, M))
    for rows in (2, 3):
        first, second = (numpy(machine(draw(rows, 4, D), training=True)) for _ in range(2))
        assert np.abs(first - second).max() > 0
        quiet = numpy(machine(draw(rows, 4, D)))
        np.testing.assert_array_equal(quiet, numpy(machine(draw(rows, 4, D))))
    model = keras.Sequential([machine])
    model.compile("sgd", "mse")
    model.fit(draw(4, 4, D), np.zeros((4, quiet.shape[1])), batch_size=2, verbose=0)


def test_stacked_controllers_are_run_as_by_themselves():
    cells = keras.layers.StackedRNNCells([keras.layers.LSTMCell(4), keras.layers.LSTMCell(5)])
    cell = NTMCell(cells, N, M)
    cell.build((B, D))
    assert cell.output_size == 5 + M
    inputs, states = draw(B, D), cell.get_initial_state(B)
    output, after = numpy(cell(inputs, states))
    seen = np.concatenate([inputs, numpy(states[4])], axis=-1)
    alone, alone_after = cells(seen, cells.get_initial_state(batch_size=B))
    np.testing.assert_allclose(output[:, :5], numpy(alone), rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(after[:4], keras.tree.flatten(alone_after), strict=True):
        np.testing.assert_allclose(mine, numpy(theirs), rtol=1e-5, atol=1e-6)


def test_a_controller_begins_where_it_says():
    cell = NTMCell(StackCell(4, num_stacks=2, depth=5), N, M)
    cell.build((B, D))
    hidden, stacks, *_ = numpy(cell.get_initial_state(B))
    assert hidden.shape == (B, 4) and (stacks == -1.0).all()


@pytest.mark.parametrize(
    "cell",
    [
        lambda: NTMCell(keras.layers.LSTMCell(4), N, M),
        lambda: StackCell(4, num_stacks=2, depth=5),
    ],
    ids=["ntm", "stack"],
)
def test_a_stateful_sequence_in_pieces_is_the_whole(cell):
    inputs = draw(B, 6, D)
    machine = keras.layers.RNN(cell(), return_sequences=True, stateful=True)
    whole = numpy(machine(inputs))
    for _ in range(2):
        first = numpy(machine(inputs[:, :4], initial_state=machine.cell.get_initial_state(B)))
        second = numpy(machine(inputs[:, 4:]))
        pieces = np.concatenate([first, second], axis=1)
        np.testing.assert_allclose(pieces, whole, rtol=1e-5, atol=1e-6)
