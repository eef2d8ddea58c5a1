"""Sums that fade, against the recurrences themselves, however much fades away."""

import numpy as np
import pytest
from keras import ops

from keras_attention import recurrences

LENGTHS = (1, 2, 31, 32, 33, 64, 300)


def draw(length, seed=0):
    """Rows that keep nearly all, some, and next to nothing."""
    random = np.random.default_rng(seed)
    scale = np.array([[1e-3], [1.0], [50.0]])
    return random.normal(size=(3, length)), -random.exponential(size=(3, length)) * scale


@pytest.mark.parametrize("length", LENGTHS)
def test_a_fading_sum_is_its_recurrence(length):
    x, a = draw(length)
    expected = np.zeros_like(x)
    for j in range(length):
        expected[:, j] = x[:, j] + (np.exp(a[:, j]) * expected[:, j - 1] if j else 0.0)
    found = ops.convert_to_numpy(
        recurrences.fading_sum(*(ops.convert_to_tensor(each, "float32") for each in (x, a)))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_cumulative_logsumexp_is_that_of_each_beginning(length):
    x = draw(length)[0] * np.array([[0.1], [3.0], [500.0]])
    found = ops.convert_to_numpy(
        recurrences.cumulative_logsumexp(ops.convert_to_tensor(x, "float32"))
    )
    np.testing.assert_allclose(found, np.logaddexp.accumulate(x, axis=1), rtol=1e-5, atol=1e-5)


def test_nothing_is_lost_behind_what_has_faded():
    """A product of all before would be exp(-30,000), and no float32 has its inverse."""
    x, a = np.zeros((1, 300), "float32"), np.full((1, 300), -100.0, "float32")
    x[0, 250], a[0, 251:] = 1.0, -0.01
    found = ops.convert_to_numpy(recurrences.fading_sum(x, a))[0]
    np.testing.assert_allclose(found[250:], np.exp(-0.01 * np.arange(50)), rtol=1e-5)
    assert (found[:250] == 0.0).all()
