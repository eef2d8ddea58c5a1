"""What the tests of question answering share."""

from __future__ import annotations

import pytest

from applications.question_answering import data
from keras_attention import compile


@pytest.fixture(scope="package", autouse=True)
def few_questions_and_no_xla():
    """A test of 40 questions a task, and no seconds for XLA to compile a tiny run."""
    compile.set_xla(False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "NUM_TEST_QUESTIONS", 40)
        yield
    compile.set_xla(None)
