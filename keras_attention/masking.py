"""Masks: the only place where one is made or combined.

A mask is boolean and `True` marks what is real. A mask over values is (B, Tv); a mask over pairs,
which is what a normaliser takes, broadcasts to (B, Tq, Tv).
"""

import keras
from keras import ops


def padding_mask(lengths, max_length):
    """Marks the first `lengths[b]` of `max_length` positions: lengths (B,) -> (B, max_length)."""
    return ops.arange(max_length, dtype="int32")[None, :] < ops.cast(lengths, "int32")[:, None]


def causal_mask(num_queries, num_values):
    """Lets query i read values 0 … i: (1, num_queries, num_values)."""
    return (ops.arange(num_values)[None, :] <= ops.arange(num_queries)[:, None])[None]


def window_mask(positions, center, width):
    """Lets a query read what stands at most `width` away from its center: positions (…, 1, Tv) and
    centers (…, Tq, 1) -> (…, Tq, Tv)."""
    return ops.abs(positions - center) <= width


def over_values(mask):
    """Shapes a mask over values (B, Tv), or over pairs (B, Tq, Tv), for scores (B, Tq, Tv)."""
    if mask is None:
        return None
    mask = ops.cast(mask, "bool")
    if len(mask.shape) == 2:
        return ops.expand_dims(mask, 1)
    if len(mask.shape) == 3:
        return mask
    raise ValueError(
        "A mask must have shape (batch, values) or (batch, queries, values). "
        f"Received: mask.shape={tuple(mask.shape)}."
    )


def over_queries(mask):
    """Shapes a mask over queries (B, Tq) for scores (B, Tq, Tv)."""
    if mask is None:
        return None
    if len(mask.shape) != 2:
        raise ValueError(
            "A mask over queries must have shape (batch, queries). "
            f"Received: query_mask.shape={tuple(mask.shape)}."
        )
    return ops.cast(mask, "bool")[:, :, None]


def combine(*masks):
    """A pair is real where every given mask says so; `None` says nothing. Masks broadcast."""
    combined = None
    for mask in masks:
        if mask is not None:
            combined = mask if combined is None else ops.logical_and(combined, mask)
    return combined


def hold(mask, new, old):
    """Takes `new` where `mask` (N,) is `True` and keeps `old` elsewhere, in trees of (N, …)."""

    def choose(new_leaf, old_leaf):
        rows = ops.reshape(mask, (-1,) + (1,) * (len(new_leaf.shape) - 1))
        return ops.where(rows, new_leaf, old_leaf)

    return keras.tree.map_structure(choose, new, old)
