"""How many answers are right, beside those of whoever answers all alike; and where weight falls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from applications.long_term_memory.model import Recalled
from applications.long_term_memory.problems import ORDERS, TOLERANCE, Sequences


def evaluate(found: Sequence[Recalled], batches: Sequence[Sequences]) -> Iterator[tuple[str, Any]]:
    """Every result on the test sequences, by name. Accuracies and weights are in percent."""
    answers = np.concatenate([each.answers for each in batches])[:, 0]
    told = np.concatenate([each.answers for each in found])
    if np.issubdtype(answers.dtype, np.integer):
        yield from _choices(told.argmax(axis=-1), answers)
    else:
        yield from _numbers(told[:, 0], answers)
    yield "weight_on_marked", 100.0 * weight_on_marked([each.weights for each in found], batches)
    uniform = np.concatenate([2.0 / each.lengths for each in batches])
    yield "weight_on_marked_if_uniform", 100.0 * float(uniform.mean())


def accuracy(found: Sequence[Recalled], batches: Sequence[Sequences]) -> float:
    """Percent of right answers."""
    return dict(evaluate(found, batches))["accuracy"]


def accuracy_of_constant(answers: np.ndarray) -> float:
    """Percent of numbers that are right for the one number that is right most often."""
    ordered = np.sort(answers)
    ends = np.searchsorted(ordered, ordered + 2.0 * TOLERANCE)  # an interval from each on
    return 100.0 * float((ends - np.arange(len(ordered))).max() / len(ordered))


def weight_on_marked(weights: Sequence[np.ndarray], batches: Sequence[Sequences]) -> float:
    """The mean, over sequences, of the weight on both marked steps together."""
    masses = [
        np.take_along_axis(of_batch, batch.marked, axis=1).sum(axis=1)
        for of_batch, batch in zip(weights, batches, strict=True)
    ]
    return float(np.concatenate(masses).mean())


def _numbers(told: np.ndarray, answers: np.ndarray) -> Iterator[tuple[str, float]]:
    yield "accuracy", 100.0 * float((np.abs(told - answers) < TOLERANCE).mean())
    yield "accuracy_of_constant", accuracy_of_constant(answers)
    yield "squared_error", float(np.square(told - answers).mean())
    yield "squared_error_of_constant", float(answers.var())


def _choices(told: np.ndarray, answers: np.ndarray) -> Iterator[tuple[str, float]]:
    right = told == answers
    yield "accuracy", 100.0 * float(right.mean())
    yield "accuracy_of_constant", 100.0 * float(np.bincount(answers).max() / len(answers))
    for name, orders in (("alike", ("XX", "YY")), ("different", ("XY", "YX"))):
        asked = np.isin(answers, [ORDERS.index(order) for order in orders])
        yield f"accuracy_where_{name}", 100.0 * float(right[asked].mean())
