"""Several heads against Keras' own, against loops over heads, and inside a decoder."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import (
    AdditiveScore,
    AttentionCell,
    AttentionDecoder,
    BilinearScore,
    DotScore,
    MultiHeadAttention,
    NetworkScore,
    Score,
    SoftAttention,
    normalizers,
)
from tests import reference

B, H, Tq, Tv, Dq, Dv, Dk = 2, 3, 4, 5, 7, 11, 13
KEY_DIM, VALUE_DIM, OUTPUT_DIM = 3, 5, 17
PARTS = "query", "key", "value", "output"


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numpy(*tensors):
    arrays = tuple(ops.convert_to_numpy(tensor) for tensor in tensors)
    return arrays if len(arrays) > 1 else arrays[0]


QUERY, VALUE, KEY = draw(B, Tq, Dq), draw(B, Tv, Dv, seed=1), draw(B, Tv, Dk, seed=2)
MASK = np.array([[True, False, True, True, False], [False, True, True, False, True]])
PAIRS = np.random.default_rng(3).random((B, Tq, Tv)) < 0.6
PAIRS[..., 2] = True  # Everybody has something to look at.


def built(score, **options):
    """A layer whose every weight is drawn at random, so that no bias is 0."""
    layer = MultiHeadAttention(score, H, KEY_DIM, **options)
    layer(QUERY, VALUE, KEY)
    layer.set_weights([0.5 * draw(*w.shape, seed=9 + i) for i, w in enumerate(layer.weights)])
    return layer


@pytest.mark.parametrize(
    "masks",
    [
        {},
        {"value_mask": MASK},
        {"key_mask": MASK},
        {"attention_mask": PAIRS},
        {"use_causal_mask": True},
        {"value_mask": MASK, "attention_mask": PAIRS},
    ],
    ids=lambda masks: " and ".join(masks) or "no mask",
)
def test_with_scaled_dot_products_it_is_the_transformers(masks):
    layer = built(DotScore(scale=None), value_dim=VALUE_DIM, output_dim=OUTPUT_DIM)
    theirs = keras.layers.MultiHeadAttention(
        H, KEY_DIM, VALUE_DIM, output_shape=OUTPUT_DIM, flash_attention=False
    )
    theirs.build(QUERY.shape, VALUE.shape, KEY.shape)  # Their call fails on JAX (Keras 3.15.1).
    theirs.set_weights(
        [w.reshape(v.shape) for w, v in zip(layer.get_weights(), theirs.weights, strict=True)]
    )
    context, weights = numpy(*layer(QUERY, VALUE, KEY, return_attention_scores=True, **masks))
    expected = numpy(*theirs(QUERY, VALUE, KEY, return_attention_scores=True, **masks))
    assert context.shape == (B, Tq, OUTPUT_DIM) and weights.shape == (B, H, Tq, Tv)
    np.testing.assert_allclose(context, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weights, expected[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["softmax", "entmax15", "sigmoid"])
def test_every_head_follows_the_equations(name):
    layer = built(AdditiveScore(19), value_dim=VALUE_DIM, normalizer=getattr(normalizers, name))
    context, weights = numpy(
        *layer(QUERY, VALUE, KEY, value_mask=MASK, return_attention_scores=True)
    )
    W, b = (dict(zip(PARTS, layer.get_weights()[i:8:2], strict=True)) for i in (0, 1))
    score = layer.score.get_weights()

    def head(array, part, width, h):
        return (array @ W[part] + b[part])[:, h * width : (h + 1) * width]

    for i in range(B):
        contexts = []
        for h in range(H):
            query, key = head(QUERY[i], "query", KEY_DIM, h), head(KEY[i], "key", KEY_DIM, h)
            scores = reference.additive_score(query, key, *score)
            expected = getattr(reference, name)(scores, MASK[i])
            np.testing.assert_allclose(weights[i, h], expected, rtol=1e-4, atol=1e-5)
            contexts.append(reference.read(expected, head(VALUE[i], "value", VALUE_DIM, h)))
        read = np.concatenate(contexts, axis=-1) @ W["output"] + b["output"]
        np.testing.assert_allclose(context[i], read, rtol=1e-4, atol=1e-4)


SCORES = {
    "additive": lambda: AdditiveScore(5),
    "dot": DotScore,
    "bilinear": BilinearScore,
    "network": lambda: NetworkScore(keras.layers.Dense(1, "tanh")),
}


@pytest.mark.parametrize("name", SCORES)
def test_one_head_that_projects_nothing_is_soft_attention(name):
    query = draw(B, Tq, Dv)
    layer = MultiHeadAttention(SCORES[name](), num_heads=1, key_dim=Dv, use_bias=False)
    plain = SoftAttention(SCORES[name]())
    layer(query, VALUE)
    expected = numpy(*plain(query, VALUE, value_mask=MASK, return_attention_scores=True))
    layer.set_weights([np.eye(Dv)] * 4 + plain.get_weights())
    context, weights = numpy(*layer(query, VALUE, value_mask=MASK, return_attention_scores=True))
    np.testing.assert_allclose(weights[:, 0], expected[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(context, expected[0], rtol=1e-4, atol=1e-5)


def test_a_mask_over_values_may_come_as_an_attention_mask():
    layer = built(AdditiveScore(5))
    found = numpy(*layer(QUERY, VALUE, KEY, attention_mask=MASK, return_attention_scores=True))
    expected = numpy(*layer(QUERY, VALUE, KEY, value_mask=MASK, return_attention_scores=True))
    for each, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(each, wanted)
    assert (found[1].swapaxes(1, 3)[~MASK] == 0.0).all()


def test_a_bias_is_not_read_where_there_is_nothing_to_look_at():
    layer = built(DotScore(scale=None))
    values = np.stack([MASK[0], np.zeros(Tv, bool)])
    queries = np.array([[True, False, True, True], [True] * 4])
    context, weights = numpy(
        *layer(QUERY, VALUE, KEY, queries, value_mask=values, return_attention_scores=True)
    )
    for each in (context, weights.swapaxes(1, 2)):
        assert (each[0, 1] == 0.0).all() and (each[1] == 0.0).all()
        assert (each[0, [0, 2, 3]] != 0.0).any()


def test_symbolic_weights_have_an_axis_for_the_heads():
    query, value = keras.Input((None, Dq)), keras.Input((Tv, Dv))
    layer = MultiHeadAttention(DotScore(), H, KEY_DIM)
    context, weights = layer(query, value, return_attention_scores=True)
    assert context.shape == (None, None, Dq) and weights.shape == (None, H, None, Tv)


def test_a_step_gives_the_mean_weights_of_the_heads():
    layer = built(BilinearScore())
    context, weights = numpy(
        *layer(QUERY, VALUE, KEY, value_mask=MASK, return_attention_scores=True)
    )
    memory = layer.prepare(VALUE, KEY, MASK)
    assert layer.initial_state(memory) == ()
    for i in range(Tq):
        attended = layer.attend(QUERY[:, i : i + 1], memory)
        np.testing.assert_allclose(numpy(attended.context)[:, 0], context[:, i], rtol=1e-4)
        mean = weights[:, :, i].mean(1)
        np.testing.assert_allclose(numpy(attended.weights)[:, 0], mean, rtol=1e-4, atol=1e-6)
        assert attended.state == ()


@pytest.mark.parametrize("attentional_units", [None, 3])
def test_a_decoder_may_read_a_context_of_any_width(attentional_units):
    attention = MultiHeadAttention(AdditiveScore(3), H, KEY_DIM, output_dim=OUTPUT_DIM)
    cell = AttentionCell(keras.layers.GRUCell(7), attention, attentional_units)
    decoded = AttentionDecoder(cell)(QUERY, VALUE, value_mask=MASK)
    assert decoded.contexts.shape == (B, Tq, OUTPUT_DIM)
    assert decoded.weights.shape == (B, Tq, Tv)
    np.testing.assert_allclose(numpy(decoded.weights).sum(-1), 1.0, rtol=1e-5)


@keras.saving.register_keras_serializable(package="tests")
class Avoiding(Score):
    """The dot product, less what was looked at last time."""

    def score(self, query, keys, previous):
        scores = ops.matmul(query, ops.swapaxes(keys, 1, 2))
        return scores - 3.0 * ops.reshape(previous, ops.shape(scores))

    def initial_state(self, keys):
        return (ops.zeros(ops.shape(keys)[:2], keys.dtype),)

    def next_state(self, weights, previous):
        return (ops.reshape(weights, (-1, ops.shape(weights)[-1])),)


def test_every_head_has_a_state_of_its_own():
    """A head does what it does alone, and the contexts add up."""
    layer = built(Avoiding())
    context, weights = numpy(
        *layer(QUERY, VALUE, KEY, value_mask=MASK, return_attention_scores=True)
    )
    whole, read = {w.name: numpy(w) for w in layer.weights}, 0.0
    for h in range(H):
        alone = MultiHeadAttention(Avoiding(), 1, KEY_DIM)
        alone(QUERY, VALUE, KEY)
        cut = slice(h * KEY_DIM, (h + 1) * KEY_DIM)
        own = {name: each[..., cut] for name, each in whole.items()}
        own["output_kernel"] = whole["output_kernel"][cut]
        own["output_bias"] = whole["output_bias"] / H
        alone.set_weights([own[w.name] for w in alone.weights])
        one, its = numpy(*alone(QUERY, VALUE, KEY, value_mask=MASK, return_attention_scores=True))
        np.testing.assert_allclose(weights[:, h], its[:, 0], rtol=1e-4, atol=1e-6)
        read = read + one
    np.testing.assert_allclose(context, read, rtol=1e-4, atol=1e-5)
    once = numpy(layer(QUERY[:, 1:2], VALUE, KEY, value_mask=MASK))
    assert not np.allclose(once[:, 0], context[:, 1])  # It does look back.


def test_with_a_state_one_step_after_another_gives_the_sequence():
    layer = built(Avoiding())
    context, weights = numpy(*layer(QUERY, VALUE, KEY, return_attention_scores=True))
    memory = layer.prepare(VALUE, KEY)
    state = layer.initial_state(memory)
    for i in range(Tq):
        looked = layer.attend(QUERY[:, i : i + 1], memory, state)
        state = looked.state
        assert [tuple(leaf.shape) for leaf in state] == [(B, H, Tv)]
        np.testing.assert_allclose(numpy(looked.context)[:, 0], context[:, i], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(numpy(state[0]), weights[:, :, i], rtol=1e-4, atol=1e-6)
    last = layer.attend_in_turn(QUERY, memory).state
    np.testing.assert_allclose(numpy(last[0]), weights[:, :, -1], rtol=1e-4, atol=1e-6)


def test_queries_side_by_side_keep_their_states_apart():
    """Row b * Tq + i of a state belongs to query i of sequence b, as in a beam search."""
    layer = built(Avoiding())
    memory, state = layer.prepare(VALUE, KEY, MASK), np.abs(draw(B * Tq, H, Tv, seed=5))
    together = layer.attend(QUERY, memory, (ops.convert_to_tensor(state),))
    for i in range(Tq):
        own = ops.convert_to_tensor(state[np.arange(B) * Tq + i])
        alone = layer.attend(QUERY[:, i : i + 1], memory, (own,))
        for name in ("context", "weights"):
            found, expected = (numpy(getattr(each, name)) for each in (together, alone))
            np.testing.assert_allclose(found[:, i], expected[:, 0], rtol=1e-4, atol=1e-5)
        rows = numpy(together.state[0])[np.arange(B) * Tq + i]
        np.testing.assert_allclose(rows, numpy(alone.state[0]), rtol=1e-4, atol=1e-6)


def test_dropout_is_drawn_in_training_only_and_the_weights_returned_are_before_it():
    layer = built(DotScore(), dropout=0.5, seed=23)
    assert layer.dropout == 0.5 and len(layer.non_trainable_variables) == 1
    context, weights = numpy(*layer(QUERY, VALUE, KEY, return_attention_scores=True))
    dropped, before = numpy(*layer(QUERY, VALUE, KEY, return_attention_scores=True, training=True))
    np.testing.assert_array_equal(before, weights)
    assert not np.allclose(dropped, context)
    np.testing.assert_array_equal(numpy(layer(QUERY, VALUE, KEY)), context)


def test_its_projections_are_drawn_apart():
    layer = MultiHeadAttention(
        DotScore(), 1, Dv, kernel_initializer=keras.initializers.GlorotUniform()
    )
    layer(VALUE, VALUE)
    kernels = [numpy(w) for w in layer.weights if w.name.endswith("_kernel")]
    assert len(kernels) == 4
    assert not any(np.allclose(kernels[0], other) for other in kernels[1:])


@pytest.mark.parametrize("name", ["num_heads", "key_dim", "value_dim", "output_dim"])
@pytest.mark.parametrize("number", [0, -3, 2.5, "7"])
def test_numbers_must_be_positive_integers(name, number):
    arguments = {"num_heads": 2, "key_dim": 3, name: number}
    with pytest.raises(
        ValueError, match=f"`{name}` must be a positive integer. Received: {name}={number!r}"
    ):
        MultiHeadAttention(DotScore(), **arguments)


def test_dropout_must_be_a_share():
    with pytest.raises(ValueError, match=r"`dropout` must be in \[0, 1\). Received: dropout=1.0"):
        MultiHeadAttention(DotScore(), 2, 3, dropout=1.0)


def test_lengths_of_key_and_value_must_agree():
    with pytest.raises(
        ValueError,
        match=r"`key` and `value` must have the same length. "
        r"Received: key.shape=\(2, 4, 13\), value.shape=\(2, 5, 11\)",
    ):
        MultiHeadAttention(DotScore(), 2, 3)(QUERY, VALUE, KEY[:, :4])


def test_prepare_needs_weights():
    layer = MultiHeadAttention(DotScore(), 2, 3, name="hydra")
    with pytest.raises(ValueError, match="`hydra` has no weights yet: call it once"):
        layer.prepare(VALUE)
