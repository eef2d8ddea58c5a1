"""A long batch read some sequences at a time, in memory that does not grow with the batch.

A hidden layer of every step of every sequence takes B T U numbers, and the gradient keeps several
times as many: gigabytes at T = 10,000. Here a block of sequences, small enough to stay in the
cache, goes through all layers before the next one does, and the gradient computes it again: Chen et
al., 2016, Training Deep Nets with Sublinear Memory Cost, https://arxiv.org/abs/1604.06174.

Long sequences are cut into eight parts at most, and of a block no more is read than to the part in
which its last sequence ends: a batch of many lengths costs little more than its sequences' steps.

Shapes: B batch, T steps, U units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from keras import ops

from keras_attention import compile, loop

_ELEMENTS = 2**20  # of a hidden layer: 4 MiB in float32, about what the caches of a core hold
_ELEMENTS_ON_GPU = 2**26
_PARTS = 8  # XLA compiles the layers for one part, for two, and so on
_PART = 2**10  # steps of a part, at least


def read_in_blocks(
    read: Callable[..., Any],
    variables: Sequence[Any],
    sequence: Any,
    lengths: Any,
    units: int,
    *,
    mask: bool,
) -> tuple[Any, Any]:
    """Reads each sequence into a vector, `context, weights = read(variables, sequence, lengths)`.

    Gradients reach the variables only.

    Args:
        read: A function of tensors, which reads each sequence by itself.
        variables: Tensors that it depends on.
        sequence: Tensor of shape (B, T, D).
        lengths: Tensor of shape (B,), int32.
        units: U.
        mask: Whether `read` leaves out what comes after a sequence's end.

    Returns:
        The contexts (B, U), and the weights (B, T).
    """
    batch_size, length = ops.shape(sequence)[:2]
    elements = _ELEMENTS_ON_GPU if compile.has_gpu() else _ELEMENTS
    size = _at_least(1, elements // (units * _at_least(1, length)))
    if isinstance(batch_size, int) and isinstance(size, int) and batch_size <= size:
        return read(variables, sequence, lengths)

    def up_to_end(run, lengths):
        return _to_end_of_part(run, lengths, length) if mask else run(length)

    def read_block(variables, sequence, lengths):
        def run(steps):
            context, weights = read(variables, sequence[:, :steps], lengths)
            missing = ops.zeros((size, length - ops.shape(weights)[1]), weights.dtype)
            return context, ops.concatenate([weights, missing], axis=1)

        return up_to_end(run, lengths)

    def differentiate(variables, block, upstream):
        sequence, lengths = block
        context, weights = upstream

        def run(steps):
            with tf.GradientTape() as tape:
                tape.watch(variables)
                outputs = read(variables, sequence[:, :steps], lengths)
            return tape.gradient(outputs, variables, (context, weights[:, :steps]))

        return up_to_end(run, lengths)

    def in_blocks(tensor):
        """(B, …) -> (count, size, …), filled up with zeros."""
        count = _at_least(1, -(-batch_size // size))
        missing = ops.zeros((count * size - batch_size, *ops.shape(tensor)[1:]), tensor.dtype)
        return ops.reshape(
            ops.concatenate([tensor, missing]), (count, size, *ops.shape(tensor)[1:])
        )

    @tf.custom_gradient
    def run(sequence, lengths, *variables):
        blocks = in_blocks(sequence), in_blocks(lengths)

        def gradient(*upstream):
            def add(sums, now):
                pairs = zip(sums, differentiate(variables, *now), strict=True)
                return [total + ops.cast(slope, total.dtype) for total, slope in pairs], ()

            zeros = [ops.zeros(ops.shape(each), "float32") for each in variables]
            upstream = tuple(in_blocks(each) for each in upstream)
            sums, _ = loop.scan(add, zeros, (blocks, upstream), ())
            pairs = zip(sums, variables, strict=True)
            return None, None, *(ops.cast(total, each.dtype) for total, each in pairs)

        dtype = variables[0].dtype
        rows = ops.zeros((size, units), dtype), ops.zeros((size, length), dtype)
        _, outputs = loop.scan(lambda _, now: ((), read_block(variables, *now)), (), blocks, rows)
        flat = (ops.reshape(each, (-1, *ops.shape(each)[2:])) for each in outputs)
        return tuple(each[:batch_size] for each in flat), gradient

    return run(sequence, lengths, *(tf.convert_to_tensor(each) for each in variables))


def _to_end_of_part(run, lengths, length):
    """`run(steps)`, with the steps of the longest of some sequences, to the end of their part."""
    part = _at_least(_PART, -(-length // _PARTS))
    count = -(-length // part) if isinstance(length, int) else _PARTS
    last = ops.maximum(ops.max(lengths) - 1, 0) // part
    parts = [lambda number=number: run(number * part) for number in range(1, count)]
    return tf.switch_case(last, [*parts, lambda: run(length)]) if parts else run(length)


def _at_least(least, number):
    """A number that may be known later only, or `least` where it is less."""
    return max(least, number) if isinstance(number, int) else ops.maximum(least, number)
