"""What the tests of speech share."""

from __future__ import annotations

import pytest

from applications.speech import data


@pytest.fixture(scope="package", autouse=True)
def few_strings():
    """Validation and test on few strings, as to make and recognize many takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "NUM_HELD_OUT", 13)
        patch.setattr(data, "NUM_LONGER", 2)
        patch.setattr(data, "NUM_HEARD", 24)
        yield
