"""Scores against loops over pairs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import (
    AdditiveScore,
    BilinearScore,
    CosineScore,
    DotScore,
    NetworkScore,
    Score,
    SoftAttention,
)
from tests import reference

B, Tq, Tv, Dq, Dk, units = 2, 3, 5, 7, 11, 13


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def weights_of(layer):
    return {v.name: ops.convert_to_numpy(v).astype("float64") for v in layer.weights}


def assert_scores(layer, query, key, oracle):
    scores = ops.convert_to_numpy(layer(query, key))
    expected = np.array([oracle(q, k) for q, k in zip(query, key, strict=True)])
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("use_bias", [False, True])
def test_additive_is_bahdanaus(use_bias):
    layer, query, key = AdditiveScore(units, use_bias), draw(B, Tq, Dq), draw(B, Tv, Dk, seed=1)
    layer.build(query.shape, key.shape)
    if use_bias:
        layer.bias.assign(draw(units, seed=2))
    w = weights_of(layer)
    args = w["query_kernel"], w["key_kernel"], w["v"], w.get("bias")
    assert_scores(layer, query, key, lambda q, k: reference.additive_score(q, k, *args))


def test_additive_draws_its_kernels_apart():
    """One initialiser with a seed gives the same numbers each time it is asked."""
    layer = AdditiveScore(units, kernel_initializer=keras.initializers.GlorotUniform())
    layer.build((None, None, Dq), (None, None, Dq))
    w = weights_of(layer)
    assert not np.allclose(w["query_kernel"], w["key_kernel"])


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize(("scale", "factor"), [(1.0, 1.0), (0.3, 0.3), (None, Dk**-0.5)])
def test_dot_is_luongs_and_scaled(scale, factor, trainable):
    query, key = draw(B, Tq, Dk), draw(B, Tv, Dk, seed=1)
    layer = DotScore(scale, trainable)
    assert_scores(layer, query, key, lambda q, k: reference.dot_score(q, k, factor))
    assert len(layer.trainable_weights) == trainable
    if trainable:
        layer.learned_scale.assign(-2.0)
        assert_scores(layer, query, key, lambda q, k: reference.dot_score(q, k, -2.0))


@pytest.mark.parametrize("trainable", [False, True])
def test_cosine_is_graves_with_its_key_strength(trainable):
    query, key = draw(B, Tq, Dk), draw(B, Tv, Dk, seed=1)
    layer = CosineScore(0.3, trainable)
    assert_scores(layer, query, key, lambda q, k: reference.cosine_score(q, k, 0.3))
    assert len(layer.trainable_weights) == trainable
    if trainable:
        layer.learned_scale.assign(-2.0)
        assert_scores(layer, query, key, lambda q, k: reference.cosine_score(q, k, -2.0))


def test_cosine_sees_directions_only():
    layer, query, key = CosineScore(), draw(B, Tq, Dk), draw(B, Tv, Dk, seed=1)
    scores = ops.convert_to_numpy(layer(query, key))
    np.testing.assert_allclose(layer(query * 1e-3, key * 1e3), scores, rtol=1e-4, atol=1e-6)
    lengths = ops.convert_to_numpy(ops.norm(layer.project_key(key), axis=-1))
    np.testing.assert_allclose(lengths, 1.0, rtol=1e-5)  # once a sequence


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_cosine_of_no_direction_is_zero_with_gradient_zero(dtype):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("takes gradients by TensorFlow's own means")
    import tensorflow as tf

    layer = CosineScore(10.0, dtype=dtype)
    query, key = (tf.cast(draw(B, n, Dk), dtype).numpy() for n in (Tq, Tv))
    query[0, 1] = key[1, 2] = 0.0
    sources = [tf.constant(query), tf.constant(key)]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        scores = layer(*sources)
        loss = tf.reduce_sum(tf.cast(scores, "float32") ** 2)
    by_query, by_key = (tf.cast(g, "float32").numpy() for g in tape.gradient(loss, sources))
    assert (scores.numpy()[0, 1] == 0.0).all() and (scores.numpy()[1, :, 2] == 0.0).all()
    assert np.isfinite(by_query).all() and np.isfinite(by_key).all()
    assert (by_query[0, 1] == 0.0).all() and (by_query[0, 0] != 0.0).any()
    assert (by_key[1, 2] == 0.0).all() and (by_key[1, 1] != 0.0).any()


def test_cosine_of_float16_vectors_whose_squares_overflow():
    query, key = (ops.cast(draw(B, n, Dk), "float16") for n in (Tq, Tv))
    layer = CosineScore(dtype="float16")
    np.testing.assert_allclose(layer(query * 4000.0, key), layer(query, key), rtol=0.01, atol=0.002)


def test_bilinear_is_luongs_general():
    layer, query, key = BilinearScore(), draw(B, Tq, Dq), draw(B, Tv, Dk, seed=1)
    layer.build(query.shape, key.shape)
    kernel = weights_of(layer)["kernel"]
    assert_scores(layer, query, key, lambda q, k: reference.bilinear_score(q, k, kernel))


def test_network_can_be_luongs_concat():
    hidden, out = keras.layers.Dense(units, "tanh"), keras.layers.Dense(1, use_bias=False)
    layer = NetworkScore(keras.Sequential([hidden, out]))
    query, key = draw(B, Tq, Dq), draw(B, Tv, Dk, seed=1)
    layer.build(query.shape, key.shape)
    hidden.bias.assign(draw(units, seed=2))
    W, b = (ops.convert_to_numpy(w) for w in hidden.weights)
    v = ops.convert_to_numpy(out.kernel)[:, 0]
    assert_scores(layer, query, key, lambda q, k: reference.concat_score(q, k, W, v, b))


def test_concat_is_additive_with_its_matrix_cut_in_two():
    query, key, W, v = draw(Tq, Dq), draw(Tv, Dk, seed=1), draw(Dq + Dk, 5, seed=2), draw(5, seed=3)
    np.testing.assert_allclose(
        reference.concat_score(query, key, W, v),
        reference.additive_score(query, key, W[:Dq], W[Dq:], v),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: AdditiveScore(units),
        lambda: DotScore(None),
        CosineScore,
        BilinearScore,
        lambda: NetworkScore(keras.layers.Dense(1)),
    ],
)
def test_permuting_queries_and_keys_permutes_scores(make):
    layer, query, key = make(), draw(B, Tq, Dk), draw(B, Tv, Dk, seed=1)
    queries, keys = np.array([2, 0, 1]), np.array([4, 2, 0, 1, 3])
    scores = ops.convert_to_numpy(layer(query, key))
    permuted = ops.convert_to_numpy(layer(query[:, queries], key[:, keys]))
    np.testing.assert_allclose(permuted, scores[:, queries][:, :, keys], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("units", [0, -3, 2.5, "7", None])
def test_units_must_be_a_positive_integer(units):
    with pytest.raises(ValueError, match="`units` must be a positive integer. Received: units="):
        AdditiveScore(units)


def test_dot_of_two_widths_is_refused():
    with pytest.raises(
        ValueError,
        match=r"queries and keys of one width; `BilinearScore` does not. "
        r"Received: query.shape=\(2, 3, 7\), key.shape=\(2, 5, 11\)",
    ):
        DotScore()(draw(B, Tq, Dq), draw(B, Tv, Dk))
    with pytest.raises(ValueError, match=r"A cosine needs queries and keys of one width; "):
        CosineScore()(draw(B, Tq, Dq), draw(B, Tv, Dk))


def test_network_with_more_than_one_output_is_refused():
    with pytest.raises(
        ValueError,
        match=r"to \(..., 1\). Received: network output of shape \(2, 3, 5, 2\)",
    ):
        NetworkScore(keras.layers.Dense(2))(draw(B, Tq, Dq), draw(B, Tv, Dk))


def test_a_score_of_ones_own_defines_one_method():
    class Distance(Score):
        def score(self, query, keys):
            return -ops.sum(ops.abs(query[:, :, None] - keys[:, None]), axis=-1)

    scores = Distance()(np.zeros((1, 1, 2)), np.array([[[1.0, 2.0], [0.0, -5.0]]]))
    assert ops.convert_to_numpy(scores).tolist() == [[[-3.0, -5.0]]]
    layer = SoftAttention(Distance())
    assert layer(np.zeros((1, 1, 2)), np.zeros((1, 3, 4))[..., :2]).shape == (1, 1, 2)

    class Silent(Score):
        pass

    with pytest.raises(NotImplementedError, match=r"Silent must define `score\(query, keys\)`"):
        Silent()(np.zeros((1, 1, 2)), np.zeros((1, 1, 2)))
