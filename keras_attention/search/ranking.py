"""What the hypotheses of a beam search are ranked by.

Shapes: A sentences, K alive hypotheses each, C of them to be ranked, Tv values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_attention.loop import pick
from keras_attention.shapes import differ

# Sparse weights may leave a value without any attention, whose logarithm no hypothesis survives.
MIN_COVERAGE = 1e-6


@dataclass(frozen=True)
class Ranking:
    """Penalised log-probabilities (Wu et al., eq. 14): see `beam_search`."""

    length_penalty: float
    coverage_penalty: float
    value_mask: Any  # (batch_size, Tv)

    def __post_init__(self):
        for name in ("length_penalty", "coverage_penalty"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and 0 <= value < math.inf):
                raise ValueError(
                    f"`{name}` must be a finite number, at least 0. Received: {name}={value!r}."
                )
        if self.coverage_penalty and self.value_mask is None:
            raise ValueError(
                "`coverage_penalty` needs a `value_mask` of shape (batch_size, Tv), to know what "
                f"is to be covered. Received: coverage_penalty={self.coverage_penalty}, "
                "value_mask=None."
            )

    def check_values(self, weights) -> None:
        """That the mask, where it is looked at, has a column for each of the weights (N, Tv)."""
        if not self.coverage_penalty:
            return
        shape = tuple(ops.convert_to_tensor(self.value_mask).shape)
        if len(shape) != 2 or differ(shape[1:], weights.shape[1:]):
            raise ValueError(
                "`value_mask` must have shape (batch_size, Tv), for the Tv values that `step` "
                f"gives weights of. Received: value_mask.shape={shape}, "
                f"weights.shape={tuple(weights.shape)}."
            )

    def scores(self, log_probs, length, coverage, covered, slots):
        """Of hypotheses (A, C) of one length, that were at `slots` of the beam (A, C).

        Coverage (A, K, Tv) and what is to be covered (A, Tv) matter only where there is a penalty.
        """
        scores = self.by_length(log_probs, length)
        if not self.coverage_penalty:
            return scores
        costs = ops.log(ops.clip(coverage, MIN_COVERAGE, 1.0))  # (A, K, Tv)
        penalty = ops.sum(ops.where(covered[:, None], costs, 0.0), axis=-1)  # (A, K)
        return scores + self.coverage_penalty * pick(penalty, slots)

    def by_length(self, log_probs, length):
        length = ops.cast(length, "float32")
        return log_probs / ops.power((5.0 + length) / 6.0, float(self.length_penalty))
