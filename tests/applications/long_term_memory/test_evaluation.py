"""Results are what they are called, and figures show what was found."""

import numpy as np
import pytest

from applications.long_term_memory import evaluation, figures
from applications.long_term_memory.data import Facts
from applications.long_term_memory.model import Recalled
from applications.long_term_memory.problems import ORDERS, Sequences


def batch(answers, marked=(1, 3), length=10):
    answers = np.array(answers)[:, None]
    count = len(answers)
    return Sequences(
        np.zeros((count, length, 2), np.float32),
        np.full(count, length, np.int32),
        np.tile(marked, (count, 1)),
        answers,
    )


def found(told, weights=None):
    told = np.array(told, np.float32)
    if weights is None:
        weights = np.full((len(told), 10), 0.1)
    return Recalled(told if told.ndim == 2 else told[:, None], np.array(weights))


def test_numbers_are_counted_over_all_batches():
    batches = [batch([0.1, 0.2, 0.9]), batch([0.5])]
    told = [found([0.13, 0.25, 0.9]), found([0.5])]
    results = dict(evaluation.evaluate(told, batches))
    assert results["accuracy"] == 75.0 == evaluation.accuracy(told, batches)
    assert results["squared_error"] == pytest.approx((0.03**2 + 0.05**2) / 4)
    assert results["squared_error_of_constant"] == pytest.approx(np.var([0.1, 0.2, 0.9, 0.5]))
    assert results["weight_on_marked"] == results["weight_on_marked_if_uniform"] == 20.0


def test_the_constant_is_the_one_that_is_right_most_often():
    assert evaluation.accuracy_of_constant(np.array([0.1, 0.5, 0.53, 0.57, 0.9])) == 60.0
    uniform = np.random.default_rng(0).random(100_000)
    assert evaluation.accuracy_of_constant(uniform) == pytest.approx(8.0, abs=0.5)


def test_orders_are_told_apart_by_whether_both_are_alike():
    answers = [ORDERS.index(order) for order in ("XX", "YY", "XY", "YX", "YX")]
    told = np.eye(4)[[0, 3, 1, 1, 1]]
    results = dict(evaluation.evaluate([found(told)], [batch(answers)]))
    assert results["accuracy"] == pytest.approx(60.0)
    assert results["accuracy_where_alike"] == 100.0
    assert results["accuracy_where_different"] == pytest.approx(100 / 3)
    assert results["accuracy_of_constant"] == pytest.approx(40.0)
    assert "squared_error" not in results


def test_weight_on_marked_is_that_of_both_steps():
    weights = np.zeros((2, 10))
    weights[0, [1, 3]] = 0.3, 0.5
    weights[1, [0, 3]] = 0.9, 0.1
    found_weight = evaluation.weight_on_marked([weights], [batch([0.1, 0.2])])
    assert found_weight == pytest.approx((0.8 + 0.1) / 2)


def test_each_weight_is_drawn_where_it_is():
    weights = np.linspace(0.0, 0.9, 10)[None].repeat(2, axis=0)
    drawn = batch([0.25, 0.5])._replace(lengths=np.array([10, 8], np.int32))
    figure = figures.weights_over_time(found([0.3, 0.5], weights), drawn, Facts(10, ()))
    first, second = figure.axes
    assert first.get_title(loc="left") == "told 0.300, is 0.250"
    assert second.get_title(loc="left") == "told 0.500, is 0.500"
    for axes, length in ((first, 10), (second, 8)):
        everything, marked = axes.collections
        assert len(everything.get_segments()) == length
        tops = {bar[1][0]: bar[1][1] for bar in marked.get_segments()}
        assert tops == pytest.approx({1.0: 0.1, 3.0: 0.3})


def test_an_order_is_drawn_by_its_name():
    figure = figures.weights_over_time(found(np.eye(4)[[2]]), batch([1]), Facts(10, ORDERS))
    assert figure.axes[0].get_title(loc="left") == "told YX, is XY"
