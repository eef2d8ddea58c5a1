"""Strings of digits, and where in the recording each word is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

Speaker = Callable[[int], np.ndarray]
"""Says a digit: its samples."""


class Span(NamedTuple):
    """A stretch of a recording, in seconds."""

    start: float
    end: float


class Recording(NamedTuple):
    """What was recorded, and what was said."""

    audio: np.ndarray  # (N,) float32, from -1 to 1
    text: str
    spans: tuple[Span, ...] | None = None  # of each word, where known


@dataclass(frozen=True)
class Strings:
    """How digits are strung together.

    Args:
        shortest: Digits of the shortest string.
        longest: Digits of the longest string; all lengths between are as frequent.
        gap: Most seconds of silence before the first digit, between two, and after the last.
        noise: Deviation of the white noise over the whole string, where the digits' is 1.
        sample_rate: Samples a second.
    """

    shortest: int
    longest: int
    gap: float
    noise: float
    sample_rate: int

    def times(self, factor: int) -> Strings:
        """The same of so many times the digits."""
        return Strings(
            factor * self.shortest, factor * self.longest, self.gap, self.noise, self.sample_rate
        )

    def draw(
        self, count: int, speaker: Callable[[np.random.Generator], Speaker], seed: Sequence[int]
    ) -> Iterator[Recording]:
        """So many strings, each by a speaker of its own, which follow from `seed` alone."""
        rng = np.random.default_rng(seed)
        for _ in range(count):
            digits = rng.integers(len(DIGITS), size=rng.integers(self.shortest, self.longest + 1))
            say = speaker(rng)
            yield self.join([say(digit) for digit in digits.tolist()], digits.tolist(), rng)

    def join(
        self, sounds: Sequence[np.ndarray], digits: Sequence[int], rng: np.random.Generator
    ) -> Recording:
        """One recording of all sounds; it is made less loud where it would exceed 1."""
        gaps = np.round(rng.uniform(0.0, self.gap, len(sounds) + 1) * self.sample_rate).astype(int)
        lengths = np.array([len(sound) for sound in sounds])
        starts = np.cumsum(gaps[:-1]) + np.cumsum(lengths) - lengths
        audio = np.zeros(gaps.sum() + lengths.sum(), np.float32)
        for sound, start in zip(sounds, starts, strict=True):
            audio[start : start + len(sound)] = sound
        level = float(np.sqrt(np.sum(audio**2) / lengths.sum()))
        audio += self.noise * level * rng.standard_normal(len(audio), np.float32)
        audio /= max(1.0, float(np.abs(audio).max()))
        edges = np.stack([starts, starts + lengths], axis=1) / self.sample_rate
        spans = tuple(Span(*pair) for pair in edges.tolist())
        text = " ".join(DIGITS[digit] for digit in digits)
        return Recording(audio, text, spans)
