"""Sentence pairs from a user's own files: two aligned files, or one of tab-separated pairs.

Files are UTF-8, one sentence or pair a line; a name that ends in `.gz` is read through gzip. Line n
of one file belongs to line n of the other, so no line is dropped, not even an empty one. Whatever
is wrong is a `DataError` whose message begins with the file and, where there is one, the line.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import IO, cast

from applications.training.errors import DataError

Pair = tuple[str, str]


def read_pairs(source: str | Path, target: str | Path | None = None) -> list[Pair]:
    """All pairs of `iterate_pairs`, checked to the last line before any is used.

    Args:
        source: a file of source sentences; or, without `target`, a TSV of source and target.
        target: the file with the translation of each line.

    Returns:
        A list of (source, target), not empty.
    """
    return list(iterate_pairs(source, target))


def iterate_pairs(source: str | Path, target: str | Path | None = None) -> Iterator[Pair]:
    """The pairs of two aligned files or of one TSV, read as they are asked for."""
    return _tsv_pairs(Path(source)) if target is None else _aligned(Path(source), Path(target))


def read_split(folder: str | Path, split: str, languages: Pair) -> list[Pair]:
    """The pairs of one split of a folder laid out as Multi30k is: `train.en.gz`, `train.de.gz`, ….

    Args:
        folder: where the files lie.
        split: the name before the language, such as `train`, `val` or `test_2016_flickr`.
        languages: of the source and of the target, such as `("en", "de")`.
    """
    source, target = (split_file(folder, split, language) for language in languages)
    return read_pairs(source, target)


def split_file(folder: str | Path, split: str, language: str) -> Path:
    """The file `{split}.{language}` of a folder, or the same with `.gz`."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    names = [f"{split}.{language}", f"{split}.{language}.gz"]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder}: expected {names[0]} or {names[1]} here, found neither")


def read_lines(path: str | Path) -> Iterator[str]:
    """The lines of a UTF-8 file, plain or `.gz`, without their ends.

    Only a line feed ends a line (with a carriage return before it or not), unlike `str.splitlines`,
    so that both sides of a corpus are cut alike.
    """
    path = Path(path)
    number = 0
    try:
        with _open(path) as stream:
            for number, line in enumerate(stream, start=1):
                yield _decode(line, path, number)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}:{number + 1}: corrupt gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if number == 0:
        raise DataError(f"{path}: expected at least one line, found an empty file")


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _decode(line: bytes, path: Path, number: int) -> str:
    if number == 1:
        line = line.removeprefix(b"\xef\xbb\xbf")  # the byte order mark some editors write
    try:
        return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number}: expected UTF-8, found byte 0x{line[error.start]:02x} at "
            f"byte {error.start + 1} of the line ({error.reason})"
        ) from error


def _tsv_pairs(path: Path) -> Iterator[Pair]:
    for number, line in enumerate(read_lines(path), start=1):
        columns = line.split("\t")
        if len(columns) != 2:
            raise DataError(
                f"{path}:{number}: expected 2 columns separated by a tab, found {len(columns)}"
            )
        yield columns[0], columns[1]


def _aligned(source: Path, target: Path) -> Iterator[Pair]:
    lines = zip_longest(read_lines(source), read_lines(target))
    for number, (left, right) in enumerate(lines, start=1):
        if left is None or right is None:
            short, long = (source, target) if left is None else (target, source)
            raise DataError(
                f"{short}:{number}: expected as many lines as {long} has "
                f"({number + sum(1 for _ in lines)}), found {number - 1}"
            )
        yield left, right
