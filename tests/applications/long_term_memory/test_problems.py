"""Sequences are what the problem says, by a slow reading of each."""

import numpy as np
import pytest

from applications.long_term_memory import problems
from applications.long_term_memory.problems import ORDERS

COUNT = 3000
NAMES = ("addition", "multiplication", "order")


def draw(problem, shortest=22, longest=37, count=COUNT, seed=3):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, longest + 1, count)
    return problems.draw(problem, lengths, longest, rng)


def answer(problem, steps):
    """The answer, read off the steps [number, mark] one by one."""
    marked = [number for number, mark in steps if mark == 1.0]
    assert len(marked) == 2
    if problem == "addition":
        return 0.5 + sum(marked) / 4.0
    if problem == "multiplication":
        return marked[0] * marked[1]
    return ORDERS.index("".join("X" if number == 1.0 else "Y" for number in marked))


@pytest.mark.parametrize("problem", NAMES)
def test_answers_are_those_of_a_slow_reading(problem):
    drawn = draw(problem)
    for steps, length, told in zip(drawn.sequence, drawn.lengths, drawn.answers[:, 0], strict=True):
        assert answer(problem, steps[:length].tolist()) == pytest.approx(told, abs=1e-6)


def test_marks_are_where_they_should_be():
    drawn = draw("addition")
    for steps, length, marked in zip(drawn.sequence, drawn.lengths, drawn.marked, strict=True):
        marks = steps[:, 1].tolist()
        early, late = marked
        assert early < late and marks[early] == marks[late] == 1.0
        assert marks[0] == marks[length - 1] == -1.0
        assert len(steps) - marks.count(0.0) == 4
        assert 1 <= early <= 9  # whichever of the two it is
        assert late < max(10, length // 2 - 1)
        assert not steps[length:].any()


def test_each_step_is_marked_as_often_as_another():
    count, length = 20000, 40  # one of steps 1 to 9, another of 1 to 18
    drawn = problems.draw("order", np.full(count, length), length, np.random.default_rng(0))
    share = np.bincount(drawn.marked.ravel(), minlength=length) / count
    # Given the first, each of 17 others: P(t) = 1/9 + 8/9 1/17 for t up to 9, 1/17 from there on.
    expected = np.zeros(length)
    expected[1:10], expected[10:19] = 1 / 9 + 8 / 9 / 17, 1 / 17
    np.testing.assert_allclose(share, expected, atol=0.01)


@pytest.mark.parametrize(
    ("problem", "low", "mean"), [("addition", -1.0, 0.0), ("multiplication", 0.0, 0.5)]
)
def test_numbers_are_uniform(problem, low, mean):
    drawn = draw(problem, shortest=30, longest=30)
    numbers = drawn.sequence[..., 0].ravel()
    assert low <= numbers.min() < low + 1e-3 and 1.0 - 1e-3 < numbers.max() <= 1.0
    assert numbers.mean() == pytest.approx(mean, abs=0.01)
    assert numbers.std() == pytest.approx((1.0 - low) / np.sqrt(12), abs=0.01)


def test_orders_are_equally_frequent():
    drawn = draw("order")
    assert set(np.unique(drawn.sequence[:, :22, 0])) == {-1.0, 1.0}
    np.testing.assert_allclose(
        np.bincount(drawn.answers[:, 0], minlength=4) / COUNT, 0.25, atol=0.03
    )
    assert drawn.answers.dtype == np.int32


@pytest.mark.parametrize("problem", NAMES)
def test_the_same_generator_gives_the_same_sequences(problem):
    for one, other in zip(draw(problem), draw(problem), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (draw(problem).marked != draw(problem, seed=4).marked).any()


def test_the_shortest_sequence_there_is():
    drawn = draw("addition", shortest=22, longest=22)
    assert drawn.marked.min() == 1 and drawn.marked.max() == 9
