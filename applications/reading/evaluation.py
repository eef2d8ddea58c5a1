"""How often the right entity is found, what needs no reading, and whether it was looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from applications.reading import baselines
from applications.reading.answering import Answer
from applications.reading.encoding import Encoded

BASELINES = {
    "most_frequent": baselines.most_frequent,
    "exclusive_frequency": baselines.exclusive_frequency,
    "word_distance": baselines.word_distance,
}


def evaluate(answer: Answer, test: Encoded) -> Iterator[tuple[str, Any]]:
    """Every result on the test questions, by name. All are in percent."""
    first = answer.encoder.first_entity
    found = answer.all(test)
    yield "accuracy", percent(found.answers == test.answers)
    for name, baseline in BASELINES.items():
        guesses = (
            baseline(passage, query, first)
            for passage, query in zip(test.passages, test.queries, strict=True)
        )
        yield f"accuracy_of_{name}", percent(np.fromiter(guesses, int) == test.answers)
    chances = [baselines.chance(passage, first) for passage in test.passages]
    yield "accuracy_by_chance", percent(np.array(chances))
    yield "mass_on_answer", percent(mass(found.weights, test, first))
    even = [np.full(len(each), 1.0 / len(each)) for each in test.passages]
    yield "mass_on_answer_if_uniform", percent(mass(even, test, first))


def mass(weights: list[np.ndarray], test: Encoded, first_entity: int) -> np.ndarray:
    """The weight on all mentions of the answer in the passage, (N,)."""
    rows = zip(weights, test.passages, test.answers, strict=True)
    return np.array([each[ids == first_entity + answer].sum() for each, ids, answer in rows])


def percent(shares: np.ndarray) -> float:
    """The mean of shares, in percent."""
    return 100.0 * float(shares.mean())
