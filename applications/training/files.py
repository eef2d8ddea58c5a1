"""Nothing half-written is ever left under its final name, and `checksums` knows what is."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from applications.training import checksums


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a name beside `path` to write to; on success it takes the place of `path` in one step.

    On any error the old file stays as it was and the new one is removed. An `OSError` always
    names `path`, also when the system call that failed (a full disk) knew only a descriptor.
    """
    partial = _beside(path)
    try:
        yield partial
        _flush_to_disk(partial)
        with checksums.replacing(path, partial):
            os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `replacing`, for a whole folder: yields an empty one to fill."""
    partial, old = _beside(path), path.with_name(f".old-{path.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        with checksums.replacing(path, partial):
            if path.exists():  # A folder cannot replace a full one: step aside, step in, clear up.
                shutil.rmtree(old, ignore_errors=True)
                os.replace(path, old)
            os.replace(partial, path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        name = error.filename or str(path)
        raise OSError(error.errno, error.strerror or str(error), str(name)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8, wholly or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path`, wholly or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def delete(path: Path) -> None:
    """Deletes a file."""
    checksums.forget(path)
    path.unlink()


def rename(path: Path, new: Path) -> None:
    """Gives a file another name, under which it is not entered in the sums."""
    checksums.forget(path)
    os.replace(path, new)


def _beside(path: Path) -> Path:
    # Same folder, so that the rename stays within one file system; same suffix, since Keras and
    # matplotlib choose the format by it.
    return path.with_name(f".partial-{path.name}")


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
