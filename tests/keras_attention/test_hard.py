"""Hard attention: what it draws, what it reads at inference, and what it keeps of a look."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import (
    AttentionCell,
    AttentionDecoder,
    BilinearScore,
    DotScore,
    HardAttention,
    LocationAwareScore,
    SoftAttention,
    score_function,
)
from tests import reference

B, Tq, Tv = 3, 2, 5
SCORES = np.random.default_rng(3).normal(size=(B, Tq, Tv)).astype("float32")
# Keys and values are one-hot: a query's scores are the query itself, and a context tells the index.
EYE = np.repeat(np.eye(Tv, dtype="float32")[None], B, axis=0)
MASK = np.array([[True, False, True, True, True], [False] * 5, [True, True, False, False, False]])


def make(**options):
    layer = HardAttention(DotScore(scale=1.0), **options)
    layer.build((None, Tq, Tv), (None, Tv, Tv))
    return layer


def look(layer, scores=SCORES, training=True, mask=None):
    """Context and weights, and the choices that were recorded, as arrays."""
    with score_function.collecting(score_function.Reinforce()) as collector:
        outputs = layer(
            scores,
            EYE[: len(scores)] if len(scores) <= B else np.repeat(EYE[:1], len(scores), axis=0),
            value_mask=mask,
            training=training,
            return_attention_scores=True,
        )
    (choice,) = collector.choices
    return *(ops.convert_to_numpy(each) for each in outputs), choice


def test_draws_are_as_frequent_as_the_weights_say():
    number = 4000
    context, weights, _ = look(make(), np.repeat(SCORES[:1], number, axis=0))
    assert np.isin(context, (0.0, 1.0)).all() and (context.sum(-1) == 1.0).all()
    p = reference.softmax(SCORES[0])
    np.testing.assert_allclose(weights[0], p, rtol=1e-5)
    error = np.sqrt(p * (1 - p) / number)
    np.testing.assert_array_less(np.abs(context.mean(0) - p), 4 * error)


def test_a_choice_is_recorded_with_its_probability_and_what_was_known():
    context, _, choice = look(make())
    p = np.array([reference.softmax(each) for each in SCORES])
    np.testing.assert_allclose(choice.log_prob, np.log((p * context).sum(-1)), rtol=1e-5)
    np.testing.assert_allclose(choice.entropy, -(p * np.log(p)).sum(-1), rtol=1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(choice.features), SCORES)
    assert not choice.in_time


def test_what_is_masked_is_never_drawn():
    for _ in range(20):
        context, weights, choice = look(make(), mask=MASK)
        assert (context * ~MASK[:, None, :] == 0.0).all()
    np.testing.assert_array_equal(context.sum(-1), [[1, 1], [0, 0], [1, 1]])
    assert (ops.convert_to_numpy(choice.log_prob)[1] == 0.0).all()
    assert (ops.convert_to_numpy(choice.entropy)[1] == 0.0).all()
    assert (weights[1] == 0.0).all()


def test_seeds_repeat_draws():
    scores = np.repeat(SCORES[:1], 50, axis=0)
    first, again, other = (look(make(seed=seed), scores)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_inference_takes_the_mode_the_mean_or_a_sample():
    mode, weights, choice = look(make(inference="mode"), training=False)
    np.testing.assert_array_equal(mode, np.eye(Tv)[SCORES.argmax(-1)])
    assert (ops.convert_to_numpy(choice.log_prob) == 0.0).all()
    mean, *_ = look(make(inference="mean"), training=False)
    np.testing.assert_array_equal(mean, weights)
    layer = make(inference="sample")
    samples = [look(layer, training=False)[0] for _ in range(10)]
    assert all(np.isin(sample, (0.0, 1.0)).all() for sample in samples)
    assert (np.std(samples, axis=0) > 0.0).any()


def test_the_mean_is_soft_attention():
    hard, soft = HardAttention(BilinearScore(), "mean"), SoftAttention(BilinearScore())
    draw = np.random.default_rng(1)
    query, value = draw.normal(size=(B, Tq, 7)), draw.normal(size=(B, Tv, 11))
    hard(query, value), soft(query, value)
    soft.set_weights(hard.get_weights()[:1])
    found, expected = (ops.convert_to_numpy(each(query, value)) for each in (hard, soft))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def make_decoder(**options):
    attention = HardAttention(BilinearScore(), **options)
    return AttentionDecoder(AttentionCell(keras.layers.GRUCell(7), attention))


def decode(decoder, steps=4):
    """Contexts and weights of a decoder in training, and its choices."""
    inputs = np.random.default_rng(2).normal(size=(B, steps, 2)).astype("float32")
    inputs_mask = np.arange(steps)[None] < np.array([[steps], [steps - 1], [steps]])
    with score_function.collecting(score_function.Reinforce()) as collector:
        decoded = decoder(inputs, EYE, inputs_mask=inputs_mask, training=True)
    (choice,) = collector.choices
    return (ops.convert_to_numpy(each) for each in (*decoded[1:3], choice.log_prob)), choice


def test_a_decoder_records_each_step():
    (contexts, weights, log_prob), choice = decode(make_decoder())
    assert choice.in_time
    drawn = (weights * contexts).sum(-1)
    np.testing.assert_array_equal(drawn == 0.0, [[False] * 4, [False] * 3 + [True], [False] * 4])
    np.testing.assert_allclose(log_prob, np.log(np.where(drawn, drawn, 1.0)), rtol=1e-4)
    assert (ops.convert_to_numpy(choice.features)[0, 1:] != 0.0).all()  # It is the state.
    assert (ops.convert_to_numpy(choice.features)[1, 3] == 0.0).all()


def test_semi_sampling_tosses_one_coin_for_all_looks_of_a_batch():
    decoder, soft = make_decoder(semi_sampling=0.4), []
    for _ in range(40):
        (contexts, weights, log_prob), _ = decode(decoder, steps=2)
        contexts, weights = (each[[0, 2]] for each in (contexts, weights))
        soft.append(bool((contexts == weights).all()))
        if soft[-1]:
            assert (log_prob == 0.0).all()
        else:
            assert (contexts.max(-1) == 1.0).all()
    assert 6 < sum(soft) < 26  # 16 expected, give or take 3
    side_by_side = [look(make(semi_sampling=0.5, seed=seed))[0] for seed in range(8)]
    assert {bool((context.max(-1) == 1.0).all()) for context in side_by_side} == {True, False}
    context, weights, _ = look(make(semi_sampling=0.5), training=False)
    assert (context.max(-1) == 1.0).all()  # There is no coin at inference.


def test_a_score_that_looks_back_sees_what_was_read():
    layer = HardAttention(LocationAwareScore(3, 2, 3))
    query = np.random.default_rng(4).normal(size=(B, Tq, 7)).astype("float32")
    context, _, choice = look(layer, query)
    assert choice.log_prob.shape == (B, Tq) and choice.features.shape == (B, Tq, 7)
    memory = layer.prepare(EYE)
    with score_function.collecting(score_function.Reinforce()):
        state = layer.initial_state(memory)
        context, _, state = layer.attend(query[:, :1], memory, state, training=True)
    np.testing.assert_array_equal(state[1], context[:, 0])


def test_draws_that_nothing_credits_are_warned_of():
    with pytest.warns(
        UserWarning, match="no gradient reaches its score: train with `score_function"
    ):
        make()(SCORES, EYE, training=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*no gradient reaches.*")
        make()(SCORES, EYE, training=False)
        look(make())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inference": "argmax"}, '`inference` must be "mode", "mean" or "sample". Received: infe'),
        ({"semi_sampling": 1.0}, r"`semi_sampling` must be in \[0, 1\). Received: semi_sampling=1"),
    ],
)
def test_what_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        make(**options)
