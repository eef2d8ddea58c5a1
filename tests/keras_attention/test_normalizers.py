"""Normalisers against bisection, closed forms, their papers' Jacobians, and their invariants."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import Sharpened, normalizers
from tests import reference

ALL = ("softmax", "sigmoid", "smoothed", "sparsemax", "entmax15", "alpha_entmax")
ON_SIMPLEX = ("softmax", "sparsemax", "entmax15", "alpha_entmax")
JACOBIANS = {
    "softmax": reference.softmax_jacobian,
    "sparsemax": reference.sparsemax_jacobian,
    "entmax15": reference.entmax15_jacobian,
    "alpha_entmax": lambda weights: reference.alpha_entmax_jacobian(weights, 1.5),
    "sigmoid": lambda weights: np.diag(weights * (1.0 - weights)),
}
# On other backends, Keras makes float32 of float64.
EXACTLY = {"rtol": 1e-9, "atol": 1e-12}
DTYPES = ["float16", "bfloat16", "float32", "float64"]
if keras.backend.backend() != "tensorflow":
    EXACTLY = {"rtol": 1e-5, "atol": 1e-5}
    DTYPES.remove("float64")
needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="takes gradients by TensorFlow's own means"
)


def weigh(name, scores, mask=None):
    return ops.convert_to_numpy(getattr(normalizers, name)(ops.convert_to_tensor(scores), mask))


def draw_scores(*shape, scale=1.5, seed=5):
    return scale * np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("scale", [0.01, 1.5, 40.0])
def test_weights_are_the_oracles(name, masked, scale):
    scores = draw_scores(3, 5, 7, scale=scale)
    mask = np.random.default_rng(1).random((3, 5, 7)) < 0.6 if masked else None
    rows = zip(scores, mask if masked else [None] * 3, strict=True)
    expected = np.array([getattr(reference, name)(*row) for row in rows])
    np.testing.assert_allclose(weigh(name, scores, mask), expected, **EXACTLY)


def test_softmax_is_keras_own_where_nothing_is_masked():
    scores = draw_scores(3, 7).astype("float32")
    expected = ops.convert_to_numpy(ops.softmax(ops.convert_to_tensor(scores)))
    np.testing.assert_array_equal(weigh("softmax", scores), expected)


def test_sparsemax_of_two_is_a_clipped_line():
    """Martins & Astudillo, 2016, figure 1: of (t, 0), the first weight is (t + 1) / 2, cut off."""
    t = np.linspace(-2.0, 2.0, 41)
    weights = weigh("sparsemax", np.stack([t, np.zeros_like(t)], axis=1))
    np.testing.assert_allclose(weights[:, 0], np.clip((t + 1.0) / 2.0, 0.0, 1.0), **EXACTLY)


def test_entmax15_of_two_is_its_closed_form():
    """Of (t, 0): with a + b = t / 2 as difference of roots, a^2 + b^2 = 1."""
    t = np.linspace(-3.0, 3.0, 61)
    d = np.clip(t / 2.0, -1.0, 1.0)  # sqrt(p) - sqrt(q)
    root = (d + np.sqrt(2.0 - d**2)) / 2.0
    weights = weigh("entmax15", np.stack([t, np.zeros_like(t)], axis=1))
    np.testing.assert_allclose(weights[:, 0], root**2, **EXACTLY)


def test_a_known_sparsemax():
    """The input on which Keras 3.15.1's own sparsemax sums to a half."""
    np.testing.assert_allclose(weigh("sparsemax", [[0.5, 0.4]]), [[0.55, 0.45]], atol=1e-6)
    np.testing.assert_allclose(
        weigh("sparsemax", [[1.0, 1.2, 0.9, -3.0]]), [[0.3, 0.5, 0.2, 0.0]], atol=1e-6
    )


@pytest.mark.parametrize("name", ON_SIMPLEX)
@pytest.mark.parametrize("length", [1, 2, 101, 4099])
def test_rows_sum_to_one_in_float32(name, length):
    for scale in (1e-3, 1.0, 100.0):
        weights = weigh(name, draw_scores(3, length, scale=scale).astype("float32"))
        assert (weights >= 0.0).all()
        np.testing.assert_allclose(weights.sum(-1, dtype="float64"), 1.0, atol=2e-6)


@pytest.mark.parametrize("name", ON_SIMPLEX)
@pytest.mark.parametrize("length", [2, 7, 103])
def test_equal_scores_weigh_equally(name, length):
    weights = weigh(name, np.full((1, length), 3.7, "float32"))
    np.testing.assert_allclose(weights, 1.0 / length, rtol=1e-5)


@pytest.mark.parametrize("name", ON_SIMPLEX)
def test_a_constant_added_to_all_scores_changes_nothing(name):
    scores = draw_scores(5, 7)
    np.testing.assert_allclose(weigh(name, scores + 13.0), weigh(name, scores), **EXACTLY)


@pytest.mark.parametrize("name", ALL)
def test_permuted_scores_have_permuted_weights(name):
    scores, order = draw_scores(5, 7), np.random.default_rng(2).permutation(7)
    mask = np.array([True, True, False, True, True, True, False])
    found = weigh(name, scores[:, order], mask[order])
    np.testing.assert_allclose(found, weigh(name, scores, mask)[:, order], **EXACTLY)


def test_sparser_normalizers_leave_out_more():
    scores = draw_scores(11, 29)
    left_out = [(weigh(name, scores) == 0.0).sum() for name in ON_SIMPLEX]
    softmax, sparsemax, entmax15, alpha_entmax = left_out
    assert softmax == 0 < entmax15 == alpha_entmax < sparsemax


@pytest.mark.parametrize("name", ON_SIMPLEX)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_minus_infinity_weighs_nothing(name, dtype):
    scores = np.array([[1.0, -np.inf, 0.5, -np.inf]], dtype)
    expected = weigh(name, np.array([[1.0, 0.5]], dtype))
    weights = weigh(name, scores)
    np.testing.assert_allclose(weights[:, [0, 2]], expected, rtol=1e-6)
    assert (weights[:, [1, 3]] == 0.0).all()


@pytest.mark.parametrize("name", ON_SIMPLEX)
@pytest.mark.parametrize("mask", [None, [[True, True, False]]])
def test_huge_scores_choose_the_largest(name, mask):
    for scores in ([[1e30, -1e30, 0.0]], [[-1e30, -2e30, -3e30]], [[60000.0, 0.0, -60000.0]]):
        weights = weigh(name, np.array(scores, "float32"), mask and np.array(mask))
        np.testing.assert_array_equal(weights, [[1.0, 0.0, 0.0]])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_is_that_of_the_scores_and_nothing_real_weighs_nothing(name, dtype):
    scores = ops.cast(ops.convert_to_tensor(draw_scores(2, 3, 5)), dtype)
    mask = np.zeros((2, 1, 5), bool)
    mask[0] = True
    weights = getattr(normalizers, name)(scores, mask)
    assert keras.backend.standardize_dtype(weights.dtype) == dtype
    weights = ops.convert_to_numpy(ops.cast(weights, "float32"))
    assert (weights[1] == 0.0).all() and (weights[0] > 0.0).any()


@needs_tensorflow
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("masked", [False, True])
def test_jacobian_is_the_papers_and_the_numeric_one(name, masked):
    import tensorflow as tf

    scores = draw_scores(7, seed=3)
    mask = np.array([True, False, True, True, True, False, True]) if masked else None
    x = tf.constant(scores)
    with tf.GradientTape() as tape:
        tape.watch(x)
        weights = getattr(normalizers, name)(x, mask)
    jacobian = tape.jacobian(weights, x).numpy()
    if name in JACOBIANS:
        theory = JACOBIANS[name](weights.numpy())
        if masked:
            theory[~mask] = theory[:, ~mask] = 0.0
        np.testing.assert_allclose(jacobian, theory, atol=1e-9)
    numeric = reference.numeric_jacobian(lambda z: getattr(reference, name)(z, mask), scores)
    np.testing.assert_allclose(jacobian, numeric, atol=1e-6)


@needs_tensorflow
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_finite_at_the_corners(name, dtype):
    """Ties, -inf, huge differences and a row with nothing real."""
    import tensorflow as tf

    scores = [[1.0, 1.0, 1.0], [0.0, -np.inf, 2.0], [6e4, -6e4, 0.0], [0.5, 0.2, 0.1]]
    x = tf.cast(tf.constant(scores), dtype)
    mask = np.array([[True, True, True], [True, True, True], [True, True, True], [False] * 3])
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(tf.cast(getattr(normalizers, name)(x, mask), "float32") ** 2)
    gradient = tf.cast(tape.gradient(loss, x), "float32").numpy()
    assert np.isfinite(gradient).all()
    assert (gradient[3] == 0.0).all()


@needs_tensorflow
@pytest.mark.parametrize("name", ON_SIMPLEX)
def test_the_only_score_weighs_one_and_has_gradient_zero(name):
    """Zero, not none at all: a batch whose sources have one token each must train too."""
    import tensorflow as tf

    x = tf.constant([[0.3], [-7.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        weights = getattr(normalizers, name)(x)
    assert weights.numpy().tolist() == [[1.0], [1.0]]
    assert tape.gradient(weights, x).numpy().tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("name", ALL)
def test_registered_under_our_name(name):
    normalizer = getattr(normalizers, name)
    assert keras.saving.get_registered_name(normalizer) == f"keras_attention>{name}"
    config = keras.saving.serialize_keras_object(normalizer)
    assert keras.saving.deserialize_keras_object(config) is normalizer


def test_smoothing_sums_to_one_and_lets_no_score_outweigh_all_others():
    scores = draw_scores(5, 29, scale=40.0).astype("float32")
    weights = weigh("smoothed", scores)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    large = (scores > 20.0).sum(-1)
    assert (weights.max(-1) < 1.0 / large + 1e-6).all() and (large > 1).all()
    low = weigh("smoothed", np.array([[-500.0, -501.0]], "float32"))
    np.testing.assert_allclose(low, reference.softmax(np.array([[-500.0, -501.0]])), rtol=1e-4)


@pytest.mark.parametrize("top_k", [None, 1, 3, 100])
def test_sharpening_is_the_softmax_of_more_and_fewer(top_k):
    scores = draw_scores(5, 7)
    mask = np.array([True, True, False, True, True, True, False])
    layer = Sharpened(2.5, top_k, dtype="float32")
    weights = ops.convert_to_numpy(layer(ops.convert_to_tensor(scores, "float32"), mask))
    for row, found in zip(scores, weights, strict=True):
        kept = mask.copy()
        kept[np.argsort(np.where(mask, -row, np.inf))[top_k or 7 :]] = False
        np.testing.assert_allclose(found, reference.softmax(2.5 * row, kept), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_an_inverse_temperature_is_above_zero(value):
    with pytest.raises(
        ValueError, match="`inverse_temperature` must be above 0. Received: inverse"
    ):
        Sharpened(value)


@pytest.mark.parametrize("top_k", [0, -1, 2.0])
def test_top_k_is_a_positive_integer(top_k):
    with pytest.raises(
        ValueError, match="`top_k` must be a positive integer or `None`. Received: top_k="
    ):
        Sharpened(top_k=top_k)
