"""The location-aware score against loops, in worlds of one's own, and in a beam search."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import (
    AdditiveScore,
    AttentionCell,
    AttentionDecoder,
    LocationAwareScore,
    SoftAttention,
)
from keras_attention.search import beam_search, greedy_search
from tests import reference
from tests.keras_attention.search.worlds import brute_force

B, Tq, Tv, Dq, Dv, Dk, units, filters = 2, 3, 7, 5, 11, 13, 17, 2
LOOKS_AT = ("previous", "cumulative", "both")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numpy(*tensors):
    arrays = tuple(ops.convert_to_numpy(tensor) for tensor in tensors)
    return arrays if len(arrays) > 1 else arrays[0]


QUERY, VALUE, KEY = draw(B, Tq, Dq), draw(B, Tv, Dv, seed=1), draw(B, Tv, Dk, seed=2)
MASK = np.random.default_rng(3).random((B, Tv)) < 0.6


def built(looks_at="previous", kernel_size=5, **options):
    score = LocationAwareScore(units, filters, kernel_size, looks_at, **options)
    score.build(QUERY.shape, KEY.shape)
    for i, weight in enumerate(score.weights):
        weight.assign(draw(*weight.shape, seed=10 + i))
    return score


def letters(score):
    """The weights by the letters of the oracle."""
    names = {
        "F": "convolution", "W": "query_kernel", "U": "key_kernel", "V": "location_kernel",
        "v": "v", "b": "bias",
    }  # fmt: skip
    found = {v.name: numpy(v).astype("float64") for v in score.weights}
    return {letter: found[name] for letter, name in names.items() if name in found}


def in_turn(score, query, key, mask=None):
    """The weights of one query after another, by a loop."""
    previous = cumulative = np.zeros(len(key))
    rows = []
    for q in query:
        before = {
            "previous": [previous],
            "cumulative": [cumulative],
            "both": [previous, cumulative],
        }[score.looks_at]
        scores = reference.location_aware_score(q, key, np.stack(before, axis=1), **letters(score))
        previous = reference.softmax(scores, mask)
        cumulative = cumulative + previous
        rows.append(previous)
    return np.array(rows)


@pytest.mark.parametrize("looks_at", LOOKS_AT)
@pytest.mark.parametrize("kernel_size", [1, 5, 11])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_chorowskis(looks_at, kernel_size, masked):
    """Also where a filter is wider than the values are many."""
    layer = SoftAttention(built(looks_at, kernel_size, use_bias=not masked))
    mask = MASK if masked else None
    context, weights = numpy(
        *layer(QUERY, VALUE, KEY, value_mask=mask, return_attention_scores=True)
    )
    for b in range(B):
        expected = in_turn(layer.score, QUERY[b], KEY[b], mask[b] if masked else None)
        np.testing.assert_allclose(weights[b], expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(context[b], reference.read(expected, VALUE[b]), atol=1e-4)


def test_the_first_look_is_additive_and_no_other():
    score = built("both")
    additive = AdditiveScore(units, use_bias=True)
    additive.build(QUERY.shape, KEY.shape)
    for name in ("query_kernel", "key_kernel", "v", "bias"):
        getattr(additive, name).assign(getattr(score, name))
    scores = numpy(score(QUERY, KEY))
    np.testing.assert_allclose(scores, numpy(additive(QUERY, KEY)), rtol=1e-4, atol=1e-5)
    state = tuple(ops.ones((B * Tq, Tv)) for _ in range(2))
    assert not np.allclose(numpy(score(QUERY, KEY, state)), scores, atol=0.1)


@pytest.mark.parametrize("looks_at", LOOKS_AT)
def test_queries_side_by_side_have_each_their_own_state(looks_at):
    """As the hypotheses of a beam do, B * Tq rows of them."""
    score = built(looks_at)
    keys = score.project_key(KEY)
    drawn = (draw(B * Tq, Tv, seed=s) for s in range(len(score.initial_state(keys))))
    state = tuple(ops.convert_to_tensor(each) for each in drawn)
    together = numpy(score.score(QUERY, keys, *state))
    next_state = numpy(*score.next_state(together, *state), together)[:-1]
    for b in range(B):
        for t in range(Tq):
            own = [each[b * Tq + t][None] for each in state]
            alone = score.score(QUERY[b : b + 1, t : t + 1], keys[b : b + 1], *own)
            np.testing.assert_allclose(numpy(alone)[0, 0], together[b, t], rtol=1e-4, atol=1e-4)
            for found, wanted in zip(next_state, score.next_state(alone, *own), strict=True):
                np.testing.assert_allclose(found[b * Tq + t], numpy(wanted)[0], atol=1e-4)


def test_a_walk_of_one_step_a_query():
    """The filter sees the left neighbour only, and likes what was looked at: 0, 1, 2, 3, …"""
    score = built(kernel_size=3, use_bias=False)
    for weight in score.weights:
        weight.assign(ops.zeros(weight.shape))
    score.convolution.assign(ops.one_hot([0], 3)[0][:, None, None] * ops.ones((3, 1, filters)))
    score.location_kernel.assign(ops.ones((filters, units)))
    score.v.assign(ops.full((units,), 3.0))
    layer, value = SoftAttention(score), ops.eye(Tv)[None]
    layer.build((1, 1, Dq), (1, Tv, Tv), (1, Tv, Dk))
    memory = layer.prepare(value, KEY[:1])
    state = (ops.one_hot([0], Tv),)
    for step in range(1, Tv):
        context, _, state = layer.attend(QUERY[:1, :1], memory, state)
        assert numpy(ops.argmax(context)) == step


@pytest.mark.parametrize("looks_at", LOOKS_AT)
def test_a_query_that_looks_at_nothing_leaves_the_state(looks_at):
    layer = SoftAttention(built(looks_at))
    holes = np.array([[True, False, True], [True, False, True]])
    _, weights = layer(QUERY, VALUE, KEY, query_mask=holes, return_attention_scores=True)
    _, without = layer(QUERY[:, [0, 2]], VALUE, KEY, return_attention_scores=True)
    np.testing.assert_allclose(numpy(weights)[:, [0, 2]], numpy(without), rtol=1e-4, atol=1e-6)
    assert (numpy(weights)[:, 1] == 0.0).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_sum_of_weights_is_precise_in_half_precision(dtype):
    score = built("both", dtype=dtype)
    previous, cumulative = score.initial_state(score.project_key(ops.cast(KEY, dtype)))
    weights = ops.cast(np.full((B, 1, Tv), 0.25), dtype)
    previous, cumulative = score.next_state(weights, previous, cumulative + 4096.0)
    assert numpy(previous).tolist() == np.full((B, Tv), 0.25).tolist()
    assert numpy(cumulative).tolist() == np.full((B, Tv), 4096.25).tolist()


class DecoderWorld:
    """A decoder of random tokens, as a step to search with and as the rater of a sentence."""

    start_id, end_id = 1, 0

    def __init__(self, vocabulary, looks_at="both", forgets=False):
        self.log_probs = np.zeros((0, vocabulary))  # whose width is how many tokens there are
        self.embedded, self.kernel = draw(vocabulary, 3, seed=4), 2.0 * draw(5, vocabulary, seed=5)
        self.forgets = forgets
        initializer = keras.initializers.RandomNormal(stddev=1.5, seed=6)
        score = LocationAwareScore(units, filters, 3, looks_at, kernel_initializer=initializer)
        self.decoder = AttentionDecoder(
            AttentionCell(keras.layers.GRUCell(5), SoftAttention(score))
        )
        self.decoder.build((B, None, 3), VALUE.shape, KEY.shape)
        self.memory = self.decoder.prepare(VALUE, KEY, MASK)

    def state(self):
        return self.decoder.initial_state(self.memory)

    def step(self, ids, state):
        inputs = ops.take(ops.convert_to_tensor(self.embedded), ids, axis=0)
        output, _, weights, new = self.decoder.step(inputs, state, self.memory)
        if self.forgets:
            new = new._replace(attention=state.attention)
        return self._log_probs(output), new, weights

    def rate(self, sentence, start_id, ids):
        """Of a whole sentence at once: its log-probability, and the weights (len(ids), Tv)."""
        inputs = self.embedded[[start_id, *ids[:-1]]][None].repeat(B, axis=0)
        decoded = self.decoder(inputs, VALUE, KEY, value_mask=MASK)
        log_probs = numpy(self._log_probs(decoded.outputs))[sentence]
        return sum(log_probs[range(len(ids)), ids]), numpy(decoded.weights)[sentence]

    def _log_probs(self, outputs):
        return ops.log_softmax(ops.matmul(outputs, self.kernel))

    def search(self, searcher, **options):
        limits = {"start_id": self.start_id, "end_id": self.end_id, "batch_size": B}
        return searcher(self.step, self.state(), **limits, **options)


def test_beam_search_is_brute_force():
    world, limits = DecoderWorld(3), {"start_id": 1, "end_id": 0, "max_length": 4}
    found = world.search(beam_search, beam_width=8, num_hypotheses=5, max_length=4)
    for b in range(B):
        for n, wanted in enumerate(brute_force(world, b, **limits)[:5]):
            ids = tuple(numpy(found.ids)[b, n][: len(wanted.ids)].tolist())
            assert ids == tuple(wanted.ids)
            np.testing.assert_allclose(numpy(found.scores)[b, n], wanted.score, rtol=1e-4)
            weights = numpy(found.weights)[b, n, : len(wanted.ids)]
            np.testing.assert_allclose(weights, wanted.weights, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("looks_at", LOOKS_AT)
def test_the_weights_before_follow_the_hypotheses(looks_at):
    """In a narrow beam, which drops most: each gets the numbers that it has by itself."""
    options = {"beam_width": 3, "num_hypotheses": 3, "max_length": 6, "min_length": 4}
    world = DecoderWorld(11, looks_at)
    _assert_rated_alike(world, world.search(beam_search, **options))
    with pytest.raises(AssertionError):  # a step that forgets where it looked
        forgetful = DecoderWorld(11, looks_at, forgets=True)
        _assert_rated_alike(forgetful, forgetful.search(beam_search, **options))


def test_greedy_search_is_rated_alike():
    world = DecoderWorld(11)
    _assert_rated_alike(world, world.search(greedy_search, max_length=6, min_length=3))


def _assert_rated_alike(world, found):
    ids, lengths, log_probs, weights = numpy(
        found.ids, found.lengths, found.log_probs, found.weights
    )
    for b, n in np.ndindex(*lengths.shape):
        tokens = ids[b, n][: lengths[b, n] + 1]  # and the end token, if there is one
        log_prob, expected = world.rate(b, world.start_id, tokens.tolist())
        np.testing.assert_allclose(log_probs[b, n], log_prob, rtol=1e-4)
        np.testing.assert_allclose(weights[b, n, : len(tokens)], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["units", "filters", "kernel_size"])
@pytest.mark.parametrize("size", [0, -3, 2.5, "7", None])
def test_sizes_must_be_positive_integers(name, size):
    sizes = {"units": 5, "filters": 2, "kernel_size": 3, name: size}
    with pytest.raises(ValueError, match=f"`{name}` must be a positive integer. Received: {name}="):
        LocationAwareScore(**sizes)


def test_a_kernel_must_have_a_middle():
    with pytest.raises(
        ValueError, match="`kernel_size` must be odd, to have a middle. Received: kernel_size=4."
    ):
        LocationAwareScore(5, 2, 4)


def test_it_looks_at_one_of_three():
    with pytest.raises(
        ValueError,
        match='`looks_at` must be "previous", "cumulative" or "both". Received: looks_at=\'next\'.',
    ):
        LocationAwareScore(5, 2, 3, looks_at="next")
