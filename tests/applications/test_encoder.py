"""The encoder beside Keras' own layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from applications.training import encoder as encoders
from applications.training.encoder import BidirectionalGRU

B, T, D, UNITS = 3, 7, 5, 11
LENGTHS = np.array([7, 4, 1])
MASK = np.arange(T) < LENGTHS[:, None]


@pytest.fixture
def inputs():
    return np.random.default_rng(1).normal(size=(B, T, D)).astype(np.float32)


@pytest.fixture
def encoder(inputs):
    encoder = BidirectionalGRU(UNITS)
    encoder(inputs, mask=MASK)
    rng = np.random.default_rng(2)
    encoder.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in encoder.weights])
    return encoder


def test_it_gives_the_numbers_of_keras(encoder, inputs):
    gru = layers.GRU(UNITS, return_sequences=True, return_state=True)
    bidirectional = layers.Bidirectional(gru)
    bidirectional(inputs)
    bidirectional.set_weights(encoder.get_weights())
    annotations, forward, backward = bidirectional(inputs, mask=MASK)
    found = encoder(inputs, mask=MASK)
    np.testing.assert_allclose(
        found.annotations.numpy()[MASK], annotations.numpy()[MASK], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(found.forward, forward, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.backward, backward, rtol=1e-4, atol=1e-5)


def test_it_begins_with_the_states_it_is_given(encoder, inputs):
    """Read in two halves, forwards and backwards, what was read is as in one."""
    whole = encoder(inputs[:1], mask=MASK[:1])
    zeros = tf.zeros((1, UNITS))
    ahead = encoder(inputs[:1, :4], mask=MASK[:1, :4])
    behind = encoder(inputs[:1, 4:], mask=MASK[:1, 4:])
    later = encoder(inputs[:1, 4:], mask=MASK[:1, 4:], state=(ahead.forward, zeros))
    before = encoder(inputs[:1, :4], mask=MASK[:1, :4], state=(zeros, behind.backward))
    np.testing.assert_allclose(later.forward, whole.forward, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(before.backward, whole.backward, rtol=1e-5, atol=1e-6)


def test_on_a_gpu_training_goes_by_keras_own_layers_and_inference_does_not(
    encoder, inputs, monkeypatch
):
    """Which are cuDNN's there, and on this CPU a loop of Keras'."""

    def found(training):
        with tf.GradientTape() as tape:
            encoded = encoder(inputs, mask=MASK, training=training)
            real = tf.boolean_mask(encoded.annotations, MASK)
            loss = sum(tf.reduce_sum(tf.sin(each)) for each in (real, *encoded[1:]))
        return (real, *encoded[1:]), tape.gradient(loss, encoder.trainable_weights)

    ours = found(training=True)
    calls = []
    by_keras = encoder._by_keras
    monkeypatch.setattr(encoder, "_by_keras", lambda *given: calls.append(1) or by_keras(*given))
    monkeypatch.setattr(encoders, "on_gpu", lambda: True)
    theirs = found(training=True)
    assert calls == [1]
    for one, other in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    found(training=False)
    assert calls == [1]


def test_padding_changes_nothing(encoder, inputs):
    found = encoder(inputs, mask=MASK)
    padded = np.concatenate([inputs, np.full((B, 6, D), 9.0, np.float32)], axis=1)
    again = encoder(padded, mask=np.pad(MASK, ((0, 0), (0, 6))))
    np.testing.assert_allclose(
        again.annotations.numpy()[:, :T][MASK], found.annotations.numpy()[MASK], atol=1e-6
    )
    np.testing.assert_allclose(again.forward, found.forward, atol=1e-6)
    np.testing.assert_allclose(again.backward, found.backward, atol=1e-6)


def test_it_is_saved_and_loaded(encoder, inputs, tmp_path):
    given, mask = keras.Input((None, D)), keras.Input((None,), dtype="bool")
    model = keras.Model([given, mask], encoder(given, mask=mask).annotations)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded([inputs, MASK]), model([inputs, MASK]))
