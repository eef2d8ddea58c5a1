"""SHA256SUMS: what each file of a folder holds, as `sha256sum --check` reads it.

While a file is replaced, a comment tells what it is going to hold, so that the sums are right at
whatever moment all ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from applications.training.errors import UserError

NAME = "SHA256SUMS"
COMING = "# "


class Sums(NamedTuple):
    """The digests of files, by their names below a folder."""

    now: dict[str, str]
    coming: dict[str, list[str]]  # of what may have taken the place of that

    def of(self, name: str) -> list[str]:
        """What a file may hold."""
        return [*self.coming.get(name, ()), *([self.now[name]] if name in self.now else ())]

    def without(self, name: str) -> Sums:
        """The sums of all but a file, or what is in a folder."""

        def kept(each: str) -> bool:
            return each != name and not each.startswith(f"{name}/")

        return Sums(
            {each: value for each, value in self.now.items() if kept(each)},
            {each: values for each, values in self.coming.items() if kept(each)},
        )


def begin(folder: Path) -> None:
    """From now on, what `files` writes into `folder` is entered in its sums."""
    if not (folder / NAME).exists():
        _write(folder, Sums({}, {}))


@contextlib.contextmanager
def replacing(path: Path, new: Path) -> Iterator[None]:
    """Enters that `path`, a file or a folder, is replaced by `new` within this block."""
    folder = _owner(path)
    if folder is None:
        yield
        return
    sums = read(folder)
    files = [each for each in new.rglob("*") if each.is_file()] if new.is_dir() else [new]
    digests = {_name(folder, path / each.relative_to(new)): digest(each) for each in files}
    both = {name: [value, *sums.coming.get(name, ())] for name, value in digests.items()}
    _write(folder, Sums(sums.now, sums.coming | both))
    yield
    others = sums.without(_name(folder, path))
    _write(folder, Sums(others.now | digests, others.coming))


def forget(path: Path) -> None:
    """Enters that `path` is about to be deleted."""
    folder = _owner(path)
    if folder is not None:
        _write(folder, read(folder).without(_name(folder, path)))


def damaged(folder: Path) -> list[str]:
    """Which of the files in the sums of `folder` are missing, or hold something else.

    None where there are no sums, as in runs of earlier versions.
    """
    if not (folder / NAME).exists():
        return []
    sums = read(folder)
    there = {name for name in sums.coming if (folder / name).exists()}
    return [
        name
        for name in sorted(sums.now.keys() | there)
        if not _is_one(folder / name, sums.of(name))
    ]


def is_good(path: Path) -> bool:
    """Whether `path` holds what it should, as far as that was entered."""
    folder = _owner(path)
    digests = [] if folder is None else read(folder).of(_name(folder, path))
    return not digests or _is_one(path, digests)


def read(folder: Path) -> Sums:
    """The sums of `folder`."""
    sums = Sums({}, {})
    text = (folder / NAME).read_bytes().decode("utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.removeprefix(COMING)
        value, between, name = entry[:64], entry[64:66], entry[66:]
        if between != "  " or not name or not set(value) <= set("0123456789abcdef"):
            raise UserError(
                f"{folder / NAME}:{number}: expected a checksum and a name. Found: {line}"
            )
        if entry == line:
            sums.now[name] = value
        else:
            sums.coming.setdefault(name, []).append(value)
    return sums


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_one(path: Path, digests: list[str]) -> bool:
    return path.is_file() and digest(path) in digests


def _write(folder: Path, sums: Sums) -> None:
    lines = [f"{value}  {name}\n" for name, value in sorted(sums.now.items())]
    lines += [f"{COMING}{v}  {name}\n" for name in sorted(sums.coming) for v in sums.coming[name]]
    partial = folder / f".partial-{NAME}"
    with partial.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, folder / NAME)


def _owner(path: Path) -> Path | None:
    """The nearest folder above `path` with sums; none for what is not under its final name yet."""
    for folder in path.parents:
        if folder.name.startswith(".partial-"):
            return None
        if (folder / NAME).exists():
            return folder
    return None


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
