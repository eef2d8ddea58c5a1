"""Many rows through a server: in batches, several at once, answers in the order of the rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from export.errors import ExportError, ServingError

Tensors = dict[str, np.ndarray]


class _Batch(NamedTuple):
    """Consecutive rows of equal types and shapes; `first` counts from 1."""

    first: int
    rows: list[Tensors]


def stream(
    rows: Iterable[Mapping[str, Any]],
    convert: Callable[[Mapping[str, Any]], Tensors],
    predict: Callable[[Tensors], Tensors],
    batch_size: int,
    concurrent: int,
) -> Iterator[Tensors]:
    """The answer to each row; see `export.client.Client.stream`.

    Args:
        rows: as the caller has them.
        convert: makes the arrays of a row.
        predict: asks for a batch, in threads.
        batch_size: the most rows in a batch.
        concurrent: how many batches are asked for at once.
    """
    pending: deque[Future[list[Tensors]]] = deque()
    pool = ThreadPoolExecutor(concurrent)
    try:
        for future in _submitted(pool, predict, _batches(rows, convert, batch_size)):
            pending.append(future)
            if len(pending) == concurrent:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _submitted(
    pool: ThreadPoolExecutor, predict: Callable[[Tensors], Tensors], batches: Iterator[_Batch]
) -> Iterator[Future[list[Tensors]]]:
    """The answers to come; one that is an error, the last, if the rows could not be read on."""
    try:
        for batch in batches:
            yield pool.submit(_ask, predict, batch)
    except Exception as error:
        failed: Future[list[Tensors]] = Future()
        failed.set_exception(error)
        yield failed


def _batches(
    rows: Iterable[Mapping[str, Any]],
    convert: Callable[[Mapping[str, Any]], Tensors],
    batch_size: int,
) -> Iterator[_Batch]:
    first, batch = 1, list[Tensors]()
    try:
        for number, row in enumerate(rows, 1):
            arrays = _converted(convert, number, row)
            if batch and _kind(arrays) != _kind(batch[0]):
                yield _Batch(first, batch)
                first, batch = number, []
            batch.append(arrays)
            if len(batch) == batch_size:
                yield _Batch(first, batch)
                first, batch = number + 1, []
    except Exception:
        if batch:
            yield _Batch(first, batch)
        raise
    if batch:
        yield _Batch(first, batch)


def _converted(
    convert: Callable[[Mapping[str, Any]], Tensors], number: int, row: Mapping[str, Any]
) -> Tensors:
    try:
        return convert(row)
    except ExportError as error:
        raise ExportError(f"row {number}: {error}") from error


def _kind(row: Tensors) -> Any:
    """What rows of a batch have in common."""
    return {name: (array.dtype, array.shape) for name, array in row.items()}


def _ask(predict: Callable[[Tensors], Tensors], batch: _Batch) -> list[Tensors]:
    count = len(batch.rows)
    last = batch.first + count - 1
    where = f"row {last}" if count == 1 else f"rows {batch.first} to {last}"
    try:
        answer = predict({name: np.stack([r[name] for r in batch.rows]) for name in batch.rows[0]})
    except ServingError as error:
        raise ServingError(error.code, f"{where}: {error.message}") from error
    for name, array in answer.items():
        if array.shape[:1] != (count,):
            raise ExportError(
                f"{where}: expected {count} rows in output {name!r}. Received: shape {array.shape}."
            )
    return [{name: array[row, ...] for name, array in answer.items()} for row in range(count)]
