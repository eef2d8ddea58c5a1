"""Alpha-entmax against bisection in its papers' letters, and the layer that learns its alpha."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import AdditiveScore, AlphaEntmax, BilinearScore, SoftAttention
from keras_attention.normalizers import alpha_entmax, entmax15, softmax, sparsemax
from tests import reference

ALPHAS = (1.05, 1.3, 1.5, 2.0, 2.7, 4.0)
# On other backends, Keras makes float32 of float64.
EXACTLY, PRECISE = {"rtol": 1e-8, "atol": 1e-10}, "float64"
if keras.backend.backend() != "tensorflow":
    EXACTLY, PRECISE = {"rtol": 1e-4, "atol": 1e-4}, "float32"
needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="takes gradients by TensorFlow's own means"
)


def draw_scores(*shape, scale=1.5, seed=5, dtype=PRECISE):
    scores = scale * np.random.default_rng(seed).normal(size=shape)
    return ops.convert_to_tensor(scores, dtype=dtype)


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("scale", [0.01, 1.5, 40.0])
def test_weights_are_the_oracles(alpha, masked, scale):
    scores = draw_scores(5, 7, scale=scale)
    mask = np.random.default_rng(1).random((5, 7)) < 0.6 if masked else None
    found = numpy(alpha_entmax(scores, mask, alpha))
    expected = reference.alpha_entmax(numpy(scores), mask, alpha)
    np.testing.assert_allclose(found, expected, **EXACTLY)


@pytest.mark.parametrize(
    ("alpha", "other", "tolerance"),
    [(1.00001, softmax, 1e-4), (1.5, entmax15, 1e-6), (2.0, sparsemax, 1e-6)],
)
def test_its_members_of_their_own(alpha, other, tolerance):
    scores = draw_scores(3, 7, dtype="float32")
    np.testing.assert_allclose(
        numpy(alpha_entmax(scores, alpha=alpha)), numpy(other(scores)), atol=tolerance
    )


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("length", [1, 2, 101, 4099])
def test_rows_sum_to_one_in_float32(alpha, length):
    for scale in (1e-3, 1.0, 100.0):
        scores = draw_scores(3, length, scale=scale, dtype="float32")
        weights = numpy(alpha_entmax(scores, alpha=alpha))
        assert (weights >= 0.0).all()
        np.testing.assert_allclose(weights.sum(-1, dtype="float64"), 1.0, atol=2e-6)


def test_the_greater_alpha_the_more_is_left_out():
    scores = draw_scores(11, 29)
    left_out = [int((numpy(alpha_entmax(scores, alpha=a)) == 0.0).sum()) for a in ALPHAS]
    assert left_out == sorted(left_out) and left_out[0] < left_out[-1]
    assert left_out[-1] > 11 * 29 * 0.8


def test_padding_changes_no_bound():
    """The bounds between which is bisected do not depend on what is masked."""
    scores = numpy(draw_scores(3, 7, dtype="float32"))
    padded = np.pad(scores, ((0, 0), (0, 4)), constant_values=9.0)
    mask = np.arange(11) < 7
    short, long = (
        alpha_entmax(ops.convert_to_tensor(each), real, 1.3)
        for each, real in ((scores, mask[:7]), (padded, mask))
    )
    np.testing.assert_allclose(numpy(long)[:, :7], numpy(short), rtol=1e-6)
    assert (numpy(long)[:, 7:] == 0.0).all()


@needs_tensorflow
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("masked", [False, True])
def test_derivatives_are_the_papers(alpha, masked):
    """By the scores, through the support only, and by alpha."""
    import tensorflow as tf

    mask = np.array([True, False, True, True, True, False, True]) if masked else None
    x, a = draw_scores(7, seed=3), tf.constant(alpha, "float64")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, a])
        weights = alpha_entmax(x, mask, a)
    p = weights.numpy()
    np.testing.assert_allclose(
        tape.jacobian(weights, x), reference.alpha_entmax_jacobian(p, alpha), atol=1e-7
    )
    slope = tape.jacobian(weights, a).numpy()
    np.testing.assert_allclose(slope, reference.alpha_entmax_slope(p, alpha), atol=1e-7)
    ahead, behind = (reference.alpha_entmax(x, mask, alpha + step) for step in (1e-6, -1e-6))
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, atol=1e-5)


@needs_tensorflow
def test_each_row_may_have_its_alpha():
    import tensorflow as tf

    scores = draw_scores(3, 7)
    alphas = tf.constant([[1.2], [1.7], [3.0]], "float64")
    with tf.GradientTape() as tape:
        tape.watch(alphas)
        weights = alpha_entmax(scores, alpha=alphas)
        loss = tf.reduce_sum(weights**2)
    gradient = tape.gradient(loss, alphas).numpy()
    for i, alpha in enumerate((1.2, 1.7, 3.0)):
        p = weights[i].numpy()
        np.testing.assert_allclose(p, reference.alpha_entmax(scores[i], None, alpha), rtol=1e-8)
        slope = 2.0 * p @ reference.alpha_entmax_slope(p, alpha)
        np.testing.assert_allclose(gradient[i, 0], slope, rtol=1e-6)


@needs_tensorflow
@pytest.mark.parametrize("alpha", [1.2, 1.9])
def test_a_layer_finds_the_alpha_that_made_the_weights(alpha):
    """A world with one unknown."""
    scores = numpy(draw_scores(31, 7, dtype="float32"))
    model = keras.Sequential([keras.Input((7,)), AlphaEntmax(1.5)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    wanted = reference.alpha_entmax(scores, None, alpha).astype("float32")
    model.fit(scores, wanted, batch_size=31, epochs=60, verbose=0)
    np.testing.assert_allclose(model.layers[0].learned_alpha(), alpha, atol=0.02)


def test_attention_trains_and_saves_the_alpha(tmp_path):
    query, value = keras.Input((None, 3)), keras.Input((None, 5))
    layer = SoftAttention(AdditiveScore(7), AlphaEntmax(1.3), name="look")
    model = keras.Model([query, value], layer(query, value))
    assert any(each is layer.normalizer.raw_alpha for each in model.trainable_weights)
    layer.normalizer.raw_alpha.assign(0.7)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    revived = keras.saving.load_model(tmp_path / "model.keras").get_layer("look").normalizer
    assert numpy(revived.raw_alpha) == np.float32(0.7)
    assert revived.alpha == 1.3  # where it began
    layer.normalizer.raw_alpha.assign(0.0)
    model.load_weights(tmp_path / "model.weights.h5")
    assert numpy(layer.normalizer.raw_alpha) == np.float32(0.7)


def test_an_alpha_that_is_not_trained_stays():
    layer = SoftAttention(BilinearScore(), AlphaEntmax(3.0, trainable=False))
    layer(np.ones((1, 2, 3)), np.ones((1, 5, 3)))
    assert len(layer.trainable_weights) == 1 and len(layer.non_trainable_weights) == 1
    revived = type(layer).from_config(layer.get_config()).normalizer
    assert revived.alpha == 3.0 and not revived.trainable


@pytest.mark.parametrize("alpha", [1.001, 1.5, 2.0, 30.0, 1000.0])
def test_alpha_begins_where_it_is_said_to(alpha):
    np.testing.assert_allclose(numpy(AlphaEntmax(alpha).learned_alpha()), alpha, rtol=1e-6)


@needs_tensorflow
@pytest.mark.parametrize("raw", [-1000.0, -20.0, 20.0, 1000.0])
def test_an_alpha_gone_far_leaves_all_finite(raw):
    import tensorflow as tf

    layer, scores = AlphaEntmax(), draw_scores(3, 7, dtype="float32")
    layer.raw_alpha.assign(raw)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        weights = layer(scores)
        loss = tf.reduce_sum(weights**2)
    for gradient in tape.gradient(loss, [scores, layer.raw_alpha.value]):
        assert np.isfinite(gradient).all()
    expected = softmax(scores) if raw < 0.0 else tf.one_hot(tf.argmax(scores, -1), 7)
    np.testing.assert_allclose(weights, expected, atol=2e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_alpha_is_precise_in_half_precision(policy):
    """In bfloat16, 1.003 would be 1."""
    layer = AlphaEntmax(1.003, dtype=policy)
    weights = layer(ops.cast(draw_scores(3, 7), layer.compute_dtype))
    assert keras.backend.standardize_dtype(weights.dtype) == layer.compute_dtype
    np.testing.assert_allclose(numpy(layer.learned_alpha()), 1.003, rtol=1e-6)


def test_a_mask_over_rows_that_rides_on_the_scores_is_none_over_entries():
    scores = np.array([[[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]], "float32")
    riding = keras.layers.Masking()(scores)
    weights = AlphaEntmax()(riding)
    np.testing.assert_array_equal(numpy(weights), numpy(AlphaEntmax()(scores)))
    np.testing.assert_array_equal(numpy(weights)[0, 1], np.full(3, 1 / 3, "float32"))
    given = AlphaEntmax()(riding, np.array([True, True, False]))
    for each in (weights, given):
        assert getattr(each, "_keras_mask", None) is None


@pytest.mark.parametrize("alpha", [1.0, 0.5, -2, float("inf"), float("nan"), "1.5", True, None])
def test_alpha_must_be_above_one(alpha):
    with pytest.raises(ValueError, match="`alpha` must be a number above 1. Received: alpha="):
        AlphaEntmax(alpha)


def test_alpha_of_the_function_must_be_above_one():
    with pytest.raises(ValueError, match="`alpha` must be a number above 1. Received: alpha=1.0."):
        alpha_entmax(ops.ones((1, 3)), alpha=1.0)
