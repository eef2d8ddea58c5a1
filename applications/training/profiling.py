"""A trace of a few steps: which operations run when, on which device, and what waits for what."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from applications.training import console

SKIPPED = 5  # the first compile, and fill what has to be filled
TRACED = 5


class Profile(keras.callbacks.Callback):
    """Traces some calls of the training function, after the first ones, into a folder.

    One call is one step, or as many as the model is compiled to run at once. An epoch with fewer
    calls than are left out goes on in the next.

    Args:
        folder: Where TensorBoard is to look for it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._calls = 0
        self._step: Any = None

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._calls == SKIPPED:
            tf.profiler.experimental.start(str(self.folder))
        if SKIPPED <= self._calls < SKIPPED + TRACED:
            self._step = tf.profiler.experimental.Trace("train", step_num=batch, _r=1)
            self._step.__enter__()
        self._calls += 1

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None
        if self._calls == SKIPPED + TRACED:
            self._stop()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._calls <= SKIPPED:
            console.say(
                f"--profile: nothing is traced, as there were no more than {SKIPPED} steps to "
                "leave out first"
            )
        elif self._calls < SKIPPED + TRACED:
            self._stop()

    def _stop(self) -> None:
        self.model.optimizer.iterations.numpy()  # waits for a GPU to be done
        tf.profiler.experimental.stop()
        console.say(f"written: {self.folder}; {_how_to_look(self.folder)}")


def _how_to_look(folder: Path) -> str:
    look = f"look at it with: tensorboard --logdir {folder}"
    packages = ("tensorboard", "xprof")
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return f"{look} (it needs pip install {' '.join(missing)})" if missing else look
