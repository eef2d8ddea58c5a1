"""Sequences with two marked steps, and what is to be told of them.

Every sequence has two numbers a step. The first is drawn at random. The second marks: -1 the first
and the last step; 1 a step among the second to the tenth, and another in the first half; else 0.
With a and b the first numbers of the two marked steps, in order of time, the answer is

    addition         1/2 + (a + b) / 4   of numbers between -1 and 1
    multiplication   a b                 of numbers between 0 and 1
    order            XX, XY, YX or YY    where X is the number 1 and Y is -1

Reference: Hochreiter & Schmidhuber, 1997, Long Short-Term Memory,
https://doi.org/10.1162/neco.1997.9.8.1735 (sections 5.4 to 5.6), as in Raffel & Ellis, 2015,
https://arxiv.org/abs/1512.08756 (section 2.1); order in the manner of the other two.

Shapes: N sequences of T steps, padding included.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ORDERS = ("XX", "XY", "YX", "YY")
TOLERANCE = 0.04  # a number is right if it is nearer to the answer than this


class Sequences(NamedTuple):
    """Sequences with their answers, zero where they are padded."""

    sequence: np.ndarray  # (N, T, 2) float32
    lengths: np.ndarray  # (N,) int32
    marked: np.ndarray  # (N, 2) int, the marked steps in order of time
    answers: np.ndarray  # (N, 1), float32; int32 places in `ORDERS` where the problem is order

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """What a model sees."""
        return {"sequence": self.sequence, "lengths": self.lengths}


def draw(problem: str, lengths: np.ndarray, max_length: int, rng: np.random.Generator) -> Sequences:
    """Draws a sequence of each of the lengths, padded to `max_length`.

    Args:
        problem: "addition", "multiplication" or "order".
        lengths: Whole numbers (N,) from 22 to `max_length`.
        max_length: T.
        rng: Decides everything.
    """
    rows = np.arange(len(lengths))
    sequence = np.zeros((len(lengths), max_length, 2), np.float32)
    sequence[..., 0] = _numbers(problem, (len(lengths), max_length), rng)
    sequence[..., 0] *= np.arange(max_length) < lengths[:, None]
    marked = _marked(lengths, rng)
    sequence[rows, 0, 1] = sequence[rows, lengths - 1, 1] = -1.0
    sequence[rows[:, None], marked, 1] = 1.0
    answers = _answers(problem, *sequence[rows[:, None], marked, 0].T)
    return Sequences(sequence, lengths.astype(np.int32), marked, answers[:, None])


def _numbers(problem: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    if problem == "order":
        return 2 * rng.integers(0, 2, shape, np.int8) - 1
    numbers = rng.random(shape, np.float32)
    return numbers if problem == "multiplication" else 2.0 * numbers - 1.0


def _marked(lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One step of 1 … 9 and another of 1 … T/2 - 2, any equally likely; the earlier one first."""
    early = rng.integers(1, 10, len(lengths))
    other = rng.integers(1, lengths // 2 - 2)
    other += other >= early  # so that it is another
    return np.sort(np.stack([early, other], axis=1), axis=1)


def _answers(problem: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if problem == "order":
        return (2 * (a < 0) + (b < 0)).astype(np.int32)
    return a * b if problem == "multiplication" else 0.5 + (a + b) / 4.0
