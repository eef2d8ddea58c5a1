"""Learning rates by epoch."""

import pytest

from applications.training.schedules import cosine


def test_cosine_falls_from_the_rate_to_its_lowest():
    rate = cosine(0.5, epochs=5, lowest=0.1)
    assert [rate(epoch) for epoch in (0, 2, 4)] == pytest.approx([0.5, 0.275, 0.05])
    assert rate(9) == pytest.approx(0.05)


def test_one_epoch_has_the_full_rate():
    assert cosine(0.5, epochs=1)(0) == 0.5
