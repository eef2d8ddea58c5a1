"""How fast a training goes, and how much memory it took."""

from __future__ import annotations

import sys
import time
from typing import Any

import keras
import tensorflow as tf

from applications.training.task import Datasets


class Speed(keras.callbacks.Callback):
    """Measures the steps of a training: not validation, and not the first steps, which compile.

    Args:
        datasets: The run's.
        batch_size: Examples of a step, where `datasets` does not say how many an epoch has.
    """

    def __init__(self, datasets: Datasets, batch_size: int) -> None:
        super().__init__()
        steps = int(datasets.train.cardinality())
        amounts = datasets.amounts.items() if steps > 0 else ()
        self._of_step = {unit: count / steps for unit, count in amounts}
        self._of_step.setdefault("examples", batch_size)
        self._start: tuple[int, float] | None = None  # a step of this epoch, and when it began
        self._end = (0, 0.0)
        self._is_compiled = False
        self._steps, self._seconds = 0, 0.0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._start is None and self._is_compiled:
            self._start = (batch, time.monotonic())

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._end = (batch + 1, time.monotonic())
        if self._start is None:
            self._is_compiled, self._start = True, self._end

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        # A GPU may still have been at the last steps; now it is done, as the metrics were read.
        self._end = (self._end[0], time.monotonic())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._start is not None:
            self._steps += self._end[0] - self._start[0]
            self._seconds += self._end[1] - self._start[1]
        self._start = None

    def results(self) -> dict[str, Any] | None:
        """Rates and peak memory; `None` where there were not two steps."""
        if not self._steps:
            return None
        rates = {
            f"{unit}_per_second": round(count * self._steps / self._seconds, 1)
            for unit, count in sorted(self._of_step.items())
        }
        return {**rates, "peak_memory_bytes": peak_memory()}

    def describe(self) -> str:
        """The results in one line."""
        found = self.results()
        if found is None:
            return "speed: too few steps to measure it"
        memory = found.pop("peak_memory_bytes")
        rates = (
            f"{value:,.0f} {name.removesuffix('_per_second')}/s" for name, value in found.items()
        )
        line = f"speed: {', '.join(rates)}"
        return line if memory is None else f"{line}; peak memory {memory / 2**30:.2f} GiB"


def peak_memory() -> int | None:
    """Most bytes that TensorFlow had on any GPU; without one, that this process had in memory.

    `None` where the system does not tell.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        names = (f"GPU:{index}" for index in range(len(gpus)))
        return max(tf.config.experimental.get_memory_info(name)["peak"] for name in names)
    try:
        import resource
    except ImportError:  # on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
