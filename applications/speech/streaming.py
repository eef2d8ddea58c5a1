"""Transcripts of what is still being said."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from applications.speech import features
from applications.speech.data import Facts
from applications.speech.model import Recognizer
from applications.training import text

FORWARDS = ("monotonic", "mocha", "milk")


class Stream:
    """Transcribes one recording while it arrives: each token once what it is read from is there.

    What it gives in all is what greedy search gives for the whole recording. It does as much work
    for each annotation, however many came before.

    Args:
        model: A recognizer with monotonic attention, whose encoder reads forwards only.
        facts: Its tokenizer, and how it hears: without deltas, which would need frames to come.
        max_length: Longest transcript, in tokens.

    Raises:
        ValueError: The recognizer has to have the whole recording first.

    Example:

        stream = Stream(model, facts)
        for samples in microphone:
            print(*stream.feed(samples))
        print(*stream.feed(np.zeros(0, np.float32), last=True))
    """

    def __init__(self, model: Recognizer, facts: Facts, max_length: int = 200):
        attention = model.config["attention"]
        if attention not in FORWARDS or model.encoder.bidirectional or facts.heard.deltas:
            raise ValueError(
                "A stream needs a recognizer that was trained with --attention monotonic, mocha or "
                "milk, --no-bidirectional and --no-deltas. Received: attention "
                f"{attention}, bidirectional={model.encoder.bidirectional}, "
                f"deltas={facts.heard.deltas}"
            )
        self._model, self._facts, self._max_length = model, facts, max_length
        self._samples = np.zeros((1, 0), np.float32)
        self._frames = np.zeros((1, 0, facts.heard.num_mels), np.float32)
        encoder = model.encoder
        self._encoded = [np.zeros((1, encoder.units), np.float32)] * encoder.num_layers
        self._memory = self._state = None
        self._last_id = tf.constant([text.START])
        self._count = 0
        self.finished = False
        """Whether the transcript has ended."""
        self._step = tf.function(model.step, autograph=False, reduce_retracing=True)

    def feed(self, samples: np.ndarray, last: bool = False) -> list[str]:
        """Hears the next samples (N,), from -1 to 1, and returns the tokens that they complete.

        `last` says that no more will come.
        """
        if self.finished:
            return []
        self._samples = np.concatenate([self._samples, samples[None].astype(np.float32)], axis=1)
        self._hear(last)
        self._encode(last)
        tokens = []
        while self._memory is not None and not self.finished and self._count < self._max_length:
            log_probs, state, weights = self._step(self._last_id, self._state, self._memory)
            if not (last or np.any(weights)):
                break  # Where this token is read from has not been said yet.
            self._state, self._count = state, self._count + 1
            self._last_id = tf.argmax(log_probs, axis=-1, output_type=tf.int32)
            self.finished = int(self._last_id[0]) == text.END
            if not self.finished:
                (token,) = self._facts.tokenizer.tokens(self._last_id).numpy()
                tokens.append(token.decode("utf-8"))
        self.finished |= last
        return tokens

    def _hear(self, last: bool) -> None:
        """Makes frames of all samples that fill a window."""
        heard = self._facts.heard
        window, _ = features.sizes(heard.sample_rate)
        nothing_yet = self._memory is None and self._frames.shape[1] == 0
        if last and nothing_yet and 0 < self._samples.shape[1] < window:
            missing = window - self._samples.shape[1]
            self._samples = np.pad(self._samples, [(0, 0), (0, missing)])
        frames, rest = features.piece(tf.constant(self._samples), heard)
        self._samples = rest.numpy()
        self._frames = np.concatenate([self._frames, frames.numpy()], axis=1)

    def _encode(self, last: bool) -> None:
        """Makes annotations of all frames that fill one, or, at the end, of all."""
        together = self._model.encoder.frames_per_annotation
        count = self._frames.shape[1]
        count = count if last else count // together * together
        if count == 0:
            return
        now, self._frames = self._frames[:, :count], self._frames[:, count:]
        lengths = np.array([count], np.int32)
        annotations, _, self._encoded = self._model.encoder.run(now, lengths, self._encoded)
        memory = self._model.decoder.prepare(annotations)
        if self._memory is None:
            self._memory = memory
            self._state = self._model.decoder.initial_state(memory)
            return
        together = keras.tree.map_structure(
            lambda before, new: ops.concatenate([before, new], axis=1),
            (self._memory.keys, self._memory.values),
            (memory.keys, memory.values),
        )
        self._memory = memory._replace(keys=together[0], values=together[1])
        more = ops.shape(annotations)[1]
        (stopped,) = self._state.attention
        stopped = ops.pad(stopped, [[0, 0], [0, more]])
        self._state = self._state._replace(attention=(stopped,))
