"""How often answers are wrong, and whether the sentences they follow from were read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from applications.question_answering.answering import Answer
from applications.question_answering.data import Examples
from applications.question_answering.encoding import Encoded

FAILED = 5.0  # percent: a task with more is failed, since Weston et al., 2015


def evaluate(answer: Answer, examples: Examples) -> Iterator[tuple[str, Any]]:
    """Every result on the test questions, by name. Errors and shares are in percent."""
    test = examples.test
    found = answer.all(test)
    errors = by_task(found.answers != test.answers, test.tasks)
    yield "error_by_task", errors
    yield "mean_error", float(np.mean(list(errors.values())))
    yield "failed_tasks", sum(error > FAILED for error in errors.values())
    yield "mean_error_by_chance", float(np.mean(list(by_chance(test).values())))
    yield "train_error", train_error(answer, examples.train)
    if not found.weights.shape[1] or not test.supports_kept.any():
        return
    kept = test.at(np.flatnonzero(test.supports_kept))
    weights = found.weights[test.supports_kept]
    hops = weights.shape[1]
    for name, measured, uniform in (
        ("supports_hit", hit(weights, kept), hit_by_chance(kept, hops)),
        ("mass_on_supports", mass(weights, kept), mass_by_chance(kept)),
    ):
        yield name, 100.0 * float(measured.mean())
        yield f"{name}_if_uniform", 100.0 * float(uniform.mean())
        yield f"{name}_by_task", by_task(measured, kept.tasks)
        yield f"{name}_if_uniform_by_task", by_task(uniform, kept.tasks)


def train_error(answer: Answer, train: Encoded) -> float:
    """The error on the training questions themselves, in percent."""
    return 100.0 * float((answer.all(train).answers != train.answers).mean())


def by_task(values: np.ndarray, tasks: np.ndarray) -> dict[str, float]:
    """The mean of shares, one for each question, by the number of the task, in percent."""
    return {str(task): 100.0 * float(values[tasks == task].mean()) for task in np.unique(tasks)}


def by_chance(test: Encoded) -> dict[str, float]:
    """The error, by task, of the one answer that is right most often."""
    errors = {}
    for task in np.unique(test.tasks):
        answers = Counter(test.answers[test.tasks == task].tolist())
        errors[str(task)] = 100.0 * (1.0 - max(answers.values()) / answers.total())
    return errors


def hit(weights: np.ndarray, encoded: Encoded) -> np.ndarray:
    """Of each question, the share of the supporting sentences that some hop read most of all."""
    most = np.zeros(encoded.supports.shape, bool)
    np.put_along_axis(most, weights.argmax(axis=2), True, axis=1)
    return (most & encoded.supports).sum(axis=1) / encoded.supports.sum(axis=1)


def hit_by_chance(encoded: Encoded, hops: int) -> np.ndarray:
    """The mean of `hit` where each hop chooses among all sentences alike."""
    return 1.0 - (1.0 - 1.0 / _lengths(encoded)) ** hops


def mass(weights: np.ndarray, encoded: Encoded) -> np.ndarray:
    """Of each question, the weight on the supporting sentences, over all hops."""
    return (weights.mean(axis=1) * encoded.supports).sum(axis=1)


def mass_by_chance(encoded: Encoded) -> np.ndarray:
    """`mass` where all sentences weigh the same."""
    return encoded.supports.sum(axis=1) / _lengths(encoded)


def _lengths(encoded: Encoded) -> np.ndarray:
    """Sentences in the memory, (N,)."""
    return (encoded.stories != 0).sum(axis=1)
