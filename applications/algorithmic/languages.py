"""Formal languages as streams of words, each symbol of which is to be told before it is seen.

Reference: Joulin & Mikolov, 2015, Inferring Algorithmic Patterns with Stack-Augmented Recurrent
Nets, https://arxiv.org/abs/1503.01007 (sections 2 and 4), and the authors' code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from applications.algorithmic.sequences import NOT_ASKED, Sequences

SMALLEST = 2


class Language(ABC):
    """One language: its words by size, and which of their symbols follow from those before.

    Words are drawn in streams, which begin with a whole word and end anywhere.
    """

    name: str
    alphabet: str
    next_is_known: bool  # whether the first symbol of a word follows from the end of the last

    @property
    def num_inputs(self) -> int:
        """Symbols of the alphabet."""
        return len(self.alphabet)

    num_outputs = num_inputs

    @property
    def line(self) -> str:
        """What a line to be answered looks like."""
        return f"symbols of {self.alphabet!r}, without spaces"

    @abstractmethod
    def lengths(self, sizes: np.ndarray) -> np.ndarray:
        """Symbols of words of these sizes."""

    @abstractmethod
    def words(self, sizes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The symbols of one word after another, and whether each follows from those before."""

    def draw(self, max_size: int, count: int, length: int, rng: np.random.Generator) -> Sequences:
        """Streams of so many symbols, of words of every size up to `max_size`; all is asked."""
        shortest = int(self.lengths(np.array(SMALLEST)))
        enough = length // shortest + 1
        sizes = rng.integers(SMALLEST, max_size + 1, (count, enough))
        streams = np.stack([self.words(each, rng)[0][: length + 1] for each in sizes])
        return Sequences(streams[:, :-1], streams[:, 1:], np.full(count, length, np.int32))

    def draw_tests(self, sizes: np.ndarray, words: int, rng: np.random.Generator) -> Sequences:
        """A stream for each size, of so many words of it; asked is what follows from the rest."""
        lengths = words * self.lengths(sizes)
        shape = len(sizes), lengths.max()
        inputs, targets = np.zeros(shape, np.int32), np.full(shape, NOT_ASKED, np.int32)
        for row, (size, length) in enumerate(zip(sizes, lengths, strict=True)):
            symbols, follows = self.words(np.full(words + 1, size), rng)
            inputs[row, :length] = symbols[:length]
            expected = slice(1, length + 1)
            targets[row, :length] = np.where(follows[expected], symbols[expected], NOT_ASKED)
        return Sequences(inputs, targets, lengths.astype(np.int32))


class Counting(Language):
    """Words that are runs of one symbol after another, as long as those before say.

    A size is the number of symbols before the first run, or symbol, that follows from the others.
    """

    next_is_known = True

    def __init__(self, name: str, runs: tuple[int, ...]):
        self.name, self.runs = name, runs
        self.alphabet = "abcd"[: len(runs)]

    def counts(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The length of each run: (words, runs)."""
        return np.outer(sizes, self.runs)

    def lengths(self, sizes):
        return sum(self.runs) * sizes

    def words(self, sizes, rng):
        counts = self.counts(sizes, rng)
        symbols = np.tile(np.arange(len(self.alphabet), dtype=np.int32), len(sizes))
        symbols = np.repeat(symbols, counts.ravel())
        at = _places(counts.sum(axis=1))
        free = counts[:, : self._first_bound].sum(axis=1)
        # Known are the first symbol, from the end of the word before, and, after the first symbol
        # that is not of the free runs, all others.
        return symbols, (at == 0) | (at > np.repeat(free, counts.sum(axis=1)))

    @property
    def _first_bound(self) -> int:
        return 1


class Sums(Counting):
    """a^n b^m c^(n+m), where a size is n + m."""

    def __init__(self):
        super().__init__("anbmcnm", (1, 1, 1))

    def counts(self, sizes, rng):
        second = rng.integers(1, sizes)
        return np.stack([sizes - second, second, sizes], axis=1)

    def lengths(self, sizes):
        return 2 * sizes

    @property
    def _first_bound(self):
        return 2


class Memorization(Language):
    """Letters, a mark, and the same letters backwards. A size is the number of letters."""

    name, alphabet, next_is_known = "memorization", "#ab", False

    def lengths(self, sizes):
        return 2 * sizes + 1

    def words(self, sizes, rng):
        lengths = self.lengths(sizes)
        at, size = _places(lengths), np.repeat(sizes, lengths)
        symbols = rng.integers(1, len(self.alphabet), len(at), np.int32)
        symbols[at == size] = 0
        backwards = np.flatnonzero(at > size)
        symbols[backwards] = symbols[backwards - 2 * (at - size)[backwards]]
        return symbols, at > size


def _places(lengths: np.ndarray) -> np.ndarray:
    """0, 1, …, length - 1 for one length after another."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
