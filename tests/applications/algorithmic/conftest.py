"""What the tests of the algorithmic tasks share."""

from __future__ import annotations

import pytest

from applications.algorithmic import data
from keras_attention import compile


@pytest.fixture(scope="package", autouse=True)
def short_tests_and_no_xla():
    """Words to size 6, and no seconds for XLA to compile a tiny run."""
    compile.set_xla(False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "LARGEST", 6)
        yield
    compile.set_xla(None)
