"""The smoothed cross-entropy against its definition."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from applications.training.crossentropy import SmoothedCrossentropy, smoothed_crossentropy

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(size=(7, 11)).astype("float32") * 3.0
LABELS = RNG.integers(0, 11, 7).astype("int32")


def definition(logits, labels, smoothing):
    """Cross-entropy between the smoothed one-hot distribution and the softmax."""
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    truth = np.eye(logits.shape[-1])[labels] * (1.0 - smoothing) + smoothing / logits.shape[-1]
    return -(truth * log_probs).sum(-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_values_are_those_of_the_definition(smoothing):
    value = smoothed_crossentropy(tf.constant(LABELS), tf.constant(LOGITS), smoothing)
    np.testing.assert_allclose(value, definition(LOGITS, LABELS, smoothing), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_is_that_of_automatic_differentiation(smoothing):
    logits = tf.constant(LOGITS)
    upstream = tf.constant(RNG.normal(size=7).astype("float32"))
    truth = tf.one_hot(LABELS, 11) * (1.0 - smoothing) + smoothing / 11

    def gradient(loss):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            total = tf.reduce_sum(upstream * loss())
        return tape.gradient(total, logits)

    ours = gradient(lambda: smoothed_crossentropy(tf.constant(LABELS), logits, smoothing))
    theirs = gradient(lambda: tf.nn.softmax_cross_entropy_with_logits(truth, logits))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_huge_logits_stay_finite():
    logits = tf.constant([[1e30, -1e30, 0.0]])
    assert np.isfinite(smoothed_crossentropy(tf.constant([0]), logits, 0.0)).all()


def test_the_mean_is_over_real_tokens():
    loss = SmoothedCrossentropy(0.1)
    labels, logits = LABELS[None], LOGITS[None]
    weights = np.array([[1, 1, 1, 0, 0, 0, 0]], "float32")
    short = loss(labels[:, :3], logits[:, :3], weights[:, :3])
    np.testing.assert_allclose(loss(labels, logits, weights), short, rtol=1e-6)


def test_config_comes_back():
    loss = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(SmoothedCrossentropy(0.3))
    )
    assert loss.smoothing == 0.3
