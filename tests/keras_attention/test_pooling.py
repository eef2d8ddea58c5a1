"""Attention without a query against loops, and what it must not depend on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import FeedForwardAttention, normalizers
from tests import reference

B, T, D, UNITS = 3, 5, 7, 11


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numpy(*tensors):
    arrays = tuple(ops.convert_to_numpy(tensor) for tensor in tensors)
    return arrays if len(arrays) > 1 else arrays[0]


VALUE = draw(B, T, D)
MASK = np.array([[1, 0, 1, 1, 0], [0, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool)


def network():
    return keras.Sequential([keras.layers.Dense(UNITS, "relu"), keras.layers.Dense(1)])


KINDS = {
    "no hidden layer": {},
    "a hidden layer": {"units": UNITS},
    "a network": {"network": network},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def built(kind, **options):
    """A layer whose every weight is drawn at random, so that no bias is 0."""
    options |= {n: each() if callable(each) else each for n, each in KINDS[kind].items()}
    layer = FeedForwardAttention(**options)
    layer(VALUE)
    layer.set_weights([0.5 * draw(*w.shape, seed=9 + i) for i, w in enumerate(layer.weights)])
    return layer


def look(layer, value=VALUE, **options):
    return numpy(*layer(value, return_attention_scores=True, **options))


def score(kind, h_t, weights):
    """Raffel & Ellis, 2015: a(h_t) = tanh(W h_t + b); Yang et al., 2016, eq. 5; or a network."""
    if kind == "no hidden layer":
        W, b = weights
        return np.tanh(h_t @ W + b)[0]
    if kind == "a hidden layer":
        W, b, v = weights
        return v @ np.tanh(h_t @ W + b)
    W, b, v, c = weights
    return (np.maximum(h_t @ W + b, 0.0) @ v + c)[0]


@pytest.mark.parametrize("name", ["softmax", "sparsemax", "sigmoid"])
@kinds
def test_it_follows_the_equations(kind, name):
    layer = built(kind, normalizer=getattr(normalizers, name))
    context, weights = look(layer, mask=MASK)
    assert context.shape == (B, D) and weights.shape == (B, T)
    for i in range(B):
        e = np.array([score(kind, h_t, layer.get_weights()) for h_t in VALUE[i]])
        alpha = getattr(reference, name)(e, MASK[i])
        c = sum(alpha[t] * VALUE[i, t] for t in range(T))
        np.testing.assert_allclose(weights[i], alpha, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(context[i], c, rtol=1e-4, atol=1e-5)


@kinds
def test_it_sees_a_set(kind):
    """Permuted values have permuted weights and the same context."""
    layer, order = built(kind), np.array([3, 0, 4, 1, 2])
    context, weights = look(layer, mask=MASK)
    moved = look(layer, VALUE[:, order], mask=MASK[:, order])
    np.testing.assert_allclose(moved[0], context, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved[1], weights[:, order], rtol=1e-4, atol=1e-6)


@kinds
def test_padding_changes_nothing(kind):
    layer = built(kind)
    context, weights = look(layer)
    padded = np.pad(VALUE, ((0, 0), (0, 4), (0, 0)), constant_values=9.0)
    longer = look(layer, padded, mask=np.repeat(np.arange(T + 4)[None] < T, B, axis=0))
    np.testing.assert_allclose(longer[0], context, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(longer[1][:, :T], weights, rtol=1e-5)
    assert (longer[1][:, T:] == 0.0).all()


@kinds
def test_a_sequence_with_nothing_real_reads_nothing(kind):
    context, weights = look(built(kind), mask=np.array([[False] * T, [True] * T, [False] * T]))
    for each in (context, weights):
        assert (each[[0, 2]] == 0.0).all() and (each[1] != 0.0).all()


@kinds
def test_the_mask_of_an_embedding_arrives_and_ends_here(kind):
    ids = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(5, D, mask_zero=True)(ids)
    context, weights = built(kind)(embedded, return_attention_scores=True)
    pooled = keras.layers.Dense(2)(context)
    assert not hasattr(context, "_keras_mask") and not hasattr(pooled, "_keras_mask")
    model = keras.Model(ids, [context, weights, pooled])
    _, weights, _ = numpy(*model(np.array([[1, 4, 0, 0], [2, 0, 3, 1]])))
    assert ((weights > 0.0) == [[True, True, False, False], [True, False, True, True]]).all()


def test_the_papers_score_favours_no_value_by_more_than_e_squared():
    layer = built("no hidden layer")
    layer.kernel.assign(100.0 * layer.kernel)
    weights = look(layer)[1]
    ratios = weights.max(-1) / weights.min(-1)
    np.testing.assert_allclose(ratios.max(), np.exp(2.0), rtol=1e-4)


def test_a_hidden_layer_can_pick_what_is_marked():
    """A toy world, as in the addition problem: a mark beside a number says that it counts."""
    numbers, marks = draw(B, T), np.eye(T, dtype="float32")[[2, 0, 4]]
    layer = FeedForwardAttention(units=1)
    layer.build((None, T, 2))
    layer.set_weights([np.array([[0.0], [9.0]]), np.zeros(1), np.array([40.0])])
    context, weights = look(layer, np.stack([numbers, marks], axis=-1))
    np.testing.assert_allclose(weights, marks, atol=1e-6)
    np.testing.assert_allclose(context[:, 0], numbers[np.arange(B), [2, 0, 4]], rtol=1e-5)


def test_dropout_is_drawn_in_training_only_and_the_weights_returned_are_before_it():
    layer = built("a hidden layer", dropout=0.5, seed=23)
    context, weights = look(layer)
    dropped, before = look(layer, training=True)
    np.testing.assert_array_equal(before, weights)
    assert not np.allclose(dropped, context)
    assert not np.allclose(look(layer, training=True)[0], dropped)
    np.testing.assert_array_equal(numpy(layer(VALUE)), context)


def test_its_kernels_are_drawn_apart():
    layer = FeedForwardAttention(D, kernel_initializer=keras.initializers.RandomNormal())
    layer.build((None, None, 1))
    kernel, _, v = layer.get_weights()
    assert not np.allclose(kernel[0], v)


@pytest.mark.parametrize("units", [0, -3, 2.5, "7"])
def test_units_must_be_a_positive_integer(units):
    with pytest.raises(
        ValueError, match="`units` must be a positive integer or `None`. Received: units="
    ):
        FeedForwardAttention(units)


def test_units_and_a_network_are_one_too_many():
    with pytest.raises(
        ValueError,
        match="`units` are of the layer's own network and cannot be given with another. "
        "Received: units=7, network=<Dense",
    ):
        FeedForwardAttention(7, keras.layers.Dense(1))


def test_network_with_more_than_one_output_is_refused():
    with pytest.raises(
        ValueError, match=r"to \(..., 1\). Received: network output of shape \(15, 2\)"
    ):
        FeedForwardAttention(network=keras.layers.Dense(2))(VALUE)


def test_dropout_must_be_a_share():
    with pytest.raises(ValueError, match=r"`dropout` must be in \[0, 1\). Received: dropout=1.0"):
        FeedForwardAttention(dropout=1.0)


def test_shapes_are_checked():
    layer = built("a hidden layer")
    with pytest.raises(
        ValueError,
        match=r"`value` must have shape \(batch, length, width\). Received: value.shape=\(5, 7\)",
    ):
        layer(VALUE[0])
    with pytest.raises(
        ValueError,
        match=r"`mask` must have shape \(batch, length\). "
        r"Received: mask.shape=\(3, 5, 1\), value.shape=\(3, 5, 7\)",
    ):
        layer(VALUE, mask=MASK[:, :, None])
