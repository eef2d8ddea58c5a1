"""A small Free Spoken Digit Dataset: every recording is of another pitch."""

from __future__ import annotations

import numpy as np

from applications.speech import wav

SPEAKERS = ("anna", "bert")
INDICES = (0, 4, 5, 9, 10, 49)


def recording(digit, speaker, index, sample_rate=8000):
    """A tone of a tenth of a second, whose pitch tells the digit, speaker and index."""
    times = np.arange(sample_rate // 10) / sample_rate
    pitch = 300 + 100 * digit + 10 * INDICES.index(index) + 5 * SPEAKERS.index(speaker)
    return 0.5 * np.sin(2 * np.pi * pitch * times)


def write(folder, sample_rate=8000):
    """Writes all recordings into a folder, and returns it."""
    folder.mkdir(parents=True)
    for digit in range(10):
        for speaker in SPEAKERS:
            for index in INDICES:
                audio = recording(digit, speaker, index, sample_rate)
                wav.write(folder / f"{digit}_{speaker}_{index}.wav", audio, sample_rate)
    return folder
