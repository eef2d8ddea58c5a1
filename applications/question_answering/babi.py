"""The files of bAbI: stories with questions, and the sentences that answer them.

A line is `ID sentence`, or `ID question<TAB>answer<TAB>IDs of supporting sentences`; IDs count the
lines of a story from 1, questions included.

Reference: Weston et al., 2015, Towards AI-Complete Question Answering,
https://arxiv.org/abs/1502.05698.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from applications.question_answering.stories import Example, Story
from applications.training.errors import DataError
from applications.training.text_files import read_lines


def read(folder: Path, tasks: Iterable[int], part: str) -> dict[int, list[Example]]:
    """The questions of each task, in the order of its file; `part` is "train" or "test"."""
    tasks = list(tasks)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one with qa1_…_train.txt and its like")
    files = {task: sorted(folder.glob(f"qa{task}_*_{part}.txt")) for task in tasks}
    missing = [task for task in tasks if not files[task]]
    if missing:
        found = " ".join(str(task) for task in tasks if files[task])
        names = ", ".join(f"qa{task}_*_{part}.txt" for task in missing)
        hint = f". Those that are here: --tasks {found}" if found else ""
        raise DataError(f"{folder}: expected {names} here{hint}")
    return {task: list(parse(files[task][0], task)) for task in tasks}


def parse(path: Path, task: int) -> Iterator[Example]:
    """The questions of one file."""
    story, places = Story(task), dict[int, int]()
    number = found = 0
    for at, line in enumerate(read_lines(path), start=1):
        where = f"{path}:{at}"
        head, _, text = line.partition(" ")
        if head not in ("1", str(number + 1)):
            expected = f"{number + 1}, or 1 for a new story" if number else "1"
            raise DataError(f"{where}: expected a line that begins with {expected}. Found: {line}")
        number = int(head)
        if number == 1:
            story, places = Story(task), {}
        columns = [column.strip() for column in text.split("\t")]
        if len(columns) == 1 and columns[0]:
            places[number] = story.tell(columns[0])
        elif len(columns) == 3 and all(columns[:2]):
            story.ask(columns[0], columns[1], _supports(columns[2], places, where))
            yield story.examples[-1]
            found += 1
        else:
            raise DataError(
                f"{where}: expected a sentence, or a question, its answer and its supporting "
                f"sentences, separated by tabs. Found: {line}"
            )
    if not found:
        raise DataError(f"{path}: expected at least one question")


def _supports(ids: str, places: dict[int, int], where: str) -> set[int]:
    try:
        return {places[int(each)] for each in ids.split()}
    except (ValueError, KeyError):
        raise DataError(
            f"{where}: expected the numbers of earlier sentences of the story. Found: {ids}"
        ) from None
