"""Batches of so many tokens."""

import numpy as np
import pytest

from applications.training import bucketing


@pytest.mark.parametrize(
    ("lengths", "most_tokens", "most", "multiple", "sizes"),
    [
        ([1, 1, 2, 3, 3, 5], 6, 9, 1, [3, 2, 1]),
        ([1, 1, 2, 3, 3, 5], 6, 2, 1, [2, 2, 1, 1]),
        ([1, 1, 2, 3, 3, 5], 10, 9, 2, [2, 2, 2]),  # 3 sentences of 2 or 3 tokens are no pairs
        ([1, 1, 1, 1, 1], 4, 9, 2, [4]),  # the last is left
        ([5, 1, 1, 1], 5, 9, 1, [1, 3]),
        ([7], 5, 9, 1, [1]),  # what does not fit is alone
        ([], 5, 9, 1, []),
    ],
)
def test_batches_are_as_large_as_they_may_be(lengths, most_tokens, most, multiple, sizes):
    assert bucketing.cut(lengths, most_tokens, most, multiple) == sizes


@pytest.mark.parametrize("count", [3, 5, 8])
def test_there_are_as_many_batches_as_are_asked_for(count):
    sizes, rng = [6, 4, 4, 2], np.random.default_rng(1)
    found = bucketing.batches(sizes, count, rng, multiple=2)
    assert len(found) == count and all(len(each) % 2 == 0 for each in found)
    places = [place for each in found for place in each]
    assert len(set(places)) == len(places)
    assert set(places) == set(range(16)) if count >= 4 else len(places) < 16
    assert bucketing.batches(sizes, count, np.random.default_rng(1), multiple=2) == found


def test_a_batch_that_cannot_be_halved_is_repeated():
    assert bucketing.batches([2], 2, np.random.default_rng(1), multiple=2) == [range(2)] * 2
