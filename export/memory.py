"""How the C library keeps memory for the threads of a server."""

from __future__ import annotations

import ctypes
import sys

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8  # M_MMAP_THRESHOLD and M_ARENA_MAX of mallopt(3)
_ARENAS = 2
_LARGE = 4 * 2**20  # bytes


def give_back_freed() -> bool:
    """Has a server of many threads keep little of what it has freed, where the C library is glibc.

    By default glibc gives each thread an arena of its own, up to eight for every core, and what is
    freed in one is of no use to the others: under requests of all sizes, a server grows by a third
    before it stays as it is. Here all threads share two. And blocks of 4 MiB or more go back to the
    system when they are freed, which by default those do not whose like was freed before.

    Returns:
        Whether the C library knows of it.
    """
    return mallopt(_ARENA_MAX, _ARENAS) and mallopt(_MMAP_THRESHOLD, _LARGE)


def mallopt(option: int, value: int) -> bool:
    """Sets an option of glibc's `mallopt(3)`; False if it is not known here."""
    if sys.platform != "linux":
        return False
    function = getattr(ctypes.CDLL(None), "mallopt", None)
    return function is not None and bool(function(option, value))
