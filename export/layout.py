"""How the folder of a model is laid out, and where things are in a version of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

# What is asked where no signature is named.
DEFAULT_SIGNATURE = "serving_default"
# Where a server looks for warm-up records, below the folder of a version; the most it replays.
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_WARMUP_RECORDS = 1000
# The sizes that a server which batches requests rounds up to, unless it is told others.
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
_INT64_MAX = 2**63 - 1


def are_batch_sizes(sizes: Sequence[int]) -> bool:
    """Whether they rise from 1 or more, as a server wants them."""
    return list(sizes) == sorted({size for size in sizes if size >= 1})


def versions(base: Path) -> dict[int, Path]:
    """Version number -> folder of the children of `base` whose names are non-negative int64s.

    Anything else is skipped, as TensorFlow Serving does, so a version being written is never seen.
    """
    found = {}
    for child in sorted(base.iterdir()):
        name = child.name
        if name.isascii() and name.isdigit() and int(name) <= _INT64_MAX and child.is_dir():
            found[int(name)] = child
    return found


def newest_version(base: Path) -> tuple[int, Path] | None:
    """The highest version below `base`, or None where there is none."""
    return max(versions(base).items(), default=None)


def models(directory: Path) -> dict[str, Path]:
    """Name -> base path of the models in a folder: of its children that hold a version."""
    return {
        child.name: child
        for child in sorted(directory.iterdir())
        if child.is_dir() and not child.name.startswith(".") and newest_version(child)
    }
