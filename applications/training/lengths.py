"""Lengths of requests that warm a server up."""

from __future__ import annotations

MOST = 10  # with every usual batch size, 60 records, which are all run whenever a model is loaded


def ladder(longest: int, shortest: int = 1) -> list[int]:
    """Powers of two from `shortest` to `longest`, and these two; of more than ten, the longest."""
    powers = (1 << power for power in range(longest.bit_length()))
    between = {power for power in powers if shortest < power < longest}
    return sorted({min(shortest, longest), *between, longest})[-MOST:]
