"""The raw books of the Children's Book Test: passages of sentences, and the sentence after them.

A file holds one tokenised sentence a line; a line `_BOOK_TITLE_ : …` begins a book.

Reference: Hill et al., 2015, The Goldilocks Principle, https://arxiv.org/abs/1511.02301.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from applications.reading import names
from applications.reading.cloze import Cloze, questions
from applications.training.errors import DataError
from applications.training.text_files import read_lines

TITLE = "_BOOK_TITLE_"
LEAST = 2  # how often a name stands within a sentence of its book

Book = list[list[str]]


def read(folder: Path, num_sentences: int) -> tuple[list[Cloze], list[Cloze], list[Cloze]]:
    """Questions of training, validation and test, of different books.

    They are of `cbt_train.txt`, `cbt_valid.txt` and `cbt_test.txt`. Without the first, the last
    book of the second is for validation and the books before it for training.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one with cbt_valid.txt")
    validation, test = (parse(folder / f"cbt_{part}.txt") for part in ("valid", "test"))
    if (path := folder / "cbt_train.txt").is_file():
        train = parse(path)
    elif len(validation) > 1:
        train, validation = validation[:-1], validation[-1:]
    else:
        raise DataError(f"{folder}: expected cbt_train.txt, or two books in cbt_valid.txt")
    train_part, validation_part, test_part = (
        [question for book in books for question in of_book(book, num_sentences)]
        for books in (train, validation, test)
    )
    return train_part, validation_part, test_part


def parse(path: Path) -> list[Book]:
    """The books of a file, as sentences of words."""
    books: list[Book] = []
    for number, line in enumerate(read_lines(path), start=1):
        if line.startswith(TITLE):
            books.append([])
        elif not books:
            raise DataError(f"{path}:{number}: expected {TITLE} : and a title. Found: {line[:60]}")
        elif words := line.split():
            books[-1].append(words)
    return books


def of_book(book: Sequence[Sequence[str]], num_sentences: int) -> Iterator[Cloze]:
    """The questions of every sentence that has so many before it."""
    known = names.names_of(book, LEAST)
    marked = [names.mark(sentence, known) for sentence in book]
    for at in range(num_sentences, len(marked)):
        passage = [word for sentence in marked[at - num_sentences : at] for word in sentence]
        yield from questions(passage, marked[at])
