"""Lengths that a server is warmed up with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from applications.training.lengths import MOST, ladder
from export.layout import BATCH_SIZES


@pytest.mark.parametrize(
    ("longest", "shortest", "expected"),
    [
        (1, 1, [1]),
        (20, 1, [1, 2, 4, 8, 16, 20]),
        (64, 1, [1, 2, 4, 8, 16, 32, 64]),
        (55, 22, [22, 32, 55]),
        (22, 22, [22]),
        (5, 22, [5]),
        (1000, 1, [2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]),
    ],
)
def test_rungs_double(longest, shortest, expected):
    assert ladder(longest, shortest) == expected


@given(st.integers(1, 10**6), st.integers(1, 100))
def test_no_length_is_more_than_twice_the_one_before(longest, shortest):
    found = ladder(longest, shortest)
    assert found[-1] == longest and len(found) <= MOST
    assert all(after <= 2 * before for before, after in zip(found, found[1:], strict=False))


def test_all_rungs_with_all_batches_are_few_records():
    assert MOST * len(BATCH_SIZES) <= 60
