"""Two worlds small enough for all choices to be made, and for the gradient to be known exactly."""

from __future__ import annotations

import itertools

import keras
import numpy as np

from keras_attention import (
    AttentionCell,
    AttentionDecoder,
    BilinearScore,
    DotScore,
    HardAttention,
    score_function,
)
from tests import reference

# The urn: one query, whose scores are the model's only weights, draws one of `PRIZES`.
PRIZES = np.array([4.0, 5.0, 7.0])
LOGITS = np.array([[0.3, 0.9, -0.4]])
COST = PRIZES**2  # of what is drawn: the squared error to the target, which is 0


def urn(**options):
    """A model from dummies (B, 1, 1) and prizes (B, 3, 1) to the prize that was drawn, (B, 1)."""
    dummy, prizes = keras.Input((1, 1)), keras.Input((3, 1))
    logits = keras.layers.Dense(3, use_bias=False, name="logits")
    # Each prize's key is one-hot, so that the scores of a query are the query itself.
    keys = keras.layers.Lambda(one_hot_keys, output_shape=(3, 3))(prizes)
    drawn = HardAttention(DotScore(scale=1.0), name="hard", **options)(logits(dummy), prizes, keys)
    model = keras.Model([dummy, prizes], keras.layers.Reshape((1,))(drawn))
    logits.kernel.assign(LOGITS)
    return model


@keras.saving.register_keras_serializable(package="tests")
def one_hot_keys(prizes):
    return keras.ops.broadcast_to(keras.ops.eye(3)[None], (keras.ops.shape(prizes)[0], 3, 3))


def urns(number):
    """The inputs of so many urns, and their targets."""
    prizes = np.tile(PRIZES[None, :, None], (number, 1, 1)).astype("float32")
    return [np.ones((number, 1, 1), "float32"), prizes], np.zeros((number, 1), "float32")


def urn_gradient(cost=COST):
    """Of the expected cost by the logits: p_i (cost_i - E[cost])."""
    p = reference.softmax(LOGITS[0])
    return p * (cost - p @ cost)


# The walk: a decoder of two steps, each of which reads one of three values.
B, T, Tv, D, Dv, UNITS, CLASSES = 2, 2, 3, 2, 4, 3, 5
_draw = np.random.default_rng(5)
INPUTS = _draw.normal(size=(B, T, D)).astype("float32")
VALUE = 2.0 * _draw.normal(size=(B, Tv, Dv)).astype("float32")
TARGETS = _draw.integers(0, CLASSES, (B, T))
SHAPES = [(D + Dv, UNITS), (UNITS, UNITS), (UNITS,), (Dv, UNITS), (UNITS, CLASSES), (CLASSES,)]
WEIGHTS = [0.7 * _draw.normal(size=shape) for shape in SHAPES]


def walk(**options):
    """A model from inputs (B, T, D) and values (B, Tv, Dv) to logits (B, T, 5)."""
    inputs, value = keras.Input((None, D)), keras.Input((Tv, Dv))
    cell = AttentionCell(
        keras.layers.SimpleRNNCell(UNITS), HardAttention(BilinearScore(), **options)
    )
    decoded = AttentionDecoder(cell)(inputs, value)
    model = keras.Model([inputs, value], keras.layers.Dense(CLASSES)(decoded.outputs))
    model.set_weights(WEIGHTS + [np.zeros(w.shape, w.dtype) for w in model.get_weights()[6:]])
    return model


def walk_paths(weights, b):
    """The probability of each way through example b, and the costs of its steps."""
    W, U, bias, K, V, c = weights
    for path in itertools.product(range(Tv), repeat=T):
        hidden, probability, costs = np.zeros(UNITS), 1.0, []
        for t, i in enumerate(path):
            scores = reference.bilinear_score(hidden[None], VALUE[b].astype("float64"), K)[0]
            probability *= reference.softmax(scores)[i]
            hidden = np.tanh(np.concatenate([INPUTS[b, t], VALUE[b, i]]) @ W + hidden @ U + bias)
            costs.append(-np.log(reference.softmax(hidden @ V + c)[TARGETS[b, t]]))
        yield probability, np.array(costs)


def expected_cost(weights):
    """The mean cost of a step."""
    return np.mean([sum(p * costs.mean() for p, costs in walk_paths(weights, b)) for b in range(B)])


def expected_bound(weights):
    """The same of two samples' bound, -log(mean_s exp(-cost_s)), by steps."""
    total = 0.0
    for b in range(B):
        for (p, one), (q, two) in itertools.product(walk_paths(weights, b), repeat=2):
            total -= p * q * np.log((np.exp(-one.sum()) + np.exp(-two.sum())) / 2)
    return total / (B * T)


def derivative(function):
    """Of a function of `WEIGHTS`, by central differences, flat."""
    slopes = []
    for n, weight in enumerate(WEIGHTS):
        for index in np.ndindex(weight.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [w.copy() for w in WEIGHTS]
                moved[n][index] += step
                ends.append(function(moved))
            slopes.append((ends[0] - ends[1]) / 2e-5)
    return np.array(slopes)


# Measuring.


def trainer(model, estimator=None, loss="mse", **options):
    """A compiled trainer that moves nothing."""
    estimator = score_function.Reinforce() if estimator is None else estimator
    made = score_function.ScoreFunctionModel(model, estimator, **options)
    made.compile(keras.optimizers.SGD(0.0), loss)
    return made


def crossentropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def measure(made, data, repeats, estimator=None):
    """The gradient's mean and variance of one draw of this batch, each flat."""
    *inputs, targets = data
    moments = score_function.gradient_moments(
        made, list(inputs), targets, repeats=repeats, estimator=estimator
    )
    return tuple(np.concatenate([m[i].ravel() for m in moments.values()]) for i in (0, 1))


def assert_unbiased(found, variance, repeats, exact, resolution=0.1):
    """The mean is within 4 standard errors of the exact gradient, which are small beside it."""
    error = np.sqrt(variance / repeats)
    assert np.linalg.norm(error) < resolution * np.linalg.norm(exact)
    np.testing.assert_array_less(np.abs(found - exact), 4.0 * error + 1e-5)
