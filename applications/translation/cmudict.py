"""The CMU Pronouncing Dictionary: how English words are said, from their letters.

A line of its file is a word and its phones, `zebra Z IY1 B R AH0`; a further pronunciation has a
number, `zebra(2)`; what follows a `#` is a comment. As is usual in work on the task:

* digits of stress are removed, which leaves 39 phones, and pronunciations that then are equal are
  one;
* every pronunciation of a word is a right answer.

Words with other signs than the letters a to z, such as `o'clock`, `t-shirt` and `a.m.`, are left
out. A hash of the word alone decides what it is for, so that a word is in one part, and in the same
one whatever the seed and whatever other words there are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from applications.training import text_files
from applications.training.errors import DataError

NAME = "cmudict.dict"
PARTS = 20
VALIDATION, TEST = (0,), (1, 2)  # of the parts: 5 % and 10 % of the words

_NUMBER = re.compile(r"\(\d+\)$")
_LETTERS = re.compile(r"[a-z]+")
_PHONE = re.compile(r"([A-Z]+)[012]?")


class Word(NamedTuple):
    """A word, and all its pronunciations: phones with a space between them."""

    letters: str
    pronunciations: tuple[str, ...]


class Dictionary(NamedTuple):
    """The words of a file in its order, and how many were left out."""

    words: Sequence[Word]
    left_out: int


def read(folder: Path) -> Dictionary:
    """Reads `cmudict.dict`, or any dictionary of its format, in a folder."""
    path = folder / NAME
    if not path.is_file():
        raise DataError(f"{folder}: expected {NAME} here, found none")
    words: dict[str, dict[str, None]] = {}  # a set with an order
    left_out = set()
    for word, pronunciation in _entries(path):
        if _LETTERS.fullmatch(word):
            words.setdefault(word, {})[pronunciation] = None
        else:
            left_out.add(word)
    if not words:
        raise DataError(f"{path}: expected words of the letters a to z, found none")
    return Dictionary([Word(word, tuple(each)) for word, each in words.items()], len(left_out))


def split(words: Sequence[Word]) -> tuple[list[Word], list[Word], list[Word]]:
    """The words for training, for validation and for test."""
    train: list[Word] = []
    validation: list[Word] = []
    test: list[Word] = []
    for word in words:
        part = _part(word.letters)
        chosen = validation if part in VALIDATION else test if part in TEST else train
        chosen.append(word)
    return train, validation, test


def _part(word: str) -> int:
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") % PARTS


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    """The word and the pronunciation of each line, without numbers, stress and comments."""
    for number, line in enumerate(text_files.read_lines(path), start=1):
        word, *phones = line.partition("#")[0].split() or [""]
        found = [_PHONE.fullmatch(phone) for phone in phones]
        if not phones or None in found:
            raise DataError(
                f"{path}:{number}: expected a word and its phones, such as "
                f"`zebra Z IY1 B R AH0`, found `{line}`"
            )
        yield _NUMBER.sub("", word), " ".join(phone[1] for phone in found if phone)
