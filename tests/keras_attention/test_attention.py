"""Soft attention against loops, its masks one by one, its dropout, its errors."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import (
    AdditiveScore,
    AdditiveSoftAttention,
    BilinearScore,
    DotAttention,
    SoftAttention,
    normalizers,
)
from tests import reference

B, Tq, Tv, Dq, Dv, Dk = 2, 3, 5, 7, 11, 13


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numpy(*tensors):
    arrays = tuple(ops.convert_to_numpy(tensor) for tensor in tensors)
    return arrays if len(arrays) > 1 else arrays[0]


QUERY, VALUE, KEY = draw(B, Tq, Dq), draw(B, Tv, Dv, seed=1), draw(B, Tv, Dk, seed=2)
MASK = np.array([[True, False, True, True, False], [False, True, True, False, True]])


@pytest.mark.parametrize("masked", [False, True])
def test_additive_attention_is_bahdanaus(masked):
    layer = AdditiveSoftAttention(17)
    mask = MASK if masked else None
    context, weights = numpy(
        *layer(QUERY, VALUE, KEY, value_mask=mask, return_attention_scores=True)
    )
    W, U, v = (numpy(w) for w in layer.score.weights)
    for b in range(B):
        scores = reference.additive_score(QUERY[b], KEY[b], W, U, v)
        expected = reference.softmax(scores, MASK[b] if masked else None)
        np.testing.assert_allclose(weights[b], expected, rtol=1e-4, atol=1e-6)
        read = reference.read(expected, VALUE[b])
        np.testing.assert_allclose(context[b], read, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["softmax", "sparsemax", "entmax15", "sigmoid"])
def test_dot_attention_is_luongs(name):
    layer = DotAttention(scale=0.5, normalizer=getattr(normalizers, name))
    query = draw(B, Tq, Dv)
    context, weights = numpy(*layer(query, VALUE, return_attention_scores=True))
    for b in range(B):
        scores = reference.dot_score(query[b], VALUE[b], 0.5)
        expected = getattr(reference, name)(scores)
        np.testing.assert_allclose(weights[b], expected, rtol=1e-4, atol=1e-5)
        read = reference.read(expected, VALUE[b])
        np.testing.assert_allclose(context[b], read, rtol=1e-4, atol=1e-4)


def test_special_layers_are_soft_attention_with_that_score():
    special = AdditiveSoftAttention(5, True, normalizers.sparsemax)
    general = SoftAttention(AdditiveScore(5, True), normalizers.sparsemax)
    expected = special(QUERY, VALUE)
    general(QUERY, VALUE)
    general.set_weights(special.get_weights())
    np.testing.assert_array_equal(numpy(general(QUERY, VALUE)), numpy(expected))


def test_key_is_the_value_unless_given():
    layer = AdditiveSoftAttention(5)
    np.testing.assert_array_equal(numpy(layer(QUERY, VALUE)), numpy(layer(QUERY, VALUE, key=VALUE)))


def test_permuted_values_are_read_alike():
    """Attention sees a set of values: their order says nothing."""
    layer, order = SoftAttention(BilinearScore()), np.array([3, 0, 4, 1, 2])
    context, weights = numpy(*layer(QUERY, VALUE, KEY, return_attention_scores=True))
    moved = numpy(*layer(QUERY, VALUE[:, order], KEY[:, order], return_attention_scores=True))
    np.testing.assert_allclose(moved[0], context, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved[1], weights[:, :, order], rtol=1e-4, atol=1e-6)


def test_every_mask_hides_what_it_says():
    queries = np.array([[True, True, False], [False, True, True]])
    keys = np.array([[True, True, True, True, True], [True, True, False, True, True]])
    pairs = np.random.default_rng(3).random((B, Tq, Tv)) < 0.7
    _, weights = AdditiveSoftAttention(5)(
        QUERY,
        VALUE,
        KEY,
        query_mask=queries,
        value_mask=MASK,
        key_mask=keys,
        attention_mask=pairs,
        use_causal_mask=True,
        return_attention_scores=True,
    )
    causal = np.arange(Tv)[None] <= np.arange(Tq)[:, None]
    real = queries[:, :, None] & MASK[:, None] & keys[:, None] & pairs & causal
    weights = numpy(weights)
    assert ((weights > 0.0) == real).all()
    np.testing.assert_allclose(weights.sum(-1), real.any(-1), atol=1e-6)


def test_causal_attention_sees_no_later_value():
    layer, sequence = DotAttention(), draw(B, Tv, Dv)
    before = numpy(layer(sequence, sequence, use_causal_mask=True))
    sequence[:, 3:] += 5.0
    after = numpy(layer(sequence, sequence, use_causal_mask=True))
    np.testing.assert_array_equal(after[:, :3], before[:, :3])
    assert (after[:, 3:] != before[:, 3:]).any()


def test_context_carries_the_mask_of_the_query():
    query, value = keras.Input((None,), dtype="int32"), keras.Input((None, Dv))
    embedded = keras.layers.Embedding(5, Dq, mask_zero=True)(query)
    context = AdditiveSoftAttention(3)(embedded, value)
    pooled = keras.layers.GlobalAveragePooling1D()(context)  # over what is real
    model = keras.Model([query, value], [context, pooled])
    context, pooled = numpy(*model([np.array([[1, 4, 0], [2, 0, 0]]), VALUE]))
    np.testing.assert_allclose(pooled[0], context[0, :2].mean(0), rtol=1e-5)
    np.testing.assert_allclose(pooled[1], context[1, 0], rtol=1e-5)
    assert (context[0, 2] == 0.0).all()


def test_dropout_is_drawn_in_training_only_and_the_weights_returned_are_before_it():
    def make():
        return AdditiveSoftAttention(5, dropout=0.5, seed=23)

    layer = make()
    context, weights = numpy(*layer(QUERY, VALUE, return_attention_scores=True))
    dropped, before = numpy(*layer(QUERY, VALUE, return_attention_scores=True, training=True))
    np.testing.assert_array_equal(before, weights)
    assert not np.allclose(dropped, context)
    assert not np.allclose(numpy(layer(QUERY, VALUE, training=True)), dropped)
    np.testing.assert_array_equal(numpy(layer(QUERY, VALUE)), context)
    twin = make()
    twin(QUERY, VALUE)
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(numpy(twin(QUERY, VALUE, training=True)), dropped)


def test_weights_are_dropped_at_the_rate_and_scaled_up():
    value = np.ones((1, 10007, 1), "float32")
    layer = DotAttention(dropout=0.25, seed=1)
    kept = [numpy(layer(np.ones((1, 1, 1)), value, training=True)).item() for _ in range(5)]
    np.testing.assert_allclose(np.mean(kept), 1.0, atol=0.02)
    assert len(set(kept)) > 1


@pytest.mark.parametrize("num_values", [1, 2])
def test_a_known_number_of_values_trains(num_values):
    query, value = keras.Input((2, 3)), keras.Input((num_values, 5))
    model = keras.Model([query, value], AdditiveSoftAttention(7)(query, value))
    model.compile("sgd", "mse")
    model.fit([draw(2, 2, 3), draw(2, num_values, 5)], draw(2, 2, 5), verbose=0)


def test_memory_prepared_once_serves_any_number_of_queries():
    layer = AdditiveSoftAttention(5)
    whole = numpy(layer(QUERY, VALUE, KEY, value_mask=MASK))
    memory = layer.prepare(VALUE, KEY, MASK)
    assert len(keras.tree.flatten(memory)) == 3
    for i in range(Tq):
        attended = layer.attend(QUERY[:, i : i + 1], memory, layer.initial_state(memory))
        np.testing.assert_allclose(numpy(attended.context)[:, 0], whole[:, i], rtol=1e-5)
        assert attended.state == ()


def test_a_float16_model_keeps_scores_out_of_the_way_of_overflow():
    """Scores of 40,000 and more: their exponentials, and a mask of -65504, would not survive."""
    layer = DotAttention(dtype="float16")
    query = np.full((1, 1, 4), 100.0, "float16")
    value = np.stack([np.full(4, 100.0), np.full(4, 99.0)])[None].astype("float16")
    context, weights = layer(query, value, return_attention_scores=True)
    assert numpy(weights).tolist() == [[[1.0, 0.0]]]
    assert (numpy(context) == 100.0).all()


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 2])
def test_dropout_must_be_a_share(dropout):
    with pytest.raises(ValueError, match=r"`dropout` must be in \[0, 1\). Received: dropout="):
        DotAttention(dropout=dropout)


def test_lengths_of_key_and_value_must_agree():
    with pytest.raises(
        ValueError,
        match=r"`key` and `value` must have the same length. "
        r"Received: key.shape=\(2, 4, 13\), value.shape=\(2, 5, 11\)",
    ):
        AdditiveSoftAttention(5)(QUERY, VALUE, KEY[:, :4])


def test_prepare_needs_weights():
    layer = AdditiveSoftAttention(5, name="looker")
    with pytest.raises(
        ValueError, match=r"`looker` has no weights yet: call it once, or its `build"
    ):
        layer.prepare(VALUE)
    layer.build(QUERY.shape, VALUE.shape)
    layer.prepare(VALUE)


def test_a_tensor_of_a_wrong_rank_is_refused():
    for name in ("query", "value", "key"):
        arguments = {"query": QUERY, "value": VALUE, "key": KEY}
        arguments[name] = arguments[name][0]
        layer = AdditiveSoftAttention(5)
        layer.build(QUERY.shape, VALUE.shape, KEY.shape)
        with pytest.raises(
            ValueError,
            match=rf"`{name}` must have shape \(batch, length, width\). Received: {name}.shape=",
        ):
            layer(**arguments)
