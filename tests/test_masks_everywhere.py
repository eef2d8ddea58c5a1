"""One mask contract (see `keras_attention.masking`) for every score, normaliser and dtype."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest
from keras import ops

import keras_attention
from keras_attention import (
    AdditiveScore,
    AlphaEntmax,
    BilinearScore,
    CosineScore,
    DotScore,
    LocationAwareScore,
    NetworkScore,
    Score,
    Sharpened,
    SoftAttention,
    normalizers,
)
from tests import reference

B, Tq, Tv, D = 5, 2, 7, 3
SCORES = {
    AdditiveScore: lambda **options: AdditiveScore(5, **options),
    BilinearScore: BilinearScore,
    CosineScore: lambda **options: CosineScore(3.0, trainable_scale=True, **options),
    DotScore: DotScore,
    LocationAwareScore: lambda **options: LocationAwareScore(5, 2, 3, "both", **options),
    NetworkScore: lambda **options: NetworkScore(keras.layers.Dense(1, **options), **options),
}
NORMALIZERS = {
    "AlphaEntmax": lambda dtype: AlphaEntmax(1.3, dtype=dtype),
    "Sharpened": lambda dtype: Sharpened(1.5, dtype=dtype),
    "alpha_entmax": lambda dtype: normalizers.alpha_entmax,
    "entmax15": lambda dtype: normalizers.entmax15,
    "sigmoid": lambda dtype: normalizers.sigmoid,
    "smoothed": lambda dtype: normalizers.smoothed,
    "softmax": lambda dtype: normalizers.softmax,
    "sparsemax": lambda dtype: normalizers.sparsemax,
}
DTYPES = {"float32": 1e-4, "float16": 0.01, "bfloat16": 0.06}  # and how near equals are
needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="takes gradients by TensorFlow's own means"
)

# By sequence: nothing masked, holes, one value left, nothing left, nothing left for one query.
VALUE_MASK = np.ones((B, Tv), bool)
VALUE_MASK[1, [0, 3, 6]] = VALUE_MASK[2, np.arange(Tv) != 4] = VALUE_MASK[3] = False
QUERY_MASK = np.ones((B, Tq), bool)
QUERY_MASK[4, 1] = False
REAL = VALUE_MASK[:, None] & QUERY_MASK[:, :, None]  # (B, Tq, Tv)


def every_combination(test):
    for names, values in (("dtype", DTYPES), ("name", NORMALIZERS)):
        test = pytest.mark.parametrize(names, values)(test)
    return pytest.mark.parametrize("score", SCORES, ids=lambda score: score.__name__)(test)


def make(score, name, dtype):
    return SoftAttention(SCORES[score](dtype=dtype), NORMALIZERS[name](dtype), dtype=dtype)


def inputs(dtype, pad=0):
    """A query and values, which end in `pad` more, with numbers that would show."""
    draw = np.random.default_rng(7)
    query, value = draw.normal(size=(B, Tq, D)), draw.normal(size=(B, Tv, D))
    value[~VALUE_MASK] = 60.0
    value = np.pad(value, ((0, 0), (0, pad), (0, 0)), constant_values=90.0)
    mask = np.pad(VALUE_MASK, ((0, 0), (0, pad)))
    return ops.cast(query, dtype), ops.cast(value, dtype), mask


def look(layer, query, value, mask):
    """Context and weights, as tensors."""
    return layer(query, value, value_mask=mask, query_mask=QUERY_MASK, return_attention_scores=True)


def numpy(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


def test_every_score_and_every_normalizer_is_here():
    public = [getattr(keras_attention, name) for name in keras_attention.__all__]
    scores = {each for each in public if inspect.isclass(each) and issubclass(each, Score)}
    assert scores - {Score} == set(SCORES)
    assert set(normalizers.__all__) == set(NORMALIZERS)


@every_combination
def test_masked_is_zero_and_padding_changes_nothing(score, name, dtype):
    layer = make(score, name, dtype)
    context, weights = (numpy(each) for each in look(layer, *inputs(dtype)))
    assert (weights[~REAL] == 0.0).all()
    assert np.isfinite(context).all() and (context[3] == 0.0).all() and (context[4, 1] == 0.0).all()
    assert (context[[0, 1, 2]] != 0.0).all()
    # No value that is masked is read, and none is left out.
    value = numpy(inputs(dtype)[1])
    np.testing.assert_allclose(context, np.where(REAL, weights, 0.0) @ value, 0.02, 0.02)
    if name != "sigmoid":
        np.testing.assert_allclose(weights.sum(-1), REAL.any(-1), atol=DTYPES[dtype])
    padded, padded_weights = (numpy(each) for each in look(layer, *inputs(dtype, pad=2)))
    assert (padded_weights[:, :, Tv:] == 0.0).all()
    np.testing.assert_allclose(padded_weights[:, :, :Tv], weights, atol=DTYPES[dtype])
    np.testing.assert_allclose(padded, context, DTYPES[dtype], DTYPES[dtype])


@needs_tensorflow
@every_combination
def test_gradients_are_finite_and_reach_nothing_masked(score, name, dtype):
    import tensorflow as tf

    layer = make(score, name, dtype)
    query, value, mask = inputs(dtype)
    layer.build(query.shape, value.shape)
    with tf.GradientTape() as tape:
        tape.watch([query, value])
        context, weights = look(layer, query, value, mask)
        loss = sum(tf.reduce_sum(tf.cast(each, "float32") ** 2) for each in (context, weights))
    sources = [query, value, *(each.value for each in layer.trainable_variables)]
    gradients = tape.gradient(loss, sources)
    assert all(np.isfinite(numpy(each)).all() for each in gradients)
    by_query, by_value = (numpy(each) for each in gradients[:2])
    assert (by_value[~VALUE_MASK] == 0.0).all() and (by_value[0] != 0.0).any()
    assert (by_query[3] == 0.0).all() and (by_query[4, 1] == 0.0).all()


@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "scores",
    [
        [-20.0, -21.0, -23.0, -400.0],  # exponentials that are 0 in float16
        [-6e4, -6e4, -6.2e4, -6.4e4],  # what others take for minus infinity
        [6e4, -6e4, 0.0, 5.9e4],  # differences that overflow float16
        [20.0, 19.0, 12.0, 0.0],  # exponentials that overflow float16
    ],
)
def test_scores_at_the_ends_of_half_precision(name, dtype, scores):
    """Weighed as precisely as the same numbers are in float64, the first three of them real."""
    layer = SoftAttention(DotScore(dtype=dtype), NORMALIZERS[name](dtype), dtype=dtype)
    value = ops.cast(np.array(scores)[None, :, None], dtype)
    mask = np.array([[True, True, True, False]])
    _, weights = layer(
        ops.ones((1, 1, 1), dtype), value, value_mask=mask, return_attention_scores=True
    )
    layers = {
        "AlphaEntmax": lambda scores: reference.alpha_entmax(scores, alpha=1.3),
        "Sharpened": lambda scores: reference.softmax(1.5 * scores),
    }
    oracle = layers[name] if name in layers else getattr(reference, name)
    expected = np.zeros(4)
    with np.errstate(over="ignore"):  # of the oracle's own sigmoid
        expected[:3] = oracle(numpy(value)[0, :3, 0].astype("float64"))
    np.testing.assert_allclose(numpy(weights)[0, 0], expected, rtol=0.01, atol=1e-6)


@pytest.mark.parametrize("score", SCORES, ids=lambda score: score.__name__)
@pytest.mark.parametrize("argument", ["query", "value", "key"])
def test_an_explicit_mask_beats_the_one_that_rides(score, argument):
    layer = make(score, "softmax", "float32")
    tensors = {name: inputs("float32")[name != "query"] for name in ("query", "value", "key")}
    ridden = numpy(tensors[argument]).copy()
    ridden[:, 1] = 0.0
    tensors[argument] = ops.convert_to_tensor(ridden)
    mask = np.ones(ridden.shape[:2], bool)
    mask[:, 1] = False

    def weigh(tensors, **masks):
        return numpy(layer(**tensors, **masks, return_attention_scores=True)[1])

    riding = {**tensors, argument: keras.layers.Masking()(ridden)}
    explicit = weigh(tensors, **{f"{argument}_mask": mask})
    np.testing.assert_array_equal(weigh(riding), explicit)
    everything = weigh(riding, **{f"{argument}_mask": np.ones_like(mask)})
    np.testing.assert_array_equal(everything, weigh(tensors))
    assert (everything != explicit).any()


@pytest.mark.parametrize("score", SCORES, ids=lambda score: score.__name__)
@pytest.mark.parametrize("known", [False, True])
def test_the_symbolic_shape_of_cross_attention(score, known):
    """(B, Tq, Tv), and not Tq twice."""
    lengths = (Tq, Tv) if known else (None, None)
    query, value = (keras.Input((length, D)) for length in lengths)
    context, weights = make(score, "AlphaEntmax", "float32")(
        query, value, return_attention_scores=True
    )
    assert tuple(context.shape) == (None, lengths[0], D)
    assert tuple(weights.shape) == (None, *lengths)


@pytest.mark.skipif(keras.__version__ != "3.15.1", reason="another Keras may do better")
def test_what_keras_does():
    """Why there is a contract."""
    value = np.ones((1, 3, 1), "float32")
    nothing = np.zeros((1, 3), bool)
    _, weights = keras.layers.Attention()(
        [np.ones((1, 1, 1), "float32"), value],
        mask=[None, nothing],
        return_attention_scores=True,
    )
    np.testing.assert_allclose(weights, np.full((1, 1, 3), 1 / 3), rtol=1e-6)  # of padding
    query, values = keras.Input((2, 3)), keras.Input((7, 3))
    _, weights = keras.layers.MultiHeadAttention(1, 3)(query, values, return_attention_scores=True)
    assert tuple(weights.shape) == (None, 1, 2, 2)  # of which the last should be 7
