"""Sentence pairs from files: read as they are, and every flaw named by file and line."""

from __future__ import annotations

import gzip
import re
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from applications.training.errors import DataError, UserError
from applications.training.text_files import (
    iterate_pairs,
    read_lines,
    read_pairs,
    read_split,
    split_file,
)

PAIRS = [
    ("Zwei Hunde", "Two dogs"),
    ("", "nothing"),
    ("日本語\u2028y", "a\x0bb\x85c"),
    (" x ", "z"),
]


def write(path, text):
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def refuses(path, message):
    """A context in which a `DataError` must begin with `path` and match `message` to its end."""
    return pytest.raises(DataError, match=f"^{re.escape(str(path))}{message}$")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_two_aligned_files(tmp_path, suffix, end):
    source = write(tmp_path / f"a.de{suffix}", "".join(left + end for left, _ in PAIRS))
    target = write(tmp_path / "a.en", end.join(right for _, right in PAIRS))  # no last line end
    assert read_pairs(source, target) == PAIRS
    assert read_pairs(str(source), str(target)) == PAIRS


@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.tsv.gz"])
def test_one_tsv(tmp_path, name):
    path = write(tmp_path / name, "".join(f"{left}\t{right}\n" for left, right in PAIRS))
    assert read_pairs(path) == PAIRS


LINES = st.lists(
    st.text(st.characters(exclude_characters="\n\r\t\ufeff", codec="utf-8")), min_size=1, max_size=7
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES)
def test_what_is_written_is_read(tmp_path, lines):
    path = write(tmp_path / "x.gz", "".join(line + "\n" for line in lines))
    assert list(read_lines(path)) == lines


def test_a_byte_order_mark_is_no_text(tmp_path):
    assert read_pairs(write(tmp_path / "a.tsv", "\ufeffeins\tone\n")) == [("eins", "one")]


def test_pairs_come_before_the_file_is_read_through(tmp_path):
    path = write(tmp_path / "a.tsv", "a\tb\nc\td\nflawed\n")
    assert list(islice(iterate_pairs(path), 2)) == [("a", "b"), ("c", "d")]
    with refuses(path, ":3: .*"):
        read_pairs(path)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_malformed_utf8_is_named_by_line_and_byte(tmp_path, name):
    path = write(tmp_path / name, b"fine\nschr\xc3\xb6g\nM\xfcll\n")
    with refuses(path, r":3: expected UTF-8, found byte 0xfc at byte 2 of the line \(.*\)"):
        list(read_lines(path))


@pytest.mark.parametrize(("line", "count"), [("one", 1), ("", 1), ("a\tb\tc", 3)])
def test_a_wrong_number_of_columns_is_named_by_line(tmp_path, line, count):
    path = write(tmp_path / "a.tsv", f"eins\tone\n{line}\nzwei\ttwo\n")
    with refuses(path, f":2: expected 2 columns separated by a tab, found {count}"):
        read_pairs(path)


@pytest.mark.parametrize("shorter", ["source", "target"])
def test_files_of_different_lengths(tmp_path, shorter):
    short, long = (
        write(tmp_path / "short", "1\n2\n3\n"),
        write(tmp_path / "long", "1\n2\n3\n4\n5\n"),
    )
    paths = (short, long) if shorter == "source" else (long, short)
    message = rf":4: expected as many lines as {re.escape(str(long))} has \(5\), found 3"
    with refuses(short, message):
        read_pairs(*paths)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_an_empty_file(tmp_path, name):
    empty, full = write(tmp_path / name, ""), write(tmp_path / "full", "1\n")
    for arguments in [(empty,), (empty, full), (full, empty)]:
        with refuses(empty, ": expected at least one line, found an empty file"):
            read_pairs(*arguments)


def test_a_gz_file_that_is_none(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(b"plain text\n")
    with refuses(path, r":1: corrupt gzip file: Not a gzipped file .*"):
        list(read_lines(path))


def test_a_gz_file_cut_short(tmp_path):
    path = write(tmp_path / "a.gz", "".join(f"line {k * k}\n" for k in range(997)))
    path.write_bytes(path.read_bytes()[:-13])
    with refuses(path, r":\d+: corrupt gzip file: .*end-of-stream.*"):
        list(read_lines(path))


def test_a_gz_file_with_damage_in_the_middle(tmp_path):
    path = write(tmp_path / "a.gz", "".join(f"line {k * k}\n" for k in range(997)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)
    with refuses(path, r":\d+: (corrupt gzip file|expected UTF-8).*"):
        list(read_lines(path))


def test_missing_files_and_folders_in_their_place(tmp_path):
    with refuses(tmp_path / "none.gz", ": cannot be read: No such file or directory"):
        read_pairs(tmp_path / "none.gz")
    with refuses(tmp_path, ": cannot be read: Is a directory"):
        read_pairs(tmp_path)


def test_splits_of_a_folder_laid_out_as_multi30k(tmp_path):
    for split in ("train", "val", "test_2016_flickr"):
        write(tmp_path / f"{split}.en.gz", f"{split} dog\n")
        write(tmp_path / f"{split}.de", f"{split} Hund\n")
    for split in ("train", "val", "test_2016_flickr"):
        pairs = read_split(tmp_path, split, ("en", "de"))
        assert pairs == [(f"{split} dog", f"{split} Hund")]
    assert split_file(tmp_path, "val", "en") == tmp_path / "val.en.gz"


def test_a_split_that_is_not_there(tmp_path):
    with refuses(tmp_path, r": expected val\.fr or val\.fr\.gz here, found neither"):
        read_split(tmp_path, "val", ("fr", "de"))
    with refuses(tmp_path / "none", ": no such folder"):
        read_split(tmp_path / "none", "val", ("fr", "de"))


def test_data_errors_are_mistakes_of_the_users():
    assert issubclass(DataError, UserError)
