"""What all tests share."""

from __future__ import annotations

import keras
import pytest


@pytest.fixture(autouse=True)
def fixed_seed():
    """The same random numbers in every test, whichever ran before it."""
    keras.utils.set_random_seed(17)
