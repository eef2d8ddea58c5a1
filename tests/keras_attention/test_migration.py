"""Converted weights give TFA's numbers, and `keras.layers.Attention`'s where these are ours.

TFA cannot be installed beside TensorFlow 2.21, so its formulas are restated here in NumPy, from
`tensorflow_addons/seq2seq/attention_wrapper.py` at commit 88d2f0a of tensorflow/addons, as read
there: the keys are `memory_layer(memory)`, the context is of the memory itself; a memory is zero
beyond its length; `AttentionWrapper` feeds `[inputs ; attention]` to the cell, asks with the cell's
output, and applies its attention layer to `[cell output ; context]`. The file of the last release,
0.23.0, was not at hand; that it agrees is an assumption. That Keras 2's cells, which TFA wraps, and
Keras 3's have one layout of weights is another: here both are the equations of `reference.py`.
"""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import (
    AdditiveScore,
    AdditiveSoftAttention,
    AttentionDecoder,
    BilinearScore,
    DotAttention,
    SoftAttention,
    migration,
)
from tests import reference

B, T, Tv, D, Dv, UNITS, DEPTH, ATTENTIONAL = 2, 4, 5, 3, 7, 11, 13, 2
LENGTHS = (5, 3)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape, scale=0.5).astype("float32")


INPUTS, QUERY, MEMORY = draw(B, T, D), draw(B, T, UNITS, seed=1), draw(B, Tv, Dv, seed=2)
MASK = np.arange(Tv) < np.array(LENGTHS)[:, None]

# TFA, one sequence: a mechanism is a function of a query (Dq,) to alignments (Tv,).


def tfa_luong(arrays, memory, length):
    keys = memory @ arrays["memory_layer/kernel"]

    def align(query):
        return _tfa_softmax(arrays.get("attention_g", 1.0) * (keys @ query), length)

    return align


def tfa_bahdanau(arrays, memory, length):
    keys, v = memory @ arrays["memory_layer/kernel"], arrays["attention_v"]
    b = 0.0
    if "attention_g" in arrays:
        v = arrays["attention_g"] * v / np.sqrt(np.sum(np.square(v)))
        b = arrays["attention_b"]

    def align(query):
        hidden = np.tanh(keys + query @ arrays["query_layer/kernel"] + b)
        return _tfa_softmax(np.sum(v * hidden, axis=1), length)

    return align


def _tfa_softmax(score, length):
    score = np.where(np.arange(len(score)) < length, score, -np.inf)
    return np.exp(score - score.max()) / np.exp(score - score.max()).sum()


def tfa_attention_wrapper(
    arrays, cell, units, mechanism, activation, inputs, memory, length, first=None
):
    """The attentions, cell outputs and alignments of all steps, of a wrapper whose attention layer,
    if it has one, applies `activation`; `first` is fed instead of zeros."""
    memory = memory * (np.arange(len(memory)) < length)[:, None]
    align, kernel = mechanism(arrays, memory, length), arrays.get("attention_layer/kernel")
    size = memory.shape[1] if kernel is None else kernel.shape[1]
    attention = np.zeros(size) if first is None else first(align, memory)
    states, steps = (
        [np.zeros(units), np.zeros(units)][: 2 if cell is reference.lstm_step else 1],
        [],
    )
    weights = [arrays[f"cell/{name}"] for name in ("kernel", "recurrent_kernel", "bias")]
    for now in inputs:
        output, states = cell(np.concatenate([now, attention]), states, *weights)
        alignments = align(output)
        attention = context = alignments @ memory
        if kernel is not None:
            attention = activation(np.concatenate([output, context]) @ kernel)
        steps.append((attention, output, alignments))
    return [np.array(each) for each in zip(*steps, strict=True)]


# Arrays by TFA's names.


def luong_arrays(scale=False):
    arrays = {"memory_layer/kernel": draw(Dv, UNITS, seed=3)}
    return {**arrays, "attention_g": np.float32(1.7)} if scale else arrays


def bahdanau_arrays(normalize=False):
    arrays = {
        "query_layer/kernel": draw(UNITS, DEPTH, seed=4),
        "memory_layer/kernel": draw(Dv, DEPTH, seed=5),
        "attention_v": draw(DEPTH, seed=6),
    }
    if normalize:
        arrays |= {"attention_g": np.float32(2.3), "attention_b": draw(DEPTH, seed=7)}
    return arrays


def cell_arrays(gates, fed, bias_shape):
    return {
        "cell/kernel": draw(D + fed, gates * UNITS, seed=8),
        "cell/recurrent_kernel": draw(UNITS, gates * UNITS, seed=9),
        "cell/bias": draw(*bias_shape, seed=10),
    }


MECHANISMS = {
    "Luong": (migration.from_luong_attention, tfa_luong, luong_arrays()),
    "Luong, scaled": (migration.from_luong_attention, tfa_luong, luong_arrays(True)),
    "Bahdanau": (migration.from_bahdanau_attention, tfa_bahdanau, bahdanau_arrays()),
    "Bahdanau, normalised": (
        migration.from_bahdanau_attention,
        tfa_bahdanau,
        bahdanau_arrays(True),
    ),
}
CELLS = {
    "LSTM": (lambda: keras.layers.LSTMCell(UNITS), reference.lstm_step, 4, (4 * UNITS,)),
    "GRU": (lambda: keras.layers.GRUCell(UNITS), reference.gru_step, 3, (2, 3 * UNITS)),
    "GRU, resetting first": (
        lambda: keras.layers.GRUCell(UNITS, reset_after=False),
        reference.gru_step,
        3,
        (3 * UNITS,),
    ),
    "SimpleRNN": (
        lambda: keras.layers.SimpleRNNCell(UNITS),
        reference.simple_rnn_step,
        1,
        (UNITS,),
    ),
}
mechanisms = pytest.mark.parametrize("mechanism", MECHANISMS)
cells = pytest.mark.parametrize("cell", CELLS)


def assert_close(found, expected):
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-4, atol=1e-5)


@mechanisms
def test_a_mechanism_gives_tfas_alignments_and_contexts(mechanism):
    convert, oracle, arrays = MECHANISMS[mechanism]
    context, weights = convert(arrays)(QUERY, MEMORY, value_mask=MASK, return_attention_scores=True)
    for b in range(B):
        memory = MEMORY[b] * MASK[b][:, None]
        align = oracle(arrays, memory, LENGTHS[b])
        expected = np.array([align(query) for query in QUERY[b]])
        assert_close(weights[b], expected)
        assert_close(context[b], expected @ memory)


def wrapped(mechanism, cell, fed, attention_layer, activation="linear"):
    """The converted decoder's answers, and a function to TFA's for one sequence."""
    _, oracle, arrays = MECHANISMS[mechanism]
    make, step, gates, bias_shape = CELLS[cell]
    arrays = {**arrays, **cell_arrays(gates, fed, bias_shape)}
    if attention_layer:
        arrays["attention_layer/kernel"] = draw(UNITS + Dv, ATTENTIONAL, seed=11)
    converted = migration.from_attention_wrapper(arrays, make(), activation)
    decoded = AttentionDecoder(converted)(INPUTS, MEMORY, value_mask=MASK)
    apply = {"linear": lambda x: x, "tanh": np.tanh}[activation]
    return decoded, functools.partial(tfa_attention_wrapper, arrays, step, UNITS, oracle, apply)


@mechanisms
@cells
@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_a_wrapper_with_an_attention_layer_takes_the_same_steps(mechanism, cell, activation):
    decoded, tfa = wrapped(mechanism, cell, ATTENTIONAL, True, activation)
    for b in range(B):
        attentions, _, alignments = tfa(INPUTS[b], MEMORY[b], LENGTHS[b])
        assert_close(decoded.outputs[b], attentions)
        assert_close(decoded.weights[b], alignments)


@mechanisms
@cells
def test_a_wrapper_without_one_is_bahdanaus_order_but_for_what_is_fed_first(mechanism, cell):
    decoded, tfa = wrapped(mechanism, cell, Dv, attention_layer=False)
    for b in range(B):
        data = INPUTS[b], MEMORY[b], LENGTHS[b]
        looked = tfa(*data, first=lambda align, memory: align(np.zeros(UNITS)) @ memory)
        attentions, outputs, alignments = looked
        assert_close(decoded.outputs[b], outputs)
        # TFA looks at the end of a step, and ours at the beginning of the next.
        assert_close(decoded.contexts[b, 1:], attentions[:-1])
        assert_close(decoded.weights[b, 1:], alignments[:-1])
        as_tfa_is = tfa(*data)[1]
        assert not np.allclose(as_tfa_is[0], outputs[0], atol=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        lambda name: f"decoder/attention_wrapper/{name}:0",
        lambda name: f"model/decoder/{name}/.ATTRIBUTES/VARIABLE_VALUE",
        lambda name: name.replace("attention_layer/", "_attention_layers/0/").replace(
            "attention_g", "scale_weight"
        ),
    ],
)
def test_names_of_variables_and_of_a_checkpoints_entries_are_understood(name):
    arrays = {**luong_arrays(True), **cell_arrays(4, ATTENTIONAL, (4 * UNITS,))}
    arrays["attention_layer/kernel"] = draw(UNITS + Dv, ATTENTIONAL, seed=11)
    others = {"encoder/kernel": np.ones(2), "output_layer/kernel": np.ones(3), "step:0": np.ones(1)}
    plain, renamed = (
        migration.from_attention_wrapper(each, keras.layers.LSTMCell(UNITS), "tanh")
        for each in (arrays, {name(key): value for key, value in arrays.items()} | others)
    )
    for found, expected in zip(renamed.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_checkpoint_of_tensorflow_is_read_as_the_guide_reads_it(tmp_path):
    tf = pytest.importorskip("tensorflow")
    arrays, names = bahdanau_arrays(True), {"memory_layer": "kernel", "query_layer": "kernel"}
    attention = tf.Module()
    for name in ("attention_v", "attention_g", "attention_b"):
        setattr(attention, name, tf.Variable(arrays[name]))
    for layer, weight in names.items():
        setattr(attention, layer, tf.Module())
        setattr(getattr(attention, layer), weight, tf.Variable(arrays[f"{layer}/{weight}"]))
    path = tf.train.Checkpoint(decoder=attention).save(tmp_path / "checkpoint")
    reader = tf.train.load_checkpoint(path)
    read = {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith("decoder/")
    }
    layer = migration.from_bahdanau_attention(read)
    expected = migration.from_bahdanau_attention(arrays)
    assert_close(layer(QUERY, MEMORY), ops.convert_to_numpy(expected(QUERY, MEMORY)))


def test_a_converted_cell_is_saved_and_loaded(tmp_path):
    arrays = {**luong_arrays(True), **cell_arrays(4, Dv, (4 * UNITS,))}
    cell = migration.from_attention_wrapper(arrays, keras.layers.LSTMCell(UNITS))
    inputs, memory = keras.Input((None, D)), keras.Input((None, Dv))
    outputs = AttentionDecoder(cell)(inputs, memory).outputs
    model = keras.Model([inputs, memory], outputs)
    model.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(revived([INPUTS, MEMORY]), ops.convert_to_numpy(model([INPUTS, MEMORY])))


def without(arrays, name):
    return {key: value for key, value in arrays.items() if key != name}


LSTM = {**luong_arrays(), **cell_arrays(4, ATTENTIONAL, (4 * UNITS,))}
LSTM["attention_layer/kernel"] = draw(UNITS + Dv, ATTENTIONAL, seed=11)


def from_lstm(arrays, cell=None):
    cell = keras.layers.LSTMCell(UNITS) if cell is None else cell
    return migration.from_attention_wrapper(arrays, cell)


@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (
            lambda: migration.from_luong_attention({"kernel": np.ones((2, 3))}),
            r"There is no array `memory_layer/kernel`. Received: \['kernel'\]",
        ),
        (
            lambda: migration.from_luong_attention(
                {"a/memory_layer/kernel": 1, "b/memory_layer/kernel": 2}
            ),
            r"must be one `memory_layer/kernel`: pass the arrays of one attention mechanism only. "
            r"Received: \['a/memory_layer/kernel', 'b/memory_layer/kernel'\]",
        ),
        (
            lambda: migration.from_luong_attention({**luong_arrays(), "attention_score_bias": 0}),
            r"weights of a monotonic attention, which has no counterpart here yet. Received: "
            r"\['attention_score_bias', 'memory_layer/kernel'\]",
        ),
        (
            lambda: migration.from_luong_attention(bahdanau_arrays()),
            r"weights of a Bahdanau attention: see `from_bahdanau_attention`. Received: \['att",
        ),
        (
            lambda: migration.from_bahdanau_attention(
                without(bahdanau_arrays(True), "attention_b")
            ),
            r"has both `attention_g` and `attention_b`, and otherwise neither is there. Received",
        ),
        (
            lambda: migration.from_bahdanau_attention(
                {**bahdanau_arrays(), "query_layer/kernel": draw(UNITS, 2)}
            ),
            r"`query_layer/kernel` must have the shape \(11, 13\), by the other arrays and the "
            r"arguments of the cell. Received: \(11, 2\)",
        ),
        (
            lambda: from_lstm({**LSTM, "attention_layer/bias": draw(ATTENTIONAL)}),
            r"attention layer has a bias here, and the attentional vector of an `AttentionCell` "
            r"has none. Received: \['attention_layer/bias'",
        ),
        (
            lambda: from_lstm({**LSTM, "encoder/recurrent_kernel": draw(2, 8)}),
            r"must be one recurrent cell: pass the arrays of the decoder only, and of no stacked "
            r"cells. Received: \['cell/recurrent_kernel', 'encoder/recurrent_kernel'\]",
        ),
        (
            lambda: from_lstm(luong_arrays()),
            r"must be one recurrent cell.* Received: \['memory_layer/kernel'\]",
        ),
        (
            lambda: from_lstm(LSTM, keras.layers.LSTMCell(UNITS, use_bias=False)),
            r"`cell` must be a Keras RNN cell with the arguments of the wrapped one. Received: a "
            r"LSTMCell with \['kernel', 'recurrent_kernel'\], arrays for \['kernel', "
            r"'recurrent_kernel', 'bias'\]",
        ),
        (
            lambda: from_lstm(LSTM, keras.layers.GRUCell(UNITS)),
            r"`kernel` must have the shape \(5, 33\).* Received: \(5, 44\)",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused(convert, words):
    with pytest.raises(ValueError, match=words):
        convert()


def test_sequence_loss_is_a_mean_over_sample_weights():
    """`loss.py`: the sum of weighted cross-entropies, divided by the sum of the weights."""
    logits, labels = draw(B, T, 17, seed=14), np.random.default_rng(15).integers(0, 17, (B, T))
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    crossentropies = -np.take_along_axis(log_probs, labels[:, :, None], axis=-1)[:, :, 0]
    real = np.array([[1, 1, 1, 0], [1, 0, 0, 0]])
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    assert_close(loss(labels, logits, real), np.sum(crossentropies * real) / np.sum(real))


# keras.layers.Attention and AdditiveAttention

PAIR = draw(B, T, Dv, seed=12), MEMORY
QUERY_MASK = np.arange(T) < np.array([[2], [4]])


@pytest.mark.parametrize("key", [None, draw(B, Tv, Dv, seed=13)], ids=["value", "key"])
@pytest.mark.parametrize("use_causal_mask", [False, True])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_dot_attention_is_keras_attention(scale, use_causal_mask, key):
    keras_layer = keras.layers.Attention(use_scale=scale is not None)
    ours = DotAttention(trainable_scale=scale is not None)
    tensors = PAIR if key is None else (*PAIR, key)
    keras_layer.build([each.shape for each in tensors])
    ours.build(*(each.shape for each in tensors))
    if scale is not None:
        keras_layer.set_weights([np.array(scale)])
        ours.set_weights(keras_layer.get_weights())
    options = {"use_causal_mask": use_causal_mask, "return_attention_scores": True}
    masks = [QUERY_MASK, MASK]
    expected, expected_weights = keras_layer(
        [ops.convert_to_tensor(each) for each in tensors],
        mask=[ops.convert_to_tensor(each) for each in masks],
        **options,
    )
    context, weights = ours(*tensors, query_mask=masks[0], value_mask=masks[1], **options)
    assert_close(context, ops.convert_to_numpy(expected))
    # A masked query: weights of 0 here, and there those it would have had.
    real = ops.convert_to_numpy(expected_weights) * QUERY_MASK[:, :, None]
    assert_close(weights, real)


def test_additive_attention_is_keras_additive_attention_between_identities():
    keras_layer = keras.layers.AdditiveAttention()
    expected = keras_layer([ops.convert_to_tensor(each) for each in PAIR])
    ours = SoftAttention(AdditiveScore(Dv))
    ours(*PAIR)
    ours.score.set_weights([np.eye(Dv), np.eye(Dv), *keras_layer.get_weights()])
    assert_close(ours(*PAIR), ops.convert_to_numpy(expected))


def test_bilinear_attention_is_keras_attention_of_projected_keys():
    project = keras.layers.Dense(UNITS, use_bias=False)
    keys = project(MEMORY)
    expected = keras.layers.Attention()(
        [ops.convert_to_tensor(each) for each in (QUERY, MEMORY)] + [keys]
    )
    ours = SoftAttention(BilinearScore())
    ours(QUERY, MEMORY)
    ours.score.set_weights(project.get_weights())
    assert_close(ours(QUERY, MEMORY), ops.convert_to_numpy(expected))


def test_a_query_that_may_read_nothing_reads_padding_in_keras_and_0_here():
    query, value = (ops.convert_to_tensor(each) for each in PAIR)
    nothing = np.zeros((B, Tv), bool)
    _, expected = keras.layers.Attention()(
        [query, value], mask=[None, ops.convert_to_tensor(nothing)], return_attention_scores=True
    )
    np.testing.assert_allclose(ops.convert_to_numpy(ops.sum(expected, axis=-1)), 1.0, rtol=1e-5)
    context, weights = DotAttention()(
        query, value, value_mask=nothing, return_attention_scores=True
    )
    assert not ops.convert_to_numpy(weights).any() and not ops.convert_to_numpy(context).any()


def test_weights_are_returned_after_dropout_by_keras_and_before_it_here():
    query, value = (ops.convert_to_tensor(each) for each in PAIR)
    options = {"training": True, "return_attention_scores": True}
    _, dropped = keras.layers.Attention(dropout=0.5, seed=1)([query, value], **options)
    _, weights = DotAttention(dropout=0.5, seed=1)(query, value, **options)
    assert (ops.convert_to_numpy(dropped) == 0.0).any()
    np.testing.assert_allclose(ops.convert_to_numpy(ops.sum(weights, axis=-1)), 1.0, rtol=1e-5)


def test_additive_layers_are_not_interchangeable():
    """Keras' has one weight, a vector; ours has the projections of the paper."""
    keras_layer, ours = keras.layers.AdditiveAttention(), AdditiveSoftAttention(Dv)
    keras_layer([ops.convert_to_tensor(each) for each in PAIR])
    ours(*PAIR)
    assert [tuple(w.shape) for w in keras_layer.weights] == [(Dv,)]
    assert [tuple(w.shape) for w in ours.weights] == [(Dv, Dv), (Dv, Dv), (Dv,)]
