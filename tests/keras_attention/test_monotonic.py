"""Monotonic attention against the papers' recursions, and how far it has to walk."""

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
    LocationAwareScore,
    MonotonicAttention,
    search,
)
from tests import reference

B, Tq, Tv, Dq, Dv, UNITS = 2, 5, 37, 7, 3, 11
CHUNKS = (1, 3, None)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numpy(*tensors):
    arrays = tuple(ops.convert_to_numpy(tensor) for tensor in tensors)
    return arrays if len(arrays) > 1 else arrays[0]


QUERY, VALUE = draw(B, Tq, Dq), draw(B, Tv, Dv, seed=1)
MASK = np.random.default_rng(2).random((B, Tv)) < 0.8


def built(chunk_size, scale=1.0, **options):
    chunk_score = None if chunk_size == 1 else AdditiveScore(UNITS)
    layer = MonotonicAttention(BilinearScore(), chunk_size, chunk_score, **options)
    layer(QUERY, VALUE)
    layer.set_weights([scale * draw(*w.shape, seed=9 + i) for i, w in enumerate(layer.weights)])
    return layer


def look(layer, query=QUERY, value=VALUE, **options):
    return numpy(*layer(query, value, return_attention_scores=True, **options))


def probabilities(layer, b, mask):
    """p_ij, and u_ij if there is any, of one sequence."""
    stops = numpy(layer.score(QUERY[b : b + 1], VALUE[b : b + 1]))[0] + numpy(layer.bias)
    chosen = None
    if layer.chunk_score is not None:
        chosen = numpy(layer.chunk_score(QUERY[b : b + 1], VALUE[b : b + 1]))[0]
    return np.where(mask, reference.sigmoid(stops), 0.0), chosen


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("chunk_size", CHUNKS)
def test_the_mean_is_the_papers(chunk_size, masked):
    layer = built(chunk_size, inference="mean")
    context, weights = look(layer, value_mask=MASK if masked else None)
    for b in range(B):
        mask = MASK[b] if masked else np.ones(Tv, bool)
        stops, chosen = probabilities(layer, b, mask)
        alphas = reference.monotonic_stops(stops)
        expected = [
            reference.monotonic_chunks(
                alpha, None if chosen is None else chosen[i], chunk_size, mask
            )
            for i, alpha in enumerate(alphas)
        ]
        np.testing.assert_allclose(weights[b], expected, rtol=1e-4, atol=1e-6)
        read = reference.read(np.array(expected), VALUE[b])
        np.testing.assert_allclose(context[b], read, rtol=1e-4, atol=1e-5)


def passes_to_the_mode(stops, at):
    """Raffel et al., algorithm 1."""
    while at < Tv and stops[at] <= 0.5:
        at += 1
    return at


def passes_to_the_median(stops, at):
    """As soon as the probability of having stopped is a half."""
    return at + np.append(np.cumprod(1.0 - stops[at:]) < 0.5, True).argmax()


@pytest.mark.parametrize("chunk_size", CHUNKS)
@pytest.mark.parametrize(
    ("inference", "passes"), [("mode", passes_to_the_mode), ("median", passes_to_the_median)]
)
def test_inference_goes_one_way(chunk_size, inference, passes):
    layer = built(chunk_size, inference=inference)
    layer.bias.assign(-2.0)  # Else the median hardly moves.
    context, weights = look(layer, value_mask=MASK)
    found = []
    for b in range(B):
        stops, chosen = probabilities(layer, b, MASK[b])
        at = 0
        for i in range(Tq):
            at = passes(stops[i], at)
            found.append(at)
            alpha = np.arange(Tv) == at
            expected = reference.monotonic_chunks(
                alpha, None if chosen is None else chosen[i], chunk_size, MASK[b]
            )
            np.testing.assert_allclose(weights[b, i], expected, rtol=1e-4, atol=1e-6)
            read = reference.read(expected[None], VALUE[b])[0]
            np.testing.assert_allclose(context[b, i], read, rtol=1e-4, atol=1e-5)
    assert len(set(found)) > 2  # It does move.


@pytest.mark.parametrize("chunk_size", CHUNKS)
def test_one_way_is_the_mean_where_it_is_sure(chunk_size):
    """With p 0 or 1, there is one way to stop only."""
    mode, median, mean = (
        look(built(chunk_size, 1000.0, inference=inference), value_mask=MASK)
        for inference in ("mode", "median", "mean")
    )
    for found in (mode, median):
        for one, other in zip(found, mean, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_median_stops_among_values_of_which_none_stops_the_mode():
    energy = np.array([-9.0, -9.0, -0.6, -0.6, -0.6, -9.0, 9.0], "float32")[None, :, None]
    query = np.ones((1, 1, 1), "float32")  # p = 0.35 three times, 0.73 together
    places = {}
    for inference in ("mode", "median", "mean"):
        layer = MonotonicAttention(DotScore(), inference=inference, initial_bias=0.0)
        places[inference] = look(layer, query, energy)[1][0, 0]
    assert (places["mode"].argmax(), places["median"].argmax()) == (6, 3)
    assert places["mean"][2:5].sum() > 0.7


def test_a_long_sequence_loses_nothing():
    """Where 200 values are all but sure to be passed, others divide by a product that is 0."""
    layer = MonotonicAttention(DotScore(), inference="mean", initial_bias=0.0)
    energy = np.full((1, 400, 1), -0.5, "float32")
    energy[0, :200] = -100.0
    energy[0, 300] = 100.0
    query = np.ones((1, 2, 1), "float32")
    _, weights = look(layer, query, energy)
    stay = reference.sigmoid(np.array([-0.5]))[0]
    expected = np.zeros(400)
    expected[200:300] = stay * (1 - stay) ** np.arange(100)
    expected[300] = 1 - expected.sum()
    np.testing.assert_allclose(weights[0, 0], expected, rtol=1e-4, atol=1e-12)
    assert abs(weights[0].sum(-1) - 1.0).max() < 1e-5


class Counting(DotScore):
    """Counts the scores of one row."""

    def score(self, query, keys):
        self.counted += keys.shape[1]
        return super().score(query, keys)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="loops are traced elsewhere")
def test_the_mode_takes_as_many_scores_as_steps_and_values():
    """A query says at which value it wants to stop, the last one at the last."""
    places = np.array([2, 2, 3, 90, 140, 149])
    value, query = np.eye(150, dtype="float32")[None], np.eye(150, dtype="float32")[places][None]
    layer = MonotonicAttention(Counting(), initial_bias=-0.5)
    layer.build(query.shape, value.shape)
    layer.score.counted = 0
    context, _ = look(layer, query, value)
    assert context[0].argmax(-1).tolist() == places.tolist()
    assert layer.score.counted == 150 + len(places) - 1


def test_after_the_end_there_is_nothing_to_read():
    value = np.array([[[1.0], [-1.0], [-1.0]]], "float32")
    query = np.array([[[1.0], [-1.0], [-0.5], [5.0]]], "float32")
    layer = MonotonicAttention(DotScore(), initial_bias=0.0)
    weights = look(layer, query, value)[1][0]
    assert weights.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]]
    weights = look(layer, np.concatenate([query, query], 1), value)[1][0]
    assert (weights[4:] == 0.0).all()


@pytest.mark.parametrize("chunk_size", CHUNKS)
@pytest.mark.parametrize("inference", ["mode", "median", "mean"])
def test_a_masked_query_leaves_the_state_as_it_was(chunk_size, inference):
    layer, mask = built(chunk_size, inference=inference), np.ones((B, Tq), bool)
    mask[:, 2] = False
    others = [0, 1, 3, 4]
    weights = look(layer, query_mask=mask)[1]
    np.testing.assert_allclose(weights[:, others], look(layer, QUERY[:, others])[1], atol=1e-6)
    assert (weights[:, 2] == 0.0).all()


def test_noise_is_of_training_only_and_of_its_seed():
    layer, again = (built(1, inference="mean", noise=2.0, seed=5) for _ in range(2))
    noisy = look(layer, training=True)[1]
    assert not np.allclose(noisy, look(layer)[1])
    np.testing.assert_array_equal(noisy, look(again, training=True)[1])
    silent = built(1, inference="mean", noise=0.0)
    np.testing.assert_array_equal(look(silent, training=True)[1], look(silent)[1])


def test_the_noise_grows_by_what_its_level_is_set_to():
    """Without a level there is none, and with a large one next to nothing else."""
    layer = built(1, inference="mean", noise=1.0, seed=5)
    layer.noise_level.assign(0.0)
    np.testing.assert_array_equal(look(layer, training=True)[1], look(layer)[1])
    layer.noise_level.assign(1e6)
    weights = look(layer, training=True)[1]
    assert set(np.unique(weights)) == {0.0, 1.0}


def test_training_is_the_mean_whatever_inference_is():
    mode, mean = built(3, noise=0.0), built(3, noise=0.0, inference="mean")
    np.testing.assert_array_equal(look(mode, training=True)[1], look(mean)[1])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compiles by TensorFlow")
@pytest.mark.parametrize("chunk_size", CHUNKS)
def test_the_mode_is_the_same_compiled(chunk_size):
    import tensorflow as tf

    layer = built(chunk_size)
    for jit_compile in (False, True):
        compiled = tf.function(lambda query: look_in_graph(layer, query), jit_compile=jit_compile)
        for found, expected in zip(compiled(QUERY), look(layer, value_mask=MASK), strict=True):
            np.testing.assert_allclose(numpy(found), expected, rtol=1e-5, atol=1e-6)


def look_in_graph(layer, query):
    return layer(query, VALUE, value_mask=MASK, return_attention_scores=True)


@pytest.mark.parametrize("chunk_size", CHUNKS)
def test_a_beam_search_looks_as_the_decoder_does(chunk_size):
    """Hypotheses stand side by side, each where it has come to."""
    embed = keras.layers.Embedding(6, 4)
    chunk_score = None if chunk_size == 1 else AdditiveScore(UNITS)
    attention = MonotonicAttention(AdditiveScore(5), chunk_size, chunk_score)
    decoder = AttentionDecoder(AttentionCell(keras.layers.GRUCell(Dq), attention, 7))
    output = keras.layers.Dense(6)
    starts = ops.full((B, 1), 1, "int32")
    output(decoder(embed(starts), VALUE).outputs)
    for i, weight in enumerate((*decoder.weights, *output.weights)):
        weight.assign(draw(*weight.shape, seed=30 + i))
    memory = decoder.prepare(VALUE, mask=MASK)

    def step(ids, state):
        done = decoder.step(embed(ids), state, memory)
        return ops.log_softmax(output(done.output)), done.state, done.weights

    found = search.beam_search(
        step,
        decoder.initial_state(memory),
        batch_size=B,
        beam_width=3,
        num_hypotheses=3,
        start_id=1,
        end_id=0,
        max_length=4,
    )
    for n in range(3):
        before = ops.concatenate([starts, found.ids[:, n, :-1]], 1)
        weights = numpy(decoder(embed(before), VALUE, value_mask=MASK).weights)
        for b, length in enumerate(numpy(found.lengths)[:, n]):
            steps = min(length + 1, 4)
            np.testing.assert_allclose(
                numpy(found.weights)[b, n, :steps], weights[b, :steps], rtol=1e-4, atol=1e-6
            )


@pytest.mark.parametrize("chunk_size", [0, -2, 1.5, "3"])
def test_chunk_size_must_be_a_positive_integer_or_none(chunk_size):
    with pytest.raises(
        ValueError, match="`chunk_size` must be a positive integer or `None`. Received: chunk_size="
    ):
        MonotonicAttention(DotScore(), chunk_size, DotScore())


@pytest.mark.parametrize(("chunk_size", "chunk_score"), [(1, DotScore()), (2, None), (None, None)])
def test_a_chunk_needs_a_score_and_a_single_value_none(chunk_size, chunk_score):
    with pytest.raises(
        ValueError, match="`chunk_score` weighs the values of a chunk: it is needed"
    ):
        MonotonicAttention(DotScore(), chunk_size, chunk_score)


def test_what_looks_back_is_refused():
    with pytest.raises(ValueError, match="`score` must not look back.* Received: score=<Location"):
        MonotonicAttention(LocationAwareScore(3, 2, 3))
    with pytest.raises(
        ValueError, match="`chunk_score` must not look back.* chunk_score=<Location"
    ):
        MonotonicAttention(DotScore(), 2, LocationAwareScore(3, 2, 3))


def test_inference_must_be_one_of_two():
    with pytest.raises(ValueError, match='`inference` must be "mode", "median" or "mean". Rec'):
        MonotonicAttention(DotScore(), inference="sample")


def test_noise_must_not_be_negative():
    with pytest.raises(ValueError, match="`noise` must be at least 0. Received: noise=-1.0"):
        MonotonicAttention(DotScore(), noise=-1.0)
