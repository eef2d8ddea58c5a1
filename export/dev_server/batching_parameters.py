"""When a server runs requests together: the file of `--batching_parameters_file`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.dev_server.text_protos import BatchingParameters, read_text
from export.errors import ExportError


@dataclass(frozen=True)
class Parameters:
    """When requests are run together, with the names and defaults of TensorFlow Serving.

    Args:
        max_batch_size: the most rows of a batch.
        batch_timeout_micros: how long a batch waits to be filled, in microseconds.
        max_enqueued_batches: how many batches of one signature may wait.
        num_batch_threads: how many batches are run at once.
        allowed_batch_sizes: sizes that batches are rounded up to, in rising order.
        pad_variable_length_inputs: whether rows of different shapes meet: the smaller ones are
            padded at their ends, with the first element of their own request.
        enable_large_batch_splitting: whether a request of more rows is cut into several.
        max_execution_batch_size: with splitting, the most rows that are run together.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    def __post_init__(self) -> None:
        sizes = self.allowed_batch_sizes
        if list(sizes) != sorted(set(sizes)):
            raise ExportError(
                f"allowed_batch_sizes entries must be monotonically increasing. Received: {sizes}"
            )
        if sizes and sizes[-1] != self.most:
            name = "max_execution_batch_size" if self.splits else "max_batch_size"
            raise ExportError(
                f"final entry in allowed_batch_sizes must equal {name}. "
                f"Received: {sizes[-1]} and {self.most}"
            )
        for name, least in (
            ("max_batch_size", 1),
            ("batch_timeout_micros", 0),
            ("max_enqueued_batches", 1),
            ("num_batch_threads", 1),
        ):
            if getattr(self, name) < least:
                raise ExportError(
                    f"{name} must be at least {least}. Received: {getattr(self, name)}"
                )
        if self.most > self.max_batch_size:
            raise ExportError(
                "max_execution_batch_size must not exceed max_batch_size. "
                f"Received: {self.most} and {self.max_batch_size}"
            )

    @property
    def splits(self) -> bool:
        """Whether large requests are cut."""
        return self.enable_large_batch_splitting

    @property
    def most(self) -> int:
        """The most rows that are run together."""
        return (self.splits and self.max_execution_batch_size) or self.max_batch_size

    def rounded(self, size: int) -> int:
        """The rows that a batch of `size` rows is run with."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Parameters:
        """The parameters of a `--batching_parameters_file`."""
        message = read_text(
            Path(path), BatchingParameters(), "tensorflow.serving.BatchingParameters"
        )
        given: dict[str, Any] = {}
        for each, value in message.ListFields():
            if each.name == "allowed_batch_sizes":
                given[each.name] = tuple(value)
            elif each.name != "thread_pool_name":  # a name and no more
                given[each.name] = getattr(value, "value", value)
        try:
            return cls(**given)
        except ExportError as error:
            raise ExportError(f"{path}: {error}") from error
