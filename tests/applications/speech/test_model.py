"""The recognizer, with each kind of attention."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from applications.speech import model
from applications.speech.config import SpeechConfig
from applications.speech.data import Facts
from applications.speech.features import Heard
from applications.speech.streaming import Listener
from applications.training import text
from keras_attention import LocalAttention, LocationAwareScore, MonotonicAttention, normalizers

SMALL = SpeechConfig(units=6, embedding_units=5, num_mels=7, deltas=False, tokens="words")
FACTS = Facts(
    text.train("words", ["yes no"], 10, lowercase=False),
    Heard(8000, 7, False, np.full(7, -3.0, np.float32), np.full(7, 2.0, np.float32)),
)
KINDS = {
    "content": {"window": 0},
    "content, window": {"window": 3},
    "location": {"looks_at": "both"},
    "location, everywhere": {"window": 0},
    "smooth": {"kernel_size": 5, "filters": 2, "window": 0},
    "monotonic": {"initial_bias": -2.0, "bidirectional": False},
    "mocha": {"chunk": 3, "pre_sigmoid_noise": (0.5, 4.0)},
    "milk": {},
}


def batch():
    random = np.random.default_rng(3)
    inputs = {
        "audio": random.normal(size=(2, 4000)).astype("float32"),
        "audio_lengths": np.array([4000, 2600], np.int32),
        "transcript": np.array([[text.START, 4, 5], [text.START, 5, text.PAD]], np.int32),
    }
    labels = np.array([[4, 5, text.END], [5, text.END, text.PAD]], np.int32)
    return inputs, labels, (labels != text.PAD).astype("float32")


def config(kind):
    return dataclasses.replace(SMALL, attention=kind.split(",")[0], **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_trains_every_weight_and_a_file_keeps_them(kind, tmp_path):
    recognizer = model.build(config(kind), FACTS)
    inputs, labels, weights = batch()
    before = {v.path: np.array(v) for v in recognizer.trainable_variables}
    recognizer.optimizer.learning_rate.assign(0.1)
    recognizer.train_on_batch(inputs, labels, weights)
    still = [
        v.path for v in recognizer.trainable_variables if (before[v.path] == np.array(v)).all()
    ]
    # A softmax does not change by what is added to all scores.
    assert [path for path in still if not path.endswith(("score/bias", "score/v"))] == []
    recognizer.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(revived(inputs), recognizer(inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["location", "monotonic"])
def test_recordings_stand_among_others_in_training_alone(kind, tmp_path):
    recognizer = model.build(dataclasses.replace(config(kind), going_on=0.5), FACTS)
    inputs, labels, weights = batch()
    inputs["goes_on"] = np.array([True, False])
    before = recognizer(inputs)
    recognizer(inputs, training=True)
    assert (recognizer.encoder.ends.numpy()[:2] != 0.0).all()
    np.testing.assert_array_equal(recognizer(inputs), before)
    recognizer.train_on_batch(inputs, labels, weights)
    recognizer.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(revived.encoder.ends, recognizer.encoder.ends)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_logit(kind):
    recognizer, (inputs, *_) = model.build(config(kind), FACTS), batch()
    longer = {**inputs, "audio": np.pad(inputs["audio"], [(0, 0), (0, 3000)], constant_values=9.0)}
    np.testing.assert_allclose(recognizer(longer), recognizer(inputs), rtol=1e-4, atol=1e-5)


def test_kinds_are_what_they_say():
    def attention(kind):
        return model.build(config(kind), FACTS).decoder.cell.attention

    windowed, located, smooth, mocha, milk = map(
        attention, ("content, window", "location", "smooth", "mocha", "milk")
    )
    assert isinstance(windowed, LocalAttention) and windowed.window == 3
    assert isinstance(located.score, LocationAwareScore) and located.score.looks_at == "both"
    assert smooth.normalizer is normalizers.smoothed and smooth.score.filters == 2
    assert isinstance(mocha, MonotonicAttention)
    assert (mocha.chunk_size, mocha.noise, mocha.initial_bias) == (3, 0.5, -1.0)
    assert milk.chunk_size is None


def test_samples_stay_precise_in_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = model.build(config("location"), FACTS)
    finally:
        keras.config.set_dtype_policy("float32")
    inputs, *_ = batch()
    heard = []
    original = half.hear

    def hear(audio, lengths):
        heard.append(audio)
        return original(audio, lengths)

    half.hear = hear
    half(inputs)
    np.testing.assert_array_equal(heard[0], inputs["audio"])
    assert tf.as_dtype(heard[0].dtype) == tf.float32


def test_what_needs_the_whole_recording_does_not_listen():
    with pytest.raises(
        ValueError,
        match="A stream needs a recognizer that was trained with .* Received: attention location, "
        "bidirectional=True, deltas=False",
    ):
        Listener(model.build(config("location"), FACTS), FACTS)


def test_the_decoder_forgets_in_training_only():
    forgetful = dataclasses.replace(config("location"), dropout=0.0, forgetting=0.9)
    recognizer, (inputs, *_) = model.build(forgetful, FACTS), batch()
    np.testing.assert_array_equal(recognizer(inputs), recognizer(inputs))
    assert np.any(recognizer(inputs, training=True) != recognizer(inputs))
