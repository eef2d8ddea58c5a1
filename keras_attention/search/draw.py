"""Tokens drawn at random.

Shapes: N rows, V tokens.
"""

from __future__ import annotations

import math

from keras import ops

from keras_attention.loop import pick
from keras_attention.search.step import NEVER, block_width, check_integer, top_k

BELOW_ONE = 1.0 - 2.0**-24  # the greatest float32 below 1
TINY = 2.0**-126  # the least normal float32


class Draw:
    """Tokens (N,) of log_probs (N, V), by chance (N,) in [0, 1): see `sample_search`."""

    def __init__(self, temperature, num_best, share):
        if not (isinstance(temperature, (int, float)) and 0 < temperature < math.inf):
            raise ValueError(
                "`temperature` must be a finite number above 0. "
                f"Received: temperature={temperature!r}."
            )
        if num_best is not None:
            check_integer("top_k", num_best, least=1)
        if not (isinstance(share, (int, float)) and 0 < share <= 1):
            raise ValueError(f"`top_p` must be above 0 and at most 1. Received: top_p={share!r}.")
        self.temperature, self.num_best, self.share = temperature, num_best, share

    def __call__(self, log_probs, chance):
        size = log_probs.shape[-1]
        if self.num_best is None and self.share == 1:
            return _spin_blocks(self._probs(log_probs), chance)
        best, tokens = top_k(log_probs, min(self.num_best or size, size))
        place, _ = _spin(self._cut(self._probs(best)), chance)
        return pick(tokens, place[:, None])[:, 0]

    def _probs(self, log_probs):
        """In proportion to the probabilities, the highest 1; all 0 where all are banned."""
        scaled = ops.cast(log_probs, "float32") / self.temperature
        highest = ops.max(scaled, axis=-1, keepdims=True)
        return ops.exp(scaled - ops.where(highest > NEVER, highest, 0.0))

    def _cut(self, probs):
        """Of probabilities, best first, no more than make up the share; the last of these is in."""
        sums = ops.cumsum(probs, axis=-1)
        return ops.where(sums - probs < self.share * sums[:, -1:], probs, 0.0)


def _spin_blocks(probs, chance):
    """`_spin` over blocks of a row, then in one block: a running sum of (N, V) takes far longer."""
    rows, size = ops.shape(probs)
    width = block_width(size)
    blocks = ops.reshape(probs, (rows, size // width, width))
    block, chance = _spin(ops.sum(blocks, axis=-1), chance)
    place, _ = _spin(pick(blocks, block[:, None])[:, 0], chance)
    return block * width + place


def _spin(probs, chance):
    """The place (N,) where a wheel of fortune with fields of widths `probs` (N, k) stops.

    `chance` (N,) in [0, 1) is how far it turns. Returns also how far into the field that is, again
    in [0, 1). Rounding never makes it stop at a field of no width, if there is any other.
    """
    sums = ops.cumsum(probs, axis=-1)
    possible = probs > 0.0
    turned = chance[:, None] * ops.max(ops.where(possible, sums, 0.0), axis=-1, keepdims=True)
    place = ops.argmax(ops.cast(ops.logical_and(possible, sums > turned), "int32"), axis=-1)
    place = ops.cast(place, "int32")
    field = pick(probs, place[:, None])
    into = (turned - pick(sums, place[:, None]) + field) / ops.maximum(field, TINY)
    return place, ops.clip(into, 0.0, BELOW_ONE)[:, 0]
