"""Transcripts of what is still being said."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from applications.speech import features
from applications.speech.config import MONOTONIC
from applications.speech.data import Facts
from applications.speech.model import SpeechRecognizer
from applications.training import text


class Listener:
    """Transcribes recordings while they arrive.

    Args:
        model: A recognizer with monotonic attention, whose encoder reads forwards only.
        facts: Its tokenizer, and how it hears: without deltas, which would need frames to come.

    Raises:
        ValueError: The recognizer has to have a whole recording first.

    Example:

        stream = Listener(model, facts).stream()
        for samples in microphone:
            print(*stream.feed(samples))
        print(*stream.feed(np.zeros(0), last=True))
    """

    def __init__(self, model: SpeechRecognizer, facts: Facts):
        attention = model.config["attention"]
        if attention not in MONOTONIC or model.encoder.bidirectional or facts.heard.deltas:
            raise ValueError(
                "A stream needs a recognizer that was trained with --attention monotonic, mocha or "
                "milk, --no-bidirectional and --no-deltas. Received: attention "
                f"{attention}, bidirectional={model.encoder.bidirectional}, "
                f"deltas={facts.heard.deltas}"
            )
        self.model, self.facts = model, facts

        def compiled(function):
            return tf.function(function, autograph=False, reduce_retracing=True)

        self.hear = compiled(lambda samples: features.piece(samples, facts.heard))
        self.encode = compiled(self._encode)
        self.step = compiled(model.step)

    def stream(self, max_length: int = 200) -> Stream:
        """A recording that begins now, of a transcript of so many tokens at most."""
        return Stream(self, max_length)

    def _encode(self, frames, states):
        """Annotations of the next frames, as the decoder wants them, and the layers' states."""
        lengths = tf.shape(frames)[1][None]
        annotations, _, states = self.model.encoder.run(frames, lengths, states)
        return self.model.decoder.prepare(annotations), states


class Stream:
    """One recording that arrives: each token is given once what it is read from is there.

    In all, it gives what greedy search gives for the whole recording.
    """

    def __init__(self, listener: Listener, max_length: int):
        self._listener, self._max_length = listener, max_length
        encoder, heard = listener.model.encoder, listener.facts.heard
        self._together = encoder.frames_per_annotation
        self._window, _ = features.sizes(heard.sample_rate)
        self._samples = tf.zeros((1, 0))
        self._frames = tf.zeros((1, 0, heard.num_mels))
        self._encoded = [tf.zeros((1, encoder.units))] * encoder.num_layers
        self._memory = self._state = None
        self._last_id = tf.constant([text.START])
        self._count = 0
        self.finished = False
        """Whether the transcript has ended."""

    def feed(self, samples: np.ndarray, last: bool = False) -> list[str]:
        """Hears the next samples (N,), from -1 to 1, and returns the tokens that they complete.

        `last` says that no more will come.
        """
        if self.finished:
            return []
        self._hear(tf.constant(samples[None], tf.float32), last)
        self._encode(last)
        tokens: list[str] = []
        while self._memory is not None and not self.finished and self._count < self._max_length:
            log_probs, state, weights = self._listener.step(
                self._last_id, self._state, self._memory
            )
            if not (last or np.any(weights)):
                break  # Where this token is read from has not been said yet.
            self._state, self._count = state, self._count + 1
            self._last_id = tf.argmax(log_probs, axis=-1, output_type=tf.int32)
            self.finished = int(self._last_id[0]) == text.END
            if not self.finished:
                (token,) = self._listener.facts.tokenizer.tokens(self._last_id).numpy()
                tokens.append(token.decode("utf-8"))
        self.finished |= last or self._count == self._max_length
        return tokens

    def _hear(self, samples: tf.Tensor, last: bool) -> None:
        """Makes frames of all samples that fill a window."""
        self._samples = tf.concat([self._samples, samples], axis=1)
        missing = self._window - self._samples.shape[1]
        nothing_yet = self._memory is None and self._frames.shape[1] == 0
        if last and nothing_yet and missing > 0:  # A recording has one frame at least.
            self._samples = tf.pad(self._samples, [[0, 0], [0, missing]])
        frames, self._samples = self._listener.hear(self._samples)
        self._frames = tf.concat([self._frames, frames], axis=1)

    def _encode(self, last: bool) -> None:
        """Makes annotations of all frames that fill one, or, at the end, of all."""
        count = self._frames.shape[1]
        count = count if last else count // self._together * self._together
        if count == 0:
            return
        now, self._frames = self._frames[:, :count], self._frames[:, count:]
        new, self._encoded = self._listener.encode(now, self._encoded)
        if self._memory is None:
            self._memory = new
            self._state = self._listener.model.decoder.initial_state(new)
            return
        keys, values = keras.tree.map_structure(
            lambda before, more: ops.concatenate([before, more], axis=1),
            (self._memory.keys, self._memory.values),
            (new.keys, new.values),
        )
        self._memory = new._replace(keys=keys, values=values)
        (stopped,) = self._state.attention
        stopped = ops.pad(stopped, [[0, 0], [0, new.values.shape[1]]])
        self._state = self._state._replace(attention=(stopped,))
