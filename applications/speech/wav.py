"""WAV files to samples and back."""

from __future__ import annotations

import contextlib
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from applications.training import files
from applications.training.errors import DataError


def read(path: Path, sample_rate: int) -> np.ndarray:
    """The samples (N,) of a file, float32 from -1 to 1, the mean of its channels.

    Args:
        path: A WAV file of PCM with 8, 16, 24 or 32 bits.
        sample_rate: Samples a second that it must have.
    """
    with _opened(path, sample_rate) as sound:
        count, channels, width = sound.getnframes(), sound.getnchannels(), sound.getsampwidth()
        content = sound.readframes(count)
    if len(content) != count * channels * width:
        raise DataError(
            f"{path}: expected {count} samples, as its header says. "
            f"Found: {len(content) // (channels * width)}"
        )
    samples = _numbers(content, width).reshape(count, channels)
    return samples.mean(axis=1, dtype=np.float64).astype(np.float32)


def length(path: Path, sample_rate: int) -> int:
    """How many samples `read` gives, as the header says."""
    with _opened(path, sample_rate) as sound:
        return sound.getnframes()


def write(path: Path, audio: np.ndarray, sample_rate: int, bits: int = 16) -> None:
    """Writes samples (N,) or (N, channels) as PCM; what exceeds 1 is cut off."""
    if bits not in (8, 16, 24, 32):
        raise ValueError(f"`bits` must be 8, 16, 24 or 32. Received: {bits}")
    audio, highest = np.asarray(audio, np.float64), 2 ** (bits - 1)
    whole = np.clip(np.round(audio * highest), -highest, highest - 1).astype("<i8")
    whole = whole + 128 if bits == 8 else whole
    content = whole.reshape(-1, 1).view(np.uint8)[:, : bits // 8].tobytes()
    with files.replacing(path) as partial, wave.open(str(partial), "wb") as sound:
        sound.setnchannels(1 if audio.ndim == 1 else audio.shape[1])
        sound.setsampwidth(bits // 8)
        sound.setframerate(sample_rate)
        sound.writeframes(content)


@contextlib.contextmanager
def _opened(path: Path, sample_rate: int) -> Iterator[wave.Wave_read]:
    try:
        with wave.open(str(path), "rb") as sound:
            if sound.getsampwidth() not in (1, 2, 3, 4):
                raise DataError(
                    f"{path}: expected 8, 16, 24 or 32 bits. Found: {8 * sound.getsampwidth()}"
                )
            if sound.getframerate() != sample_rate:
                raise DataError(
                    f"{path}: expected {sample_rate} samples a second. "
                    f"Found: {sound.getframerate()}"
                )
            if not sound.getnframes():
                raise DataError(f"{path}: expected one sample at least, found none")
            yield sound
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (wave.Error, EOFError) as error:
        reason = str(error) or "the file ends too early"
        raise DataError(f"{path}: expected a WAV file of PCM: {reason}") from None


def _numbers(content: bytes, width: int) -> np.ndarray:
    """Little-endian whole numbers as floats from -1 to 1."""
    if width == 1:
        return (np.frombuffer(content, np.uint8) - 128.0) / 128.0
    upper = np.zeros((len(content) // width, 4), np.uint8)
    upper[:, 4 - width :] = np.frombuffer(content, np.uint8).reshape(-1, width)
    return upper.view("<i4")[:, 0] / 2.0**31
