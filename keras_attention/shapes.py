"""Shapes of which not all sizes are known."""


def differ(shape, other, broadcast=False):
    """Whether two shapes of equal rank are known to differ, or not to broadcast to the second."""
    skipped = (None, 1) if broadcast else (None,)
    return any(
        a not in skipped and b is not None and a != b for a, b in zip(shape, other, strict=True)
    )
