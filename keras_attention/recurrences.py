"""Sums over a sequence in which every term fades on its way, for all places at once.

A sequence is cut into blocks. Within a block, what reaches a place is added up over the last 1, 2,
4, … places. What the blocks then hand on to each other is little, and written out. Whatever is
exponentiated is at most 0, and no large numbers are subtracted from each other: nothing overflows,
and nothing is lost that is not too small to count.

Shapes: R rows, T places.
"""

from __future__ import annotations

from keras import ops

BLOCK = 32  # places
LOWEST = -1e30  # stands for the logarithm of 0


def fading_sum(inputs, log_keep):
    """The recurrence `y_j = x_j + exp(a_j) y_{j-1}`.

    Args:
        inputs: Tensor of shape (R, T), `x`.
        log_keep: Tensor of shape (R, T), `a`, at most 0. The first has nothing to keep.

    Returns:
        `y`, of shape (R, T).

    Example:

    >>> import keras
    >>> ones = keras.ops.ones((1, 4))
    >>> fading_sum(ones, keras.ops.log(0.5 * ones)).numpy().tolist()
    [[1.0, 1.5, 1.75, 1.875]]
    """
    x, a = _blocks(inputs, 0.0), _blocks(log_keep, 0.0)
    for distance in _doubled():
        x = x + ops.exp(a) * _shifted(x, distance, 0.0)
        a = a + _shifted(a, distance, 0.0)
    ends, log_kept = x[..., -1], a[..., -1]
    place = ops.arange(ops.shape(ends)[-1], dtype="int32")
    later = place[:, None] > place  # (to j, from k)
    log_kept = ops.cumsum(ops.where(later, ops.expand_dims(log_kept, -1), 0.0), axis=-2)
    kept = ops.where(place[:, None] >= place, ops.exp(log_kept), 0.0)
    ends = ops.sum(kept * ops.expand_dims(ends, -2), axis=-1)
    return _sequence(x + ops.exp(a) * ops.expand_dims(_shifted(ends, 1, 0.0), -1), inputs)


def cumulative_logsumexp(inputs):
    """The logarithm of a sum so far, `y_j = log sum_{k <= j} exp(x_k)`.

    Args:
        inputs: Tensor of shape (R, T), `x`.

    Returns:
        `y`, of shape (R, T).

    Example:

    >>> import keras
    >>> zeros = keras.ops.zeros((1, 3))
    >>> keras.ops.exp(cumulative_logsumexp(zeros)).numpy().round(3).tolist()
    [[1.0, 2.0, 3.0]]
    """
    x = _blocks(inputs, LOWEST)
    for distance in _doubled():
        x = ops.logaddexp(x, _shifted(x, distance, LOWEST))
    ends = ops.expand_dims(x[..., -1], -2)
    place = ops.arange(ops.shape(ends)[-1], dtype="int32")
    before = ops.where(place[:, None] > place, ends, LOWEST)
    return _sequence(ops.logaddexp(x, ops.logsumexp(before, axis=-1, keepdims=True)), inputs)


def _doubled():
    distance = 1
    while distance < BLOCK:
        yield distance
        distance *= 2


def _shifted(sequence, distance, fill):
    """Each place has what stands so many places before it along the last axis."""
    widths = [[0, 0]] * (len(sequence.shape) - 1) + [[distance, 0]]
    return ops.pad(sequence, widths, constant_values=fill)[..., :-distance]


def _blocks(sequence, fill):
    """(R, T) -> (R, blocks, BLOCK), with `fill` at the end."""
    rows, length = ops.shape(sequence)
    missing = -length % BLOCK
    filled = ops.full((rows, missing), fill, sequence.dtype)
    whole = ops.concatenate([sequence, filled], axis=-1)
    return ops.reshape(whole, (rows, (length + missing) // BLOCK, BLOCK))


def _sequence(blocks, like):
    rows, length = ops.shape(like)
    return ops.reshape(blocks, (rows, -1))[:, :length]
