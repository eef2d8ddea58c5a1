"""Recordings in, transcripts and alignments out: one graph for evaluation and for serving."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.speech import features
from applications.speech.config import SpeechExport
from applications.speech.data import Facts
from applications.speech.model import SpeechRecognizer
from applications.training import text
from applications.training.task import Exported
from export import Signature


class Transcript(NamedTuple):
    """The best transcript of one recording, and where each of its tokens was heard."""

    text: str
    score: float
    tokens: list[str]
    weights: np.ndarray  # (tokens, annotations)
    times: np.ndarray  # (annotations,), seconds at which each begins


class Recognize(tf.Module):
    """The whole road from recordings to transcripts, as one function of tensors.

    Lengths are explicit, since a batching server pads outputs as it likes.

    Args:
        model: A trained recognizer.
        facts: Its tokenizer, and how it hears.
        options: What the search is to do.

    Call arguments:
        audio: Samples (B, N) float32, from -1 to 1.
        lengths: (B,) int32, how many samples of each row are real.

    Returns:
        A dict, with N transcripts of each recording, best first, T the longest, and S the most
        annotations: `transcripts` (B, N), `scores` (B, N), by which they are ranked, `tokens`
        (B, N, T), `lengths` (B, N), `weights` (B, N, T, S), `times` (B, S), at how many seconds
        each annotation begins, and `annotation_lengths` (B,).
    """

    def __init__(self, model: SpeechRecognizer, facts: Facts, options: SpeechExport):
        super().__init__()
        self.model, self.facts, self.options = model, facts, options
        signature = [tf.TensorSpec((None, None)), tf.TensorSpec((None,), tf.int32)]
        self.run = tf.function(self.__call__, input_signature=signature, autograph=False)

    def __call__(self, audio: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        options, tokenizer = self.options, self.facts.tokenizer
        annotations, heard = self.model.encode(audio, lengths)
        found = self.model.transcribe(
            annotations,
            heard,
            beam_width=options.beam_width,
            num_hypotheses=options.num_transcripts,
            max_length=options.max_length,
            length_penalty=options.length_penalty,
        )
        longest = tf.reduce_max(found.lengths)
        real = tf.sequence_mask(found.lengths, longest)  # (B, N, T)
        ids = tf.where(real, found.ids[:, :, :longest], text.PAD)
        shape = tf.shape(found.lengths)
        at = tf.range(tf.shape(annotations)[1])
        times = tf.cast(at, tf.float32) * self.seconds_per_annotation
        return {
            "transcripts": tf.reshape(tokenizer.decode(tf.reshape(ids, (-1, longest))), shape),
            "scores": found.scores,
            "tokens": tokenizer.tokens(ids),
            "lengths": found.lengths,
            "weights": tf.where(real[..., None], found.weights[:, :, :longest], 0.0),
            "times": tf.where(tf.sequence_mask(heard, tf.size(at)), times, 0.0),
            "annotation_lengths": heard,
        }

    @property
    def seconds_per_annotation(self) -> float:
        return features.STEP * self.model.encoder.frames_per_annotation

    def samples(self, audio: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same of what a client sends, which is checked."""
        longest = tf.shape(audio)[1]
        checks = (
            tf.debugging.assert_positive(lengths, "Expected lengths of at least 1."),
            tf.debugging.assert_less_equal(lengths, longest, "Expected lengths within audio."),
        )
        with tf.control_dependencies(checks):
            real = tf.sequence_mask(tf.identity(lengths), longest)
        return self(tf.where(real, audio, 0.0), lengths)

    def files(self, recordings: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same of WAV files, as strings of bytes (B,): 16-bit PCM, whose channels are mixed."""
        rate = self.facts.heard.sample_rate

        def read(content: tf.Tensor) -> tf.RaggedTensor:
            audio, found = tf.audio.decode_wav(content)
            message = f"Expected WAV files of {rate} samples a second, with some in it."
            checks = (
                tf.debugging.assert_equal(found, rate, message),
                tf.debugging.assert_positive(tf.shape(audio)[0], message),
            )
            with tf.control_dependencies(checks):
                mixed = tf.reduce_mean(audio, axis=1)
            return tf.RaggedTensor.from_tensor(mixed[None])[0]

        spec = tf.RaggedTensorSpec((None,), tf.float32, ragged_rank=0)
        ragged = tf.map_fn(read, recordings, fn_output_signature=spec)
        return self(ragged.to_tensor(), tf.cast(ragged.row_lengths(), tf.int32))

    def all(self, recordings: Sequence[np.ndarray], batch_size: int = 50) -> list[Transcript]:
        """Transcripts of any number of recordings, those of similar length together."""
        order = sorted(range(len(recordings)), key=lambda index: len(recordings[index]))
        found: dict[int, Transcript] = {}
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            audio, lengths = features.padded([recordings[index] for index in indices])
            found.update(zip(indices, self._unpack(self.run(audio, lengths)), strict=True))
        return [found[index] for index in range(len(recordings))]

    def _unpack(self, outputs: dict[str, tf.Tensor]) -> Iterator[Transcript]:
        arrays = {name: value.numpy() for name, value in outputs.items()}
        for row, heard in enumerate(arrays["annotation_lengths"]):
            length = arrays["lengths"][row, 0]
            yield Transcript(
                arrays["transcripts"][row, 0].decode("utf-8"),
                float(arrays["scores"][row, 0]),
                [token.decode("utf-8") for token in arrays["tokens"][row, 0, :length]],
                arrays["weights"][row, 0, :length, :heard],
                arrays["times"][row, :heard],
            )


def signatures(model: SpeechRecognizer, facts: Facts, options: SpeechExport) -> Exported:
    """What a server offers: WAV files, or samples, to all that `Recognize` returns."""
    recognize = Recognize(model, facts, options)
    rate = facts.heard.sample_rate
    tones = [_tone(seconds, rate) for seconds in (0.25, 1.0, 4.0)]
    files = [tf.audio.encode_wav(tone[:, None], rate).numpy() for tone in tones]
    return Exported(
        {
            "serving_default": Signature(
                lambda recordings: recognize.files(recordings),
                {"recordings": tf.TensorSpec((None,), tf.string)},
                [{"recordings": [file]} for file in files] + [{"recordings": files}],
            ),
            "samples": Signature(
                lambda audio, lengths: recognize.samples(audio, lengths),
                {
                    "audio": tf.TensorSpec((None, None), tf.float32),
                    "lengths": tf.TensorSpec((None,), tf.int32),
                },
                [{"audio": [tone], "lengths": [len(tone)]} for tone in tones],
            ),
        },
        resources=[recognize],
    )


def _tone(seconds: float, rate: int) -> np.ndarray:
    at = np.arange(round(seconds * rate), dtype=np.float32) / rate
    return (0.1 * np.sin(2.0 * np.pi * 440.0 * at)).astype(np.float32)
