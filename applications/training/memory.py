"""How the C library treats memory that training frees and takes again at every step."""

from __future__ import annotations

from export.memory import mallopt

_TOP_PAD = -2  # M_TOP_PAD of mallopt(3)
_HEAP = 64 * 2**20  # bytes of a thread's heap in glibc


def keep_freed() -> bool:
    """Lets every thread keep a heap's worth of freed memory, where the C library is glibc.

    By default glibc gives a worker's freed pages back to the system, which fills them with zeros
    for the next step, again and again where steps allocate tens of MiB.

    Returns:
        Whether the C library knows of it.
    """
    return mallopt(_TOP_PAD, _HEAP)
