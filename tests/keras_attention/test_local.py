"""Local attention against the paper's equations, where it looks, and how it steps."""

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
    LocalAttention,
    Score,
    SoftAttention,
    normalizers,
    search,
)
from tests import reference

B, Tq, Tv, Dq, Dv, UNITS = 2, 3, 11, 7, 5, 13


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numpy(*tensors):
    arrays = tuple(ops.convert_to_numpy(tensor) for tensor in tensors)
    return arrays if len(arrays) > 1 else arrays[0]


QUERY, VALUE = draw(B, Tq, Dq), draw(B, Tv, Dv, seed=1)
MASK = np.random.default_rng(2).random((B, Tv)) < 0.7


def weigh(scores, center, D, gaussian, normalize):
    """The weights of one query over S values (S,): Luong et al., 2015, section 3.2."""
    S = len(scores)
    inside = np.array([abs(s - center) <= D for s in range(S)])
    weights = normalize(scores, inside)
    if gaussian:  # eq. 10
        sigma = D / 2
        for s in range(S):
            weights[s] *= np.exp(-((s - center) ** 2) / (2 * sigma**2))
    return weights


def predict(query, S, W_p, v_p):
    """Luong et al., 2015, eq. 9: p_t = S sigmoid(v_p . tanh(W_p h_t))."""
    return S * reference.sigmoid(np.array([v_p @ np.tanh(query @ W_p)]))[0]


def built(score, window, alignment, query=QUERY, **options):
    layer = LocalAttention(score, window, alignment, **options)
    layer(query, VALUE)
    layer.set_weights([draw(*w.shape, seed=9 + i) for i, w in enumerate(layer.weights)])
    return layer


def look(layer, query=QUERY, value=VALUE, **options):
    return numpy(*layer(query, value, return_attention_scores=True, **options))


@pytest.mark.parametrize("name", ["softmax", "sparsemax"])
@pytest.mark.parametrize("window", [1, 3])
def test_local_m_looks_around_its_own_time(window, name):
    normalizer = getattr(normalizers, name)
    layer = built(BilinearScore(), window, "monotonic", normalizer=normalizer)
    context, weights = look(layer)
    kernel = numpy(layer.score.kernel)
    for b in range(B):
        scores = reference.bilinear_score(QUERY[b], VALUE[b], kernel)
        expected = np.stack(
            [weigh(scores[t], t, window, False, getattr(reference, name)) for t in range(Tq)]
        )
        np.testing.assert_allclose(weights[b], expected, rtol=1e-4, atol=1e-5)
        read = reference.read(expected, VALUE[b])
        np.testing.assert_allclose(context[b], read, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("units", [None, UNITS])
@pytest.mark.parametrize("window", [2, 3])
def test_local_p_looks_where_it_predicts(window, units):
    layer = built(BilinearScore(), window, "predictive", units=units)
    assert layer.position_kernel.shape == (Dq, Dq if units is None else units)
    context, weights = look(layer, value_mask=MASK)
    W_p, v_p, kernel = (numpy(w) for w in (layer.position_kernel, layer.v, layer.score.kernel))
    for b in range(B):
        real = VALUE[b][MASK[b]]
        scores = reference.bilinear_score(QUERY[b], real, kernel)
        centers = [predict(q, len(real), W_p, v_p) for q in QUERY[b]]
        expected = np.stack(
            [
                weigh(row, center, window, True, reference.softmax)
                for row, center in zip(scores, centers, strict=True)
            ]
        )
        np.testing.assert_allclose(weights[b][:, MASK[b]], expected, rtol=1e-3, atol=1e-5)
        read = reference.read(expected, real)
        np.testing.assert_allclose(context[b], read, rtol=1e-3, atol=1e-5)


def test_what_the_gaussian_takes_is_not_given_back():
    sums = look(built(AdditiveScore(UNITS), 3, "predictive"))[1].sum(-1)
    assert ((0.0 < sums) & (sums < 1.0)).all()


@pytest.mark.parametrize("alignment", ["monotonic", "predictive", "previous"])
def test_what_is_masked_might_as_well_not_be_there(alignment):
    """Padding to the left, in the middle and to the right moves nobody's position."""
    layer, mask = built(AdditiveScore(UNITS), 2, alignment), np.ones((B, Tv), bool)
    mask[:, [0, 1, 4, 7, 10]] = False
    context, weights = look(layer, value_mask=mask)
    alone = look(layer, value=VALUE[:, mask[0]])
    np.testing.assert_allclose(context, alone[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weights[:, :, mask[0]], alone[1], rtol=1e-4, atol=1e-6)
    assert (weights[:, :, ~mask[0]] == 0.0).all()


def test_a_mask_over_queries_leaves_all_values_in_their_places():
    layer, mask = built(AdditiveScore(UNITS), 2, "predictive"), np.ones((B, Tq), bool)
    mask[:, 1] = False
    weights, whole = look(layer, query_mask=mask)[1], look(layer)[1]
    np.testing.assert_allclose(weights[:, ::2], whole[:, ::2], rtol=1e-5)
    assert (weights[:, 1] == 0.0).all()


def test_a_window_wide_enough_is_soft_attention():
    layer, soft = built(BilinearScore(), Tv, "monotonic"), SoftAttention(BilinearScore())
    soft(QUERY, VALUE)
    soft.set_weights(layer.get_weights())
    np.testing.assert_allclose(
        look(layer, value_mask=MASK)[1], look(soft, value_mask=MASK)[1], rtol=1e-5
    )


def test_a_window_beyond_the_last_value_reads_nothing():
    layer, query = built(AdditiveScore(UNITS), 1, "monotonic"), draw(B, Tv, Dq)
    mask = np.arange(Tv)[None] < np.array([[4], [7]])
    context, weights = look(layer, query, value_mask=mask)
    for b, length in enumerate((4, 7)):
        beyond = np.arange(Tv) > length  # t - 1 is past the last value, which is length - 1.
        assert (weights[b].any(-1) == ~beyond).all()
        assert (context[b][beyond] == 0.0).all()


def test_monotonic_time_is_the_state_and_passes_with_every_look():
    layer = built(AdditiveScore(UNITS), 2, "monotonic")
    context, weights = look(layer, value_mask=MASK)
    memory = layer.prepare(VALUE, mask=MASK)
    state = layer.initial_state(memory)
    for t in range(Tq):
        assert len(state) == 1 and keras.backend.standardize_dtype(state[0].dtype) == "int32"
        assert numpy(state[0]).tolist() == [t] * B
        looked = layer.attend(QUERY[:, t : t + 1], memory, state)
        state = looked.state
        np.testing.assert_allclose(numpy(looked.context)[:, 0], context[:, t], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(numpy(looked.weights)[:, 0], weights[:, t], rtol=1e-4, atol=1e-6)
    (last,) = layer.attend_in_turn(QUERY, memory).state
    assert numpy(last).tolist() == [Tq] * B


@pytest.mark.parametrize("name", ["softmax", "sparsemax"])
def test_a_window_follows_the_median_of_the_weights_before(name):
    query = draw(B, 2 * Tq, Dq)
    layer = built(BilinearScore(), 2, "previous", query, normalizer=getattr(normalizers, name))
    context, weights = look(layer, query, value_mask=MASK)
    kernel, places = numpy(layer.score.kernel), []
    for b in range(B):
        real, center = VALUE[b][MASK[b]], 0
        scores, expected = reference.bilinear_score(query[b], real, kernel), []
        for row in scores:
            expected.append(weigh(row, center, 2, False, getattr(reference, name)))
            places.append(center)
            center = int(np.searchsorted(np.cumsum(expected[-1]), 0.5 - 1e-9))
        np.testing.assert_allclose(weights[b][:, MASK[b]], expected, rtol=1e-4, atol=1e-5)
        read = reference.read(np.array(expected), real)
        np.testing.assert_allclose(context[b], read, rtol=1e-4, atol=1e-5)
    assert max(places) > 2  # It has come further than the first window.


def test_a_window_stays_where_a_query_read_nothing():
    layer, mask = built(BilinearScore(), 2, "previous"), np.ones((B, Tq), bool)
    mask[:, 1] = False
    weights = look(layer, query_mask=mask)[1]
    np.testing.assert_allclose(weights[:, ::2], look(layer, QUERY[:, ::2])[1], rtol=1e-5)


def test_queries_side_by_side_have_each_their_own_time():
    layer = built(AdditiveScore(UNITS), 1, "monotonic")
    memory, times = layer.prepare(VALUE), ops.convert_to_tensor([5, 0, 9, 2, 7, 20], dtype="int32")
    looked = layer.attend(QUERY, memory, (times,))
    assert numpy(looked.state[0]).tolist() == [6, 1, 10, 3, 8, 21]
    seen = [np.flatnonzero(row).tolist() for row in numpy(looked.weights).reshape(-1, Tv)]
    assert seen == [[4, 5, 6], [0, 1], [8, 9, 10], [1, 2, 3], [6, 7, 8], []]


def test_a_predictive_alignment_has_no_state():
    layer = built(AdditiveScore(UNITS), 2, "predictive")
    memory = layer.prepare(VALUE)
    assert layer.initial_state(memory) == ()
    assert layer.attend(QUERY, memory).state == ()


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


@pytest.mark.parametrize("alignment", ["monotonic", "predictive", "previous"])
def test_a_score_may_have_a_state_beside_the_time(alignment):
    query = draw(B, Tq, Dv)
    layer = built(Avoiding(), 2, alignment, query)
    context, weights = look(layer, query, value_mask=MASK)
    memory = layer.prepare(VALUE, mask=MASK)
    state = layer.initial_state(memory)
    assert len(state) == (1 if alignment == "predictive" else 2)
    for t in range(Tq):
        looked = layer.attend(query[:, t : t + 1], memory, state)
        state = looked.state
        np.testing.assert_allclose(numpy(looked.context)[:, 0], context[:, t], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(numpy(state[-1]), weights[:, t], rtol=1e-4, atol=1e-6)


def test_positions_are_exact_in_half_precision():
    """float16 has no odd number above 2048."""
    layer = LocalAttention(DotScore(), 1, "monotonic", dtype="float16")
    query, value = np.zeros((1, 1, 2), "float16"), np.zeros((1, 3001, 2), "float16")
    layer.build(query.shape, value.shape)
    time = ops.full((1,), 2901, "int32")
    weights = numpy(layer.attend(query, layer.prepare(value), (time,)).weights)
    assert np.flatnonzero(weights).tolist() == [2900, 2901, 2902]


def test_dropout_is_drawn_in_training_only_and_the_weights_returned_are_before_it():
    layer = built(AdditiveScore(UNITS), 3, "predictive", dropout=0.5, seed=23)
    context, weights = look(layer)
    dropped, before = look(layer, training=True)
    np.testing.assert_array_equal(before, weights)
    assert not np.allclose(dropped, context)


VOCABULARY, START, END, WIDTH, STEPS = 6, 1, 0, 3, 5


@pytest.mark.parametrize("alignment", ["monotonic", "predictive", "previous"])
def test_a_beam_search_looks_as_the_decoder_did_in_training(alignment):
    embed = keras.layers.Embedding(VOCABULARY, 4, embeddings_initializer="uniform")
    attention = LocalAttention(AdditiveScore(7), 1, alignment)
    decoder = AttentionDecoder(AttentionCell(keras.layers.GRUCell(UNITS), attention, 7))
    output = keras.layers.Dense(VOCABULARY, kernel_initializer="random_normal")
    starts = ops.full((B, 1), START, "int32")
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
        beam_width=WIDTH,
        num_hypotheses=WIDTH,
        start_id=START,
        end_id=END,
        max_length=STEPS,
    )
    lengths, log_probs, weights = numpy(found.lengths, found.log_probs, found.weights)
    assert (log_probs > -np.inf).all()
    for n in range(WIDTH):
        ids = found.ids[:, n]
        decoded = decoder(embed(ops.concatenate([starts, ids[:, :-1]], 1)), VALUE, value_mask=MASK)
        each = numpy(ops.log_softmax(output(decoded.outputs)))
        for b in range(B):
            steps = min(lengths[b, n] + 1, STEPS)
            total = sum(each[b, t, numpy(ids)[b, t]] for t in range(steps))
            np.testing.assert_allclose(log_probs[b, n], total, rtol=1e-4)
            expected = numpy(decoded.weights)[b, :steps]
            np.testing.assert_allclose(weights[b, n, :steps], expected, rtol=1e-4, atol=1e-6)
            if alignment == "monotonic":
                positions = np.cumsum(MASK[b]) - 1
                for t in range(steps):
                    near = MASK[b] & (abs(positions - t) <= 1)
                    assert ((weights[b, n, t] > 0.0) == near).all()


def test_a_query_may_say_outright_where_to_look():
    """A toy world: the query is the logit of a place, as a share of the sequence."""
    places = np.arange(7) + 0.25  # between two values, so that none is at the window's edge
    query = np.log(places / (7 - places)).astype("float32")[None, :, None]
    layer = LocalAttention(DotScore(), 2, units=1)
    layer.build(query.shape, (1, 7, 1))
    layer.set_weights(
        [np.array([[1e-3]]), np.array([1e3])]
    )  # 1000 tanh(query / 1000), which is nearly the query
    weights = look(layer, query, np.zeros((1, 7, 1), "float32"))[1][0]
    for place, row in zip(places, weights, strict=True):
        near = np.abs(np.arange(7) - place)
        expected = np.where(near <= 2, np.exp(-(near**2) / 2), 0) / (near <= 2).sum()
        np.testing.assert_allclose(row, expected, atol=1e-3)


def test_alignment_must_be_one_of_two():
    with pytest.raises(
        ValueError,
        match='`alignment` must be "monotonic", "predictive" or "previous". '
        "Received: alignment='local-p'",
    ):
        LocalAttention(DotScore(), 3, "local-p")


@pytest.mark.parametrize("window", [0, -3, 2.5, "7", None])
def test_window_must_be_a_positive_integer(window):
    with pytest.raises(ValueError, match="`window` must be a positive integer. Received: window="):
        LocalAttention(DotScore(), window)


@pytest.mark.parametrize("units", [0, -3, 2.5, "7"])
def test_units_must_be_a_positive_integer(units):
    with pytest.raises(
        ValueError, match="`units` must be a positive integer or `None`. Received: units="
    ):
        LocalAttention(DotScore(), 3, units=units)


def test_units_without_a_prediction_are_refused():
    with pytest.raises(
        ValueError,
        match="`units` are of the network that predicts the position, which only a predictive "
        "alignment has. Received: alignment='monotonic', units=7",
    ):
        LocalAttention(DotScore(), 3, "monotonic", units=7)
