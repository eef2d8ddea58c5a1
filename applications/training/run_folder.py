"""A run folder: whose it is, what it was begun with, and whether it is as it was written."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from applications.training import checksums, config, console
from applications.training.config import TrainConfig, flag
from applications.training.errors import UserError
from applications.training.task import Task

NEEDED = ("config.json", "facts", "features", "history.csv", "model.keras")  # by later stages


def saved_settings(task: Task[Any], given: TrainConfig) -> TrainConfig:
    """The settings that the run in the folder was begun with."""
    folder, path = given.run_dir, given.run_dir / "config.json"
    found = config.read_task(path)
    if found != task.name:
        raise UserError(f"{folder} holds a run of {found}, not of {task.name}.")
    refuse_damage(folder)
    saved = dataclasses.replace(config.load(path, type(given)), run_dir=folder)
    _tell_ignored(given, saved, next(iter(task.presets.values())))
    return saved


@contextlib.contextmanager
def claimed(folder: Path, begun: bool) -> Iterator[None]:
    """Makes sure that the run folder is ours to write to; after a mistake none is left empty."""
    if not begun and (folder / "config.json").exists():
        raise UserError(
            f"{folder} holds a run already: continue it with --resume, or choose another --run-dir."
        )
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):  # Find out before the training, not after it.
        pass
    try:
        yield
    except UserError:
        with contextlib.suppress(OSError):  # Something was written, and is kept.
            for each in made:
                each.rmdir()
        raise


def refuse_damage(folder: Path) -> None:
    """Names what in the folder is not as it was written, and stops if that is needed."""
    found = checksums.damaged(folder)
    needed = [name for name in found if name.partition("/")[0] in NEEDED]
    for name in found:
        if name in needed or (folder / name).exists():  # Who misses a figure can have it drawn.
            console.complain(f"{folder / name} is not as it was written, by {checksums.NAME}.")
    if needed:
        raise UserError(f"{folder} is damaged.")


def _tell_ignored(given: TrainConfig, saved: TrainConfig, default: TrainConfig) -> None:
    """Says which flags have no effect, as a resumed run keeps its settings."""
    ignored = [
        f"{flag(field.name)} {getattr(given, field.name)} (saved: {getattr(saved, field.name)})"
        for field in dataclasses.fields(given)
        if getattr(given, field.name)
        not in (getattr(saved, field.name), getattr(default, field.name))
    ]
    if ignored:
        console.say(f"--resume keeps the saved settings; ignored: {', '.join(ignored)}")
