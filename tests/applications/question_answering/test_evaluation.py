"""What is counted of answers and weights, by hand and against chance."""

import numpy as np
import pytest

from applications.question_answering import evaluation, figures
from applications.question_answering.answering import Found
from applications.question_answering.data import Facts
from applications.question_answering.encoding import Encoded
from applications.question_answering.stories import Example
from applications.training.text import VocabularyTokenizer

# Two questions of task 1 about four and three sentences, one of task 2 about two.
STORIES = np.array([[1, 2, 3, 4], [1, 2, 3, 0], [5, 6, 0, 0]])
SUPPORTS = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [1, 1, 0, 0]], bool)
ENCODED = Encoded(
    np.zeros((7, 3), np.int32),
    STORIES,
    np.zeros((3, 3), np.int32),
    np.array([4, 5, 4]),
    SUPPORTS,
    np.ones(3, bool),
    np.array([1, 1, 2]),
)
WEIGHTS = np.array(
    [
        [[0.7, 0.1, 0.1, 0.1], [0.2, 0.5, 0.2, 0.1]],
        [[0.2, 0.6, 0.2, 0.0], [0.1, 0.8, 0.1, 0.0]],
        [[0.9, 0.1, 0.0, 0.0], [0.3, 0.7, 0.0, 0.0]],
    ]
)


class Answering:
    """Answers what it is told to."""

    def __init__(self, answers, weights=WEIGHTS):
        self.found = Found(np.array(answers), weights)

    def all(self, encoded):
        return self.found


class Asked:
    train = test = ENCODED


def test_supporting_sentences_are_hit_or_weighed():
    np.testing.assert_allclose(evaluation.hit(WEIGHTS, ENCODED), [0.5, 1.0, 1.0])
    np.testing.assert_allclose(evaluation.mass(WEIGHTS, ENCODED), [0.55, 0.7, 1.0])
    np.testing.assert_allclose(evaluation.mass_by_chance(ENCODED), [2 / 4, 1 / 3, 2 / 2])


def test_chance_is_what_random_hops_come_to():
    draw, rounds = np.random.default_rng(0), 4000
    lengths = np.array([4, 3, 2])
    chosen = (draw.random((rounds, 3, 2)) * lengths[:, None]).astype(int)
    found = np.mean([evaluation.hit(np.eye(4)[each], ENCODED) for each in chosen], axis=0)
    np.testing.assert_allclose(evaluation.hit_by_chance(ENCODED, 2), found, atol=0.02)


def test_errors_are_by_task_and_their_mean_is_of_tasks():
    metrics = dict(evaluation.evaluate(Answering([4, 4, 4]), Asked))
    assert metrics["error_by_task"] == {"1": 50.0, "2": 0.0}
    assert metrics["mean_error"] == 25.0 and metrics["failed_tasks"] == 1
    assert metrics["mean_error_by_chance"] == 25.0
    assert metrics["train_error"] == pytest.approx(100 / 3)
    assert metrics["supports_hit"] == pytest.approx(100 * 2.5 / 3)
    assert metrics["mass_on_supports_by_task"] == pytest.approx({"1": 62.5, "2": 100.0})
    read_nothing = Answering([4, 4, 4], np.zeros((3, 0, 4)))
    assert "supports_hit" not in dict(evaluation.evaluate(read_nothing, Asked))


def test_hops_are_drawn_beside_the_story(tmp_path):
    told = [
        Example(1, tuple(f"s{n}." for n in range(6)), "q one?", "a", (2, 5)),
        Example(1, ("s0.", "s1.", "s2."), "q two?", "b", (1,)),
        Example(2, ("s0.", "s1."), "q three?", "a", (0, 1)),
    ]
    facts = Facts(VocabularyTokenizer("words", ["a", "b"], True), ("a", "b"), 4, 3, "", "")
    found = Found(np.array([4, 4, 4]), WEIGHTS)
    figures.draw(found, ENCODED, told, facts, tmp_path)
    page = (tmp_path / "hops.html").read_text(encoding="utf-8")
    assert "q one? a (right)" in page and "q two? a (is: b)" in page
    assert "<li>s2.</li>" in page and page.count("<li>hop 2</li>") == 3
    assert {each.name for each in tmp_path.iterdir()} == {"hops.html", "task_1.png", "task_2.png"}
    alignment = figures._alignment(0, found, ENCODED, told, facts)
    assert alignment.source_tokens == ("s2.", "s3.", "s4.", "s5.")  # the memory has four slots
    beside = figures._downwards(alignment)
    assert beside.target_tokens == alignment.source_tokens
    np.testing.assert_array_equal(beside.weights, WEIGHTS[0].T)
    np.testing.assert_array_equal(beside.truth[:, 0], SUPPORTS[0])
