"""How the folder of a model is laid out, and where things are in a version of it."""

from __future__ import annotations

from pathlib import Path

# What is asked where no signature is named.
DEFAULT_SIGNATURE = "serving_default"
# Where a server looks for warm-up records, below the folder of a version; the most it replays.
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_WARMUP_RECORDS = 1000
_INT64_MAX = 2**63 - 1


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
