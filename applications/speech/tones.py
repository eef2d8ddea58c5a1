"""The default data set: digits as a telephone's keypad sounds them, by speakers made up.

A digit is two tones at once, those of its row and of its column (ITU-T Q.23). A speaker has a
pitch, a speed, a loudness and a timbre, which is how strong the overtones are; each digit of
theirs has the same tones and another duration. So two alike digits of a string sound alike, and
what tells them apart is where they are. Nothing is downloaded.
"""

from __future__ import annotations

import numpy as np

from applications.speech.strings import Speaker

ROWS = (697.0, 770.0, 852.0, 941.0)  # Hz
COLUMNS = (1209.0, 1336.0, 1477.0)
KEYS = ((3, 1), *((digit // 3, digit % 3) for digit in range(9)))  # of each digit: row, column
PITCH = 0.03  # at most higher or lower, where neighbouring tones are a tenth apart
OVERTONES = 3  # of each tone, with the tone itself
SHORTEST, LONGEST = 0.12, 0.26  # seconds of a digit at an even speed
SPEED = 1.3  # at most faster or slower
ATTACK, RELEASE = 0.015, 0.04  # seconds in which a digit swells and fades
QUIETEST, LOUDEST = 0.1, 0.7


def speaker(rng: np.random.Generator, sample_rate: int) -> Speaker:
    """A speaker made up: a function that says a digit, with another duration each time."""
    pitch = 1.0 + rng.uniform(-PITCH, PITCH)
    speed = SPEED ** rng.uniform(-1.0, 1.0)
    loudness = QUIETEST * (LOUDEST / QUIETEST) ** rng.uniform()
    timbre = np.cumprod([1.0, *rng.uniform(0.1, 0.5, OVERTONES - 1)])

    def say(digit: int) -> np.ndarray:
        row, column = KEYS[digit]
        seconds = rng.uniform(SHORTEST, LONGEST) / speed
        times = np.arange(round(seconds * sample_rate)) / sample_rate
        sound = np.zeros(len(times), np.float32)
        for tone in (ROWS[row], COLUMNS[column]):
            for number, strength in enumerate(timbre.tolist(), start=1):
                frequency = number * pitch * tone
                if frequency < sample_rate / 2:
                    turns = frequency * times + rng.uniform()
                    # Within a turn, 32 bits are enough, and several times as fast.
                    sound += strength * np.sin(
                        2.0 * np.pi * (turns - np.floor(turns)).astype(np.float32)
                    )
        envelope = np.minimum(times / ATTACK, (times[-1] - times) / RELEASE).clip(0.0, 1.0)
        return sound * (loudness / (2.0 * timbre.sum()) * envelope).astype(np.float32)

    return say
