"""What a machine is given to work on, and what is expected of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NOT_ASKED = -1


class Sequences(NamedTuple):
    """N sequences of at most T steps: of vectors, or of symbols, to be told one step ahead."""

    inputs: np.ndarray  # (N, T, D) float32, or (N, T) int32
    targets: np.ndarray  # (N, T, K) float32, or (N, T) int32; -1 where nothing is asked
    lengths: np.ndarray  # (N,) int32

    @property
    def asked(self) -> np.ndarray:
        """Whether an answer is expected: True or False for every bit or symbol."""
        return self.targets != NOT_ASKED
