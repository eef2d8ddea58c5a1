"""Additive scores in memory that does not grow with Tq * Tv * units.

`score_ij = sum_u v_u tanh(query_iu + key_ju)`, over rows that are projected already. Computed all
at once this needs tensors of B * Tq * Tv * units numbers, and keeps several for the gradient. Here
a block of them is computed at a time, summed over at once and forgotten, and the gradient computes
them again: Chen et al., 2016, Training Deep Nets with Sublinear Memory Cost,
https://arxiv.org/abs/1604.06174.

Inside a block there is no tanh. With `e(x) = exp(2 x)`, computed once a row,

    r = 1 / (1 + e(query_iu) e(key_ju)),   tanh(query_iu + key_ju) = 1 - 2 r,   tanh' = 4 r (1 - r)

which is one product, one sum and one reciprocal an element. Where the product of two exponentials
overflows, r is 0, as it should be.

Under XLA, what is computed in one loop is never written to memory, so each sum is a loop of its own
that computes its elements anew. Without, an operation costs more by what it writes than by what it
computes, so each block is written once, small enough to stay in the cache, and all sums are taken
from there.

Shapes: B batch, Tq queries, Tv values (as many as keys).
"""

from __future__ import annotations

import math

import numpy as np
from keras import ops

from keras_attention import compile, loop, precision

_SMALL = 2**14  # so many elements a sequence are no matter: 64 KiB in float32
_BLOCK = 2**20  # elements: 4 MiB in float32, about what the caches of two cores hold
_BLOCK_ON_GPU = 2**24
_LIMIT = 43.0  # beyond it the exponential alone would overflow in float32
_ROUND = 4  # rows that one round of a loop under XLA takes


def additive_scores(queries, keys, v, training=False):
    """Scores every pair, `score_ij = sum_u v_u tanh(queries_iu + keys_ju)`, block by block.

    Gradients, which reach all three arguments, are computed block by block too; gradients of these
    gradients are to be had without XLA only. Numbers beyond 43 count as 43: as tanh is 1 in float32
    from 9 on, that shows only where a query and a key both lie beyond it and cancel out. Half
    precision is computed in float32.

    Args:
        queries: Tensor of shape (B, Tq, units).
        keys: Tensor of shape (B, Tv, units).
        v: Tensor of shape (units,).
        training: Whether gradients will be taken, and no one will export the graph: see
            `keras_attention.compile`.

    Returns:
        Scores of shape (B, Tq, Tv).

    Example:

    >>> queries, keys = keras.ops.array([[[0.5, -1.0]]]), keras.ops.array([[[0.5, 1.0]]])
    >>> additive_scores(queries, keys, keras.ops.array([1.0, 7.0])).numpy().round(3).tolist()
    [[[0.7620000243186951]]]

    Reference: Bahdanau, Cho & Bengio, 2014, Neural Machine Translation by Jointly Learning to
    Align and Translate, https://arxiv.org/abs/1409.0473 (appendix A.1.2).
    """
    if is_small(queries, keys):
        return direct_scores(queries, keys, v)
    scores, gradients = _block_scores, _block_gradients
    if compile.uses_xla(training):
        scores, gradients = _fused_scores, _fused_gradients

    @ops.custom_gradient
    def score(queries, keys, v):
        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream  # Keras' torch backend names it.
            return gradients(queries, keys, v, upstream)

        # Else TensorFlow would keep what the gradient of these operations needs, beside ours.
        return scores(*(ops.stop_gradient(each) for each in (queries, keys, v))), gradient

    dtype = precision.float32_or_wider(queries.dtype)
    precise = score(*(ops.cast(ops.convert_to_tensor(each), dtype) for each in (queries, keys, v)))
    # Lengths known while tracing are known of the result too, whatever was padded and cut between.
    shape = (*ops.shape(queries)[:2], ops.shape(keys)[1])
    return ops.cast(ops.reshape(precise, shape), queries.dtype)


def is_small(queries, keys):
    """Whether there is one query, or so few pairs that blocks do not pay."""
    lengths = (queries.shape[1], *keys.shape[1:])
    if lengths[0] == 1:
        return True
    if None in lengths:
        return False
    # Where JAX infers shapes, lengths are symbols, and nothing is computed.
    return not all(isinstance(each, int) for each in lengths) or math.prod(lengths) <= _SMALL


def direct_scores(queries, keys, v):
    """The same scores all at once, from a tensor of shape (B, Tq, Tv, units)."""
    # TensorFlow's gradient of `keys[:, None]` is several times slower than `expand_dims`' own.
    hidden = ops.tanh(ops.expand_dims(queries, 2) + ops.expand_dims(keys, 1))
    rows = ops.matmul(ops.reshape(hidden, (-1, hidden.shape[-1])), ops.expand_dims(v, 1))
    return ops.reshape(rows, ops.shape(hidden)[:3])


def _exponential(rows):
    return ops.exp(2.0 * ops.clip(rows, -_LIMIT, _LIMIT))


def _reciprocal(queries, keys):
    """`r = (1 - tanh) / 2`, from exponentials."""
    return ops.reciprocal(1.0 + queries * keys)


# Under XLA: each sum a loop of its own.


def _fused_scores(queries, keys, v):
    num_queries, num_values = ops.shape(queries)[1], ops.shape(keys)[1]
    scores = compile.under_xla(_fused_roomy_scores)(*_roomy(queries, keys, v))
    return scores[:, :num_queries, :num_values]


def _fused_gradients(queries, keys, v, upstream):
    _, num_queries, num_values = ops.shape(upstream)
    units = v.shape[0]
    by_queries, by_keys, by_v = compile.under_xla(_fused_roomy_gradients)(
        *_roomy(queries, keys, v, upstream)
    )
    return by_queries[:, :num_queries, :units], by_keys[:, :num_values, :units], by_v[:units]


def _fused_roomy_scores(queries, keys, v):
    by_unit = (ops.transpose(_exponential(rows), (2, 0, 1)) for rows in (queries, keys))

    def of_round(queries, keys, v):  # of some units, each (B, Tq), (B, Tv), ()
        products = (
            ops.expand_dims(query, 2) * ops.expand_dims(key, 1)
            for query, key in zip(queries, keys, strict=True)
        )
        return _sum_of_fractions(v, products)

    return ops.sum(v) - 2.0 * _total(of_round, *by_unit, v)


def _fused_roomy_gradients(queries, keys, v, upstream):
    queries, keys = _exponential(queries), _exponential(keys)  # (B, Tq, units), (B, Tv, units)
    by_query = ops.transpose(queries, (1, 0, 2)), ops.transpose(upstream, (1, 0, 2))
    by_key = ops.transpose(keys, (1, 0, 2)), ops.transpose(upstream, (2, 0, 1))

    def slopes(rows):
        def of_round(others, upstream):  # of some of the others, each (B, units), (B, rows)
            reciprocals = (_reciprocal(rows, ops.expand_dims(other, 1)) for other in others)
            pairs = zip(upstream, reciprocals, strict=True)
            return sum(ops.expand_dims(weight, 2) * (r - r * r) for weight, r in pairs)

        return of_round

    def reciprocals(keys, upstream):  # of some keys, each (B, units), (B, Tq)
        weights = [ops.expand_dims(weight, 2) for weight in upstream]
        return _sum_of_fractions(weights, (queries * ops.expand_dims(key, 1) for key in keys))

    by_queries = 4.0 * v * _total(slopes(queries), *by_key)
    by_keys = 4.0 * v * _total(slopes(keys), *by_query)
    by_v = ops.sum(upstream) - 2.0 * ops.sum(_total(reciprocals, *by_key), axis=(0, 1))
    return by_queries, by_keys, by_v


def _sum_of_fractions(numerators, products):
    """`sum_i numerators[i] / (1 + products[i])`, two and two over one denominator.

    Division is what costs most. Products are cut off where 1 / product no longer counts, and that
    of two denominators does not overflow yet.
    """
    denominators = [1.0 + ops.minimum(product, 2.0**60) for product in products]
    return sum(
        (numerators[i] * denominators[i + 1] + numerators[i + 1] * denominators[i])
        / (denominators[i] * denominators[i + 1])
        for i in range(0, _ROUND, 2)
    )


def _total(of_round, *sequences):
    """The sum of `of_round`, given lists of `_ROUND` rows of each sequence (T, …), over all rows.

    A round's rows are carried to it by the round before. Cut out in the same round, they would be
    fused with what it computes, and XLA would compute places in memory, one number after another.
    """
    num_rounds = ops.shape(sequences[0])[0] // _ROUND
    rounds = [ops.reshape(each, (num_rounds, _ROUND, *ops.shape(each)[1:])) for each in sequences]

    def term(now):
        return of_round(*(ops.unstack(rows, _ROUND) for rows in now))

    def go_round(time, carry):
        now, total = carry
        after = ops.minimum(time + 1, num_rounds - 1)
        return [each[after] for each in rounds], total + term(now)

    first = [each[0] for each in rounds]
    return ops.fori_loop(0, num_rounds, go_round, (first, ops.zeros_like(term(first))))[1]


def _roomy(queries, keys, v, upstream=None):
    """Pads to one of few sizes, so that XLA compiles few shapes, with what adds 0 to any sum."""
    more_queries, more_values, more_units = (
        _room(length) - length for length in (ops.shape(queries)[1], *ops.shape(keys)[1:])
    )
    queries = _pad(_pad(queries, 1, more_queries), 2, more_units)
    keys = _pad(_pad(keys, 1, more_values), 2, more_units)
    roomy = queries, keys, _pad(v, 0, more_units)
    if upstream is None:
        return roomy
    return *roomy, _pad(_pad(upstream, 1, more_queries), 2, more_values)


_ROOMS = np.array(
    # All divisible by `_ROUND`: 4, 8, by 16 up to 128, and then four an octave.
    sorted({4, 8, *range(16, 128, 16), *(i * 2**j for i in range(4, 8) for j in range(5, 28))}),
    "int32",
)


def _room(length):
    if isinstance(length, int):
        return int(_ROOMS[_ROOMS >= length][0])
    return ops.min(ops.where(_ROOMS >= length, _ROOMS, _ROOMS[-1]))


def _pad(tensor, axis, by):
    """Adds so many zeros, a number or a tensor, at the end of an axis."""
    if isinstance(by, int) and by == 0:
        return tensor
    shape = list(ops.shape(tensor))
    shape[axis] = by
    return ops.concatenate([tensor, ops.zeros(shape, tensor.dtype)], axis=axis)


# Without XLA: blocks of a few queries and all keys, one after another.


def _block_scores(queries, keys, v):
    queries, keys = _exponential(queries), _exponential(keys)
    shape = batch_size, size, num_values = _block_shape(queries, keys)

    def step(nothing, queries):
        r = _reciprocal(ops.expand_dims(queries, 2), ops.expand_dims(keys, 1))
        sums = ops.matmul(ops.reshape(r, (-1, v.shape[0])), ops.expand_dims(v, 1))
        return nothing, ops.reshape(sums, shape)

    _, sums = loop.scan(step, (), _blocks(queries, size), ops.zeros(shape, v.dtype))
    return ops.sum(v) - 2.0 * _join(sums, ops.shape(queries)[1])


def _block_gradients(queries, keys, v, upstream):
    queries, keys = _exponential(queries), _exponential(keys)
    batch_size, size, _ = _block_shape(queries, keys)

    def step(carry, now):
        by_keys, reciprocals = carry
        queries, upstream = now  # (B, size, units), (B, size, Tv)
        r = _reciprocal(ops.expand_dims(queries, 2), ops.expand_dims(keys, 1))
        slope = r - r * r
        row = ops.expand_dims(upstream, 2)
        by_keys = by_keys + ops.sum(ops.expand_dims(upstream, 3) * slope, axis=1)
        reciprocals = reciprocals + ops.sum(ops.matmul(row, r), axis=(0, 1, 2))
        return (by_keys, reciprocals), ops.squeeze(ops.matmul(row, slope), 2)

    (by_keys, reciprocals), by_queries = loop.scan(
        step,
        (ops.zeros_like(keys), ops.zeros_like(v)),
        (_blocks(queries, size), _blocks(upstream, size)),
        ops.zeros((batch_size, size, v.shape[0]), v.dtype),
    )
    by_queries = 4.0 * v * _join(by_queries, ops.shape(queries)[1])
    return by_queries, 4.0 * v * by_keys, ops.sum(upstream) - 2.0 * reciprocals


def _block_shape(queries, keys):
    """The shape of a block's scores, (B, size, Tv), from lengths that may be known later only."""
    batch_size, num_queries, _ = ops.shape(queries)
    num_values, units = ops.shape(keys)[1:]
    elements = _BLOCK_ON_GPU if compile.has_gpu() else _BLOCK
    at_most = elements // (units * _at_least_1(num_values)) // _at_least_1(batch_size)
    count = _at_least_1(-(-num_queries // _at_least_1(at_most)))
    return batch_size, _at_least_1(-(-num_queries // count)), num_values


def _at_least_1(number):
    """A length that may be known later only, or 1 where a batch turns out to be empty."""
    return max(1, number) if isinstance(number, int) else ops.maximum(1, number)


def _blocks(rows, size):
    """Cuts rows (B, Tq, D) into blocks (count, B, size, D), the last one filled up with zeros."""
    batch_size, num_queries, width = ops.shape(rows)
    count = _at_least_1(-(-num_queries // size))
    rows = _pad(rows, 1, count * size - num_queries)
    return ops.transpose(ops.reshape(rows, (batch_size, count, size, width)), (1, 0, 2, 3))


def _join(blocks, num_queries):
    """Undoes `_blocks`."""
    count, batch_size, size, width = ops.shape(blocks)
    rows = ops.reshape(ops.transpose(blocks, (1, 0, 2, 3)), (batch_size, count * size, width))
    return rows[:, :num_queries]
