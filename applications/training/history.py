"""history.csv: one line per epoch, whole at every moment."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import keras

from applications.training import files


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a history; none where there is no file yet."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def training_seconds(path: Path) -> float:
    """Time spent in all epochs of `path`, over all the sessions of a resumed run."""
    return sum(float(row["seconds"]) for row in read(path))


class HistoryFile(keras.callbacks.Callback):
    """Rewrites the file after each epoch; `CSVLogger` appends, and so repeats a resumed epoch.

    Args:
        path: The CSV file: `epoch` (from 1), `seconds`, and every quantity Keras logs.
        writes: Whether this process is the one that writes.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        super().__init__()
        self.path = path
        self.writes = writes
        self.rows: list[dict[str, Any]] = []
        self._started = 0.0

    def keep(self, epochs: int) -> None:
        """Goes on after the first rows on file; later ones belong to a session cut short."""
        self.rows = list(read(self.path)[:epochs])

    @property
    def elapsed(self) -> float:
        """Seconds since the epoch began, in this session and those before."""
        return time.monotonic() - self._started

    def begin_earlier(self, seconds: float) -> None:
        """Counts time that the epoch took in an earlier session."""
        self._started -= seconds

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        seconds = round(self.elapsed, 3)
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, "seconds": seconds, **values})
        if not self.writes:
            return
        names = dict.fromkeys(name for row in self.rows for name in row)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        files.write_text(self.path, text.getvalue())
