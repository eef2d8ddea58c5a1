"""How much of what is asked is told right, by size: of those of training and of larger ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from applications.algorithmic import model
from applications.algorithmic.data import MIXED, WORDS, Examples, Facts, Test
from applications.algorithmic.model import Machine
from applications.algorithmic.sequences import Sequences
from applications.algorithmic.solve import Solve
from keras_attention import StackCell


def evaluate(machine: Machine, facts: Facts, examples: Examples) -> Iterator[tuple[str, Any]]:
    """Every result on the test sequences, by name. Shares are in percent."""
    solve = Solve(machine, facts)
    validation = examples.validation
    yield "validation_bits", float(bits(solve.all(validation).logits, validation).mean())
    if not facts.alphabet:
        yield from _vectors(solve, examples.tests)
        return
    (test,) = examples.tests
    yield from _words(solve, test, "")
    if isinstance(machine.cell, StackCell):
        yield from _words(Solve(model.rounded(machine), facts), test, "_rounded")


def bits(logits: np.ndarray, sequences: Sequences) -> np.ndarray:
    """-log2 of the probability of all that is asked of each sequence: (N,)."""
    logits, targets = logits.astype(np.float64), sequences.targets
    if logits.ndim == targets.ndim:
        costs = np.logaddexp(0.0, logits) - targets * logits
    else:
        logits -= np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        costs = -np.take_along_axis(logits, np.maximum(targets, 0)[..., None], axis=-1)[..., 0]
    costs = np.where(sequences.asked, costs, 0.0) / np.log(2.0)
    return costs.sum(axis=tuple(range(1, costs.ndim)))


def wrong_bits(logits: np.ndarray, sequences: Sequences) -> float:
    """Percent of the bits asked that are told wrong."""
    differs = (logits > 0) != (sequences.targets > 0.5)
    return 100.0 * float(differs[sequences.asked].mean())


def right_words(logits: np.ndarray, test: Sequences) -> np.ndarray:
    """Of each stream of a test, percent of words of which all that follows from the rest is right.

    With a word counts the first symbol of the next one, if it is known. (N,)
    """
    right = (logits.argmax(axis=-1) == test.targets) | ~test.asked
    return np.array(
        [
            100.0 * stream[:length].reshape(WORDS, -1).all(axis=1).mean()
            for stream, length in zip(right, test.lengths, strict=True)
        ]
    )


def _vectors(solve: Solve, tests: Sequence[Test]) -> Iterator[tuple[str, Any]]:
    costs, errors = {}, {}
    for test in tests:
        logits = solve.all(test.sequences).logits
        costs[test.name] = float(bits(logits, test.sequences).mean())
        errors[test.name] = wrong_bits(logits, test.sequences)
    yield "bits_per_sequence", costs.pop(MIXED)
    yield "wrong_bits", errors.pop(MIXED)
    yield "bits_per_sequence_by_size", costs
    yield "wrong_bits_by_size", errors


def _words(solve: Solve, test: Test, suffix: str) -> Iterator[tuple[str, Any]]:
    right = right_words(solve.all(test.sequences).logits, test.sequences)
    yield f"right_sizes{suffix}", 100.0 * float((right == 100.0).mean())
    yield f"right_words{suffix}", float(right.mean())
    by_size = dict(zip(test.sizes, map(float, right), strict=True))
    yield f"right_words_by_size{suffix}", by_size
