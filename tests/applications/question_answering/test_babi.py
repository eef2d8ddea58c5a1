"""The files of bAbI, read and refused."""

import pathlib

import pytest

from applications.question_answering import babi
from applications.question_answering.stories import Example
from applications.training.errors import DataError
from tests.applications.question_answering import babi_files

REAL = pathlib.Path(__file__).parents[4] / "shared/data/babi/en"


def test_questions_come_with_all_that_was_said_before(tmp_path):
    folder = babi_files.write(tmp_path, stories=2) / "en"
    read = babi.read(folder, [2, 1], "test")
    assert list(read) == [2, 1] and len(read[1]) == 6
    mary, john = "Mary moved to the bathroom.", "John went to the hallway."
    got = "Mary got the milk, the football."
    assert read[2][:3] == [
        Example(2, (mary, john), "Where is Mary?", "bathroom", (0,)),
        Example(2, (mary, john, got), "What does Mary hold?", "milk,football", (2,)),
        Example(2, ("Daniel travelled to the office.",), "Where is Daniel?", "office", (0,)),
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("1 A.\n3 B.\n", r"qa1_x_train.txt:2: expected a line that begins with 2, or 1 for a new"),
        ("A story.\n", "qa1_x_train.txt:1: expected a line that begins with 1. Found: A story."),
        ("1 A.\n2 Q?\tyes\n", "txt:2: expected a sentence, or a question, its answer and its"),
        ("1 A.\n2 Q?\tyes\t2\n", "txt:2: expected the numbers of earlier sentences.*Found: 2"),
        ("1 A.\n2 Q?\tyes\tx\n", "txt:2: expected the numbers of earlier sentences.*Found: x"),
        ("1 A.\n2 \n", "txt:2: expected a sentence"),
        ("1 A.\n", "qa1_x_train.txt: expected at least one question"),
        ("", "expected at least one line"),
    ],
)
def test_a_bad_line_is_named(tmp_path, lines, words):
    (tmp_path / "qa1_x_train.txt").write_text(lines, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        babi.read(tmp_path, [1], "train")


def test_files_that_are_not_there_are_named_and_those_that_are(tmp_path):
    folder = babi_files.write(tmp_path, tasks=(1, 12)) / "en"
    with pytest.raises(DataError, match=r"qa3_\*_train.txt here. Those .*: --tasks 1 12$"):
        babi.read(folder, [1, 3, 12], "train")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        babi.read(tmp_path / "nowhere", [1], "train")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here")
def test_the_real_files_hold_what_their_authors_say():
    for part in ("train", "test"):
        read = babi.read(REAL, range(1, 21), part)
        assert {len(examples) for examples in read.values()} == {1000}
        assert all(each.supports for examples in read.values() for each in examples)
    first = read[2][0]
    assert first.answer == "hallway" and first.supports == (0, 3)
