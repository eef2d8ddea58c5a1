"""WAV files become samples, and samples WAV files."""

import struct
import wave

import numpy as np
import pytest

from applications.speech import wav
from applications.training.errors import DataError

AUDIO = np.array([0.0, 0.5, -0.25, -1.0, 0.999, 0.001], np.float32)


def test_samples_of_16_bits_are_read_as_they_are_written_elsewhere(tmp_path):
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(struct.pack("<4h", 0, 16384, -32768, 32767))
    audio = wav.read(path, 8000)
    assert audio.dtype == np.float32 and wav.length(path, 8000) == 4
    assert audio.tolist() == [0.0, 0.5, -1.0, 32767 / 32768]


def test_samples_of_8_bits_are_unsigned_and_of_24_bits_signed(tmp_path):
    for bits, content, expected in (
        (8, bytes([0, 128, 192, 255]), [-1.0, 0.0, 0.5, 127 / 128]),
        (24, b"\x00\x00\x80\x00\x00\x40\xff\xff\xff", [-1.0, 0.5, -(2.0**-23)]),
    ):
        path = tmp_path / f"{bits}.wav"
        with wave.open(str(path), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(bits // 8)
            sound.setframerate(8000)
            sound.writeframes(content)
        assert wav.read(path, 8000).tolist() == expected


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_what_is_written_is_read(tmp_path, bits):
    wav.write(tmp_path / "a.wav", AUDIO, 16_000, bits)
    read = wav.read(tmp_path / "a.wav", 16_000)
    np.testing.assert_allclose(read, AUDIO, atol=2.0 ** (1 - bits))
    wav.write(tmp_path / "b.wav", read, 16_000, bits)  # Nothing is lost a second time.
    np.testing.assert_array_equal(wav.read(tmp_path / "b.wav", 16_000), read)


def test_channels_are_averaged(tmp_path):
    wav.write(tmp_path / "a.wav", np.stack([AUDIO, np.zeros(6)], axis=1), 8000, bits=32)
    np.testing.assert_allclose(wav.read(tmp_path / "a.wav", 8000), AUDIO / 2, atol=1e-7)
    assert wav.length(tmp_path / "a.wav", 8000) == 6


def test_what_is_too_loud_is_cut_off(tmp_path):
    wav.write(tmp_path / "a.wav", np.array([1.5, -2.0]), 8000)
    assert wav.read(tmp_path / "a.wav", 8000).tolist() == [32767 / 32768, -1.0]


def test_other_widths_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="`bits` must be 8, 16, 24 or 32. Received: 12"):
        wav.write(tmp_path / "a.wav", AUDIO, 8000, bits=12)


def test_another_rate_is_refused(tmp_path):
    wav.write(tmp_path / "a.wav", AUDIO, 16_000)
    words = r"a\.wav: expected 8000 samples a second. Found: 16000"
    for function in (wav.read, wav.length):
        with pytest.raises(DataError, match=words):
            function(tmp_path / "a.wav", 8000)


def damaged(path, change):
    wav.write(path, AUDIO, 8000)
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda old: b"", "expected a WAV file of PCM: the file ends too early"),
        (lambda old: b"OggS" + old[4:], "expected a WAV file of PCM: file does not start with"),
        (lambda old: old[:20] + b"\x03\x00" + old[22:], "WAV file of PCM: unknown format: 3"),
        (lambda old: old[:-4], "expected 6 samples, as its header says. Found: 4"),
        (lambda old: old[:34] + b"\x28\x00" + old[36:], "8, 16, 24 or 32 bits. Found: 40"),
        (lambda old: old[:40] + b"\0\0\0\0", "expected one sample at least, found none"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path, change, words):
    damaged(tmp_path / "a.wav", change)
    with pytest.raises(DataError, match=words) as caught:
        wav.read(tmp_path / "a.wav", 8000)
    assert str(caught.value).startswith(str(tmp_path / "a.wav"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.wav: cannot be read: No such file"):
        wav.read(tmp_path / "a.wav", 8000)
