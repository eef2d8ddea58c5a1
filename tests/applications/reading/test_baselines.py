"""Answers that need no training, by hand and by loops; and what is counted of answers."""

import numpy as np
import pytest

from applications.reading import baselines, evaluation
from applications.reading.answering import Found
from applications.reading.encoding import Encoded

FIRST = 20
E0, E1, E2 = 20, 21, 22
HIDDEN = baselines.PLACEHOLDER_ID


def ids(*values):
    return np.array(values, np.int32)


def test_frequencies():
    passage = ids(E0, 5, E1, E1, 6, E2, E2)
    assert baselines.most_frequent(passage, ids(HIDDEN), FIRST) == 1  # the first of two
    assert baselines.exclusive_frequency(passage, ids(E1, HIDDEN), FIRST) == 2
    assert baselines.exclusive_frequency(passage, ids(E1, E2, HIDDEN), FIRST) == 0
    assert baselines.exclusive_frequency(passage, ids(E0, E1, E2), FIRST) == 1
    assert baselines.chance(passage, FIRST) == pytest.approx(1 / 3)


def test_the_words_around_a_mention_are_compared_with_those_around_the_placeholder():
    passage = ids(E0, 5, 6, E1, 7, 8, E2, 9)
    assert baselines.word_distance(passage, ids(HIDDEN, 7, 8), FIRST) == 1
    assert baselines.word_distance(passage, ids(9, HIDDEN), FIRST) == 2
    assert baselines.word_distance(passage, ids(E1, 7, 8, HIDDEN), FIRST) == 2


def loop(passage, query):
    """The paper's sum over words, one after another."""
    best = (float("inf"), None)
    for mention, entity in enumerate(passage):
        if entity < FIRST:
            continue
        start = mention - list(query).index(HIDDEN)
        total = 0
        for at, word in enumerate(query):
            if word != HIDDEN:
                places = [place for place, each in enumerate(passage) if each == word]
                total += min([8, *(abs(start + at - place) for place in places)])
        best = min(best, (total, mention))
    return passage[best[1]] - FIRST


def test_word_distance_is_the_papers():
    draw = np.random.default_rng(3)
    for _ in range(200):
        passage = draw.integers(3, 24, 30)
        passage[draw.integers(30)] = E0
        query = draw.integers(3, 24, 7)
        query[draw.integers(7)] = HIDDEN
        assert baselines.word_distance(passage, query, FIRST) == loop(passage, query)


def test_everything_is_in_percent_and_beside_what_it_is_to_beat():
    test = Encoded(
        [ids(E0, 5, E1), ids(E0, 6, 6, E1, E1)],
        [ids(5, HIDDEN), ids(E1, 6, HIDDEN)],
        ids(1, 0),
    )

    class Answering:
        encoder = type("Encoder", (), {"first_entity": FIRST})

        def all(self, encoded):
            weights = [np.array([0.1, 0.2, 0.7]), np.array([0.3, 0.1, 0.1, 0.25, 0.25])]
            return Found(np.array([1, 1]), weights)

    metrics = dict(evaluation.evaluate(Answering(), test))
    assert metrics == pytest.approx(
        {
            "accuracy": 50.0,
            "accuracy_of_most_frequent": 0.0,
            "accuracy_of_exclusive_frequency": 50.0,
            "accuracy_of_word_distance": 50.0,
            "accuracy_by_chance": 50.0,
            "mass_on_answer": 50.0,
            "mass_on_answer_if_uniform": 100 * (1 / 3 + 1 / 5) / 2,
        }
    )
