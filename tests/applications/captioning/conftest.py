"""What the tests of captioning share."""

from __future__ import annotations

import pytest

from applications.captioning import data


@pytest.fixture(scope="package", autouse=True)
def few_scenes():
    """Validation and test on 60 scenes, as to caption 1000 of them takes longer than a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "NUM_HELD_OUT_SCENES", 60)
        yield
