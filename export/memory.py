"""How the C library keeps memory for the threads of a server."""

from __future__ import annotations

import ctypes
import sys

_ARENA_MAX = -8  # M_ARENA_MAX of mallopt(3)
_ARENAS = 2


def share_arenas() -> bool:
    """Has all threads take memory from the same two arenas, where the C library is glibc.

    By default glibc gives each thread one of its own, up to eight for every core, and what is freed
    in one is of no use to the others: under requests of all sizes, a server of many threads grows
    by a third before it stays as it is.

    Returns:
        Whether the C library knows of it.
    """
    return mallopt(_ARENA_MAX, _ARENAS)


def mallopt(option: int, value: int) -> bool:
    """Sets an option of glibc's `mallopt(3)`; False if it is not known here."""
    if sys.platform != "linux":
        return False
    function = getattr(ctypes.CDLL(None), "mallopt", None)
    return function is not None and bool(function(option, value))
