"""Requests that meet are run together, as by `--enable_batching` of TensorFlow Serving."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from export.dev_server.batching_parameters import Parameters
from export.dev_server.session import Runner
from export.errors import ServingError


@dataclass(eq=False)
class _Task:
    """One request: its arrays, all of `size` rows, and what becomes of it."""

    arrays: Sequence[np.ndarray]
    size: int
    deadline: float | None
    done: threading.Event = field(default_factory=threading.Event)
    values: list[np.ndarray] = field(default_factory=list)
    error: ServingError | None = None

    def end(self, values: list[np.ndarray], error: ServingError | None = None) -> None:
        self.values, self.error = values, error
        self.done.set()


@dataclass(eq=False)
class _Batch:
    """Tasks that are run together; `key` says of which model, and with what in and out."""

    key: tuple[object, ...]
    runner: Runner
    feeds: Sequence[str]
    fetches: Sequence[str]
    ready: float  # when it waits no longer
    tasks: list[_Task] = field(default_factory=list)
    size: int = 0


class BatchScheduler:
    """Threads that run batches, the first come first, for all models of a server."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self._waiting: list[_Batch] = []
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, daemon=True)
            for _ in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def batching(self, runner: Runner) -> Runner:
        """What runs as `runner` does, but several requests at once."""
        return _Batching(runner, self)

    def close(self) -> None:
        """Ends the threads once they have run what waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def add(
        self, runner: Runner, feeds: Sequence[str], fetches: Sequence[str], task: _Task
    ) -> None:
        """Puts a task into the last batch of its kind, or into a new one.

        Raises:
            ServingError: UNAVAILABLE, if as many batches wait as may.
        """
        key = (id(runner), tuple(feeds), tuple(fetches))
        with self._changed:
            batches = [batch for batch in self._waiting if batch.key == key]
            if not batches or batches[-1].size + task.size > self.parameters.most:
                if len(batches) >= self.parameters.max_enqueued_batches:
                    raise ServingError(
                        "UNAVAILABLE",
                        "The batch scheduling queue to which this task was submitted is full; "
                        f"{len(batches)} batches wait",
                    )
                ready = time.monotonic() + 1e-6 * self.parameters.batch_timeout_micros
                batches.append(_Batch(key, runner, feeds, fetches, ready))
                self._waiting.append(batches[-1])
                self._changed.notify()  # one waits for its time
            batches[-1].tasks.append(task)
            batches[-1].size += task.size
            if batches[-1].size >= self.parameters.most:
                self._changed.notify()

    def _work(self) -> None:
        while batch := self._next():
            try:
                _run(batch, self.parameters)
            except Exception as error:  # a thread that died would leave clients waiting
                failed = ServingError("INTERNAL", f"{type(error).__name__}: {error}")
                for task in batch.tasks:
                    task.end([], failed)

    def _next(self) -> _Batch | None:
        """The first batch that is full or has waited enough; None after the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                for index, batch in enumerate(self._waiting):
                    full = batch.size >= self.parameters.most
                    if full or batch.ready <= now or self._closed:
                        return self._waiting.pop(index)
                if self._closed:
                    return None
                wait = min((batch.ready - now for batch in self._waiting), default=None)
                self._changed.wait(wait)


class _Batching:
    def __init__(self, runner: Runner, scheduler: BatchScheduler) -> None:
        self._runner = runner
        self._scheduler = scheduler

    def run(
        self,
        feeds: Sequence[str],
        fetches: Sequence[str],
        arrays: Sequence[np.ndarray],
        timeout: float | None = None,
    ) -> list[np.ndarray]:
        parameters = self._scheduler.parameters
        size = _rows(arrays)
        if size > parameters.max_batch_size or (size > parameters.most and not parameters.splits):
            raise ServingError(
                "INVALID_ARGUMENT",
                f"Task size {size} is larger than maximum input batch size "
                f"{parameters.max_batch_size}",
            )
        deadline = None if timeout is None else time.monotonic() + timeout
        tasks = [
            _Task([array[start : start + parameters.most] for array in arrays],
                  min(parameters.most, size - start), deadline)
            for start in range(0, max(size, 1), parameters.most)
        ]  # fmt: skip
        for task in tasks:
            self._scheduler.add(self._runner, feeds, fetches, task)
        for task in tasks:
            left = None if deadline is None else deadline - time.monotonic()
            if not task.done.wait(left):
                raise ServingError(
                    "DEADLINE_EXCEEDED", f"No answer within {timeout} s from a batch"
                )
            if task.error:
                raise task.error
        if len(tasks) == 1:
            return tasks[0].values
        return [np.concatenate(parts) for parts in zip(*(t.values for t in tasks), strict=True)]


def _rows(arrays: Sequence[np.ndarray]) -> int:
    if not arrays:
        raise ServingError("INVALID_ARGUMENT", "Batching session Run() must have inputs")
    if any(array.ndim == 0 for array in arrays):
        raise ServingError(
            "INVALID_ARGUMENT", "Batching Run() input tensors must have at least one dimension"
        )
    sizes = {len(array) for array in arrays}
    if len(sizes) > 1:
        raise ServingError(
            "INVALID_ARGUMENT",
            "Batching Run() input tensors must have equal 0th-dimension size. "
            f"Received: {sorted(sizes)}",
        )
    return sizes.pop()


def _run(batch: _Batch, parameters: Parameters) -> None:
    now = time.monotonic()
    deadlines = [task.deadline for task in batch.tasks]
    last = None if None in deadlines else max(d for d in deadlines if d is not None)
    try:
        if last is not None and last <= now:
            raise ServingError(
                "RESOURCE_EXHAUSTED", "Run() timeout exceeded while waiting in batching queue"
            )
        size = parameters.rounded(batch.size)
        arrays = [
            _joined(name, [task.arrays[index] for task in batch.tasks], size, parameters)
            for index, name in enumerate(batch.feeds)
        ]
        timeout = None if last is None else last - now
        values = batch.runner.run(batch.feeds, batch.fetches, arrays, timeout)
        for value in values:
            _check_output(value, size)
    except ServingError as error:
        for task in batch.tasks:
            task.end([], error)
        return
    start = 0
    for task in batch.tasks:
        task.end([value[start : start + task.size] for value in values])
        start += task.size


def _joined(
    name: str, arrays: Sequence[np.ndarray], size: int, parameters: Parameters
) -> np.ndarray:
    """The rows of all, then copies of the first row of the last, `size` in all."""
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        if not parameters.pad_variable_length_inputs:
            raise ServingError(
                "FAILED_PRECONDITION",
                f"Tensors with name '{name}' from different tasks have different shapes and "
                "padding is turned off. Set pad_variable_length_inputs to true, or ensure that "
                "all tensors with the same name have equal dimensions starting with the first dim.",
            )
        if len({len(shape) for shape in shapes}) > 1:
            raise ServingError(
                "INVALID_ARGUMENT",
                f"Tensors with name '{name}' from different tasks have different ranks.",
            )
        largest = np.max([array.shape[1:] for array in arrays], axis=0)
        arrays = [_padded(array, largest) for array in arrays]
    missing = size - sum(map(len, arrays))
    if missing:
        arrays = [*arrays, np.repeat(arrays[-1][:1], missing, axis=0)]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _padded(array: np.ndarray, largest: np.ndarray) -> np.ndarray:
    if array.size == 0:
        raise ServingError(
            "INVALID_ARGUMENT", "A tensor without elements cannot be padded: it has no first one."
        )
    padded = np.full((len(array), *largest), array.flat[0], array.dtype)
    padded[tuple(slice(size) for size in array.shape)] = array
    return padded


def _check_output(value: np.ndarray, size: int) -> None:
    if value.ndim == 0:
        raise ServingError("FAILED_PRECONDITION", "Batched output tensor has 0 dimensions")
    if len(value) != size:
        raise ServingError(
            "FAILED_PRECONDITION",
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
            f"sizes of the input tensors: {len(value)}, {size}",
        )
