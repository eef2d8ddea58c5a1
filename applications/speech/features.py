"""What a recognizer hears of a recording: log-mel energies, in the graph, by core operations.

A frame is of 25 ms, and there is one every 10 ms. Frame t is of the samples from t * step to
t * step + window, so it depends on nothing after these; the rest of a recording, shorter than a
window, is in no frame. A recording shorter than a window has one frame, with silence at its end.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from applications.speech.strings import Recording

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WINDOW, STEP = 0.025, 0.010  # seconds
FLOOR = 1e-6  # of an energy, below which all is silence
LOWEST = 20.0  # Hz
REACH = 2  # frames before and after, from which a change is told
NARROWEST = 1e-3  # deviation that a feature is divided by at least
AT_ONCE = 32  # recordings that statistics are taken of


class Heard(NamedTuple):
    """What is heard of a recording."""

    sample_rate: int
    num_mels: int
    deltas: bool  # how each band changes, and how that does
    mean: np.ndarray  # (F,) float32, of each feature
    std: np.ndarray  # (F,) float32

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Heard:
        """Undoes `to_json`."""
        statistics = {name: np.array(values[name], np.float32) for name in ("mean", "std")}
        return cls(**{**values, **statistics})

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**self._asdict(), "mean": self.mean.tolist(), "std": self.std.tolist()}


def extract(audio: tf.Tensor, lengths: tf.Tensor, heard: Heard) -> tuple[tf.Tensor, tf.Tensor]:
    """Features of whole recordings, normalised; 0 past the end of each.

    Args:
        audio: (B, N) float32, from -1 to 1. What is past a recording's length is not heard.
        lengths: (B,) int32, in samples.
        heard: How they are heard.

    Returns:
        Features (B, T, F) float32, and their lengths (B,) int32, in frames.
    """
    features, frames = raw(audio, lengths, heard.sample_rate, heard.num_mels, heard.deltas)
    return _masked(_normalised(features, heard), frames), frames


def piece(audio: tf.Tensor, heard: Heard) -> tuple[tf.Tensor, tf.Tensor]:
    """Features of a piece of a stream, and the samples to put before the next piece.

    Piece by piece, the frames are those of `extract` for the whole, without deltas: these would
    need frames to come.

    Args:
        audio: (B, N) float32: what was left by the last piece, and then this one.
        heard: As for `extract`, with `deltas` False.

    Returns:
        Features (B, T, F) of all windows that are complete, and the samples (B, R) that further
        windows need.
    """
    if heard.deltas:
        raise ValueError("A stream has no deltas. Received: heard.deltas=True")
    energies = log_mels(audio, heard.sample_rate, heard.num_mels)
    step = sizes(heard.sample_rate)[1]
    return _normalised(energies, heard), audio[:, step * tf.shape(energies)[1] :]


def raw(
    audio: tf.Tensor, lengths: tf.Tensor, sample_rate: int, num_mels: int, deltas: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """As `extract`, before normalisation; what is past a recording's last frame means nothing."""
    window, step = sizes(sample_rate)
    missing = tf.maximum(window - tf.shape(audio)[1], 0)
    audio = tf.pad(_masked(audio[..., None], lengths)[..., 0], [[0, 0], [0, missing]])
    frames = 1 + tf.maximum(lengths - window, 0) // step
    energies = log_mels(audio, sample_rate, num_mels)
    if not deltas:
        return energies, frames
    changes = _changes(energies, frames)
    return tf.concat([energies, changes, _changes(changes, frames)], axis=-1), frames


def log_mels(audio: tf.Tensor, sample_rate: int, num_mels: int) -> tf.Tensor:
    """Samples (B, N) to logarithms of energies (B, T, num_mels), of the windows that N holds."""
    window, step = sizes(sample_rate)
    fft_length = 1 << (window - 1).bit_length()
    windows = tf.signal.frame(audio, window, step) * tf.signal.hann_window(window)
    # Padded here, as the transform pads no windows where there are none, and then refuses them.
    windows = tf.pad(windows, [[0, 0], [0, 0], [0, fft_length - window]])
    spectrum = tf.abs(tf.signal.rfft(windows)) ** 2
    mels = _filters(num_mels, fft_length // 2 + 1, sample_rate)
    return tf.math.log(tf.maximum(tf.matmul(spectrum, mels), FLOOR))


def sizes(sample_rate: int) -> tuple[int, int]:
    """Samples of a window and of a step."""
    return round(WINDOW * sample_rate), round(STEP * sample_rate)


def statistics(
    recordings: Iterable[Recording], sample_rate: int, num_mels: int, deltas: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (F,) float32 of every feature, over all frames."""
    count, total, squares = 0, np.zeros(()), np.zeros(())
    recordings = iter(recordings)
    while some := list(itertools.islice(recordings, AT_ONCE)):
        features, lengths = raw(
            *padded([each.audio for each in some]), sample_rate, num_mels, deltas
        )
        real = tf.boolean_mask(features, tf.sequence_mask(lengths, tf.shape(features)[1])).numpy()
        count += len(real)
        total = total + real.sum(axis=0, dtype=np.float64)
        squares = squares + np.square(real, dtype=np.float64).sum(axis=0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, NARROWEST**2))
    return mean.astype(np.float32), std.astype(np.float32)


def padded(recordings: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Samples (B, N) float32, 0 past the end of each recording, and their lengths (B,) int32."""
    lengths = np.array([len(recording) for recording in recordings], np.int32)
    audio = np.zeros((len(recordings), lengths.max()), np.float32)
    for row, recording in zip(audio, recordings, strict=True):
        row[: len(recording)] = recording
    return audio, lengths


@functools.cache
def _filters(num_mels: int, num_bins: int, sample_rate: int) -> np.ndarray:
    """How much each band hears of each bin of a spectrum: (num_bins, num_mels)."""
    with tf.init_scope(), tf.device("CPU:0"):
        return tf.signal.linear_to_mel_weight_matrix(
            num_mels, num_bins, sample_rate, LOWEST, sample_rate / 2
        ).numpy()


def _normalised(features: tf.Tensor, heard: Heard) -> tf.Tensor:
    return (features - heard.mean) / heard.std


def _masked(values: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Values (B, T, D), 0 from each row's length on."""
    real = tf.sequence_mask(lengths, tf.shape(values)[1])
    return tf.where(real[..., None], values, 0.0)


def _changes(values: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Slopes of the values (B, T, D) over time: regression over `REACH` frames on either side.

    Before the first frame of a row is the first again, after the last real one the last.
    """
    times = tf.range(tf.shape(values)[1])[None]
    last = lengths[:, None] - 1
    slope = tf.zeros_like(values)
    for away in range(1, REACH + 1):
        after = tf.gather(values, tf.minimum(times + away, last), batch_dims=1)
        before = tf.gather(values, tf.minimum(tf.maximum(times - away, 0), last), batch_dims=1)
        slope += away * (after - before)
    return slope / (2.0 * sum(away**2 for away in range(1, REACH + 1)))
