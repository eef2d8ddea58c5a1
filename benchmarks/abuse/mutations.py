"""Bytes that were right, made wrong in ways that a seed decides."""

from __future__ import annotations

import random
from collections.abc import Callable


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The same bytes after one to three of the changes below."""
    for _ in range(rng.randint(1, 3)):
        data = rng.choice(_CHANGES)(rng, data)
    return data


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4) if data else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def _delete(rng: random.Random, data: bytes) -> bytes:
    start, stop = _range(rng, data)
    return data[:start] + data[stop:]


def _duplicate(rng: random.Random, data: bytes) -> bytes:
    start, stop = _range(rng, data)
    return data[:stop] + data[start:stop] * rng.choice((1, 1, 2, 100)) + data[stop:]


def _insert(rng: random.Random, data: bytes) -> bytes:
    start, _ = _range(rng, data)
    added = rng.choice((b"\0", b"\xff\xfe", b"\r\n", b"\xed\xa0\x80", rng.randbytes(20)))
    return data[:start] + added + data[start:]


def _swap(rng: random.Random, data: bytes) -> bytes:
    start, stop = _range(rng, data)
    return data[stop:] + data[start:stop] + data[:start]


def _range(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, rng.randint(start, min(len(data), start + 64))


_CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip, _flip, _truncate, _delete, _duplicate, _insert, _swap,
)  # fmt: skip
