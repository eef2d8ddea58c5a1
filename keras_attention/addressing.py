"""The equations by which a Neural Turing Machine finds, reads and writes its memory.

Shapes: B batch, H heads, N slots of memory of width W, S shifts. All weights are computed in
float32, since they are raised to powers.

Reference: Graves, Wayne & Danihelka, 2014, Neural Turing Machines,
https://arxiv.org/abs/1410.5401 (section 3).
"""

from __future__ import annotations

from keras import ops

_TINY = 1e-12  # a weight whose logarithm is still a number
_SHORT = 1e-6  # added to lengths, so that a vector of zeros resembles none


def content_weights(key, strength, memory):
    """Where the memory is like the key: `softmax(strength * cosine(key, memory))` (eqs. 5 and 6).

    Args:
        key: Tensor of shape (B, H, W).
        strength: Tensor of shape (B, H), at least 0.
        memory: Tensor of shape (B, N, W).

    Returns:
        Weights of shape (B, H, N).
    """
    key, memory = _unit(key), _unit(memory)
    likeness = ops.matmul(key, ops.swapaxes(memory, 1, 2))
    return ops.softmax(strength[:, :, None] * likeness, axis=-1)


def interpolate(gate, content, previous):
    """By content where `gate` (B, H) is 1, where the head was before where it is 0 (eq. 7)."""
    gate = gate[:, :, None]
    return gate * content + (1.0 - gate) * previous


def shift(weights, distribution):
    """Moves weights by a distribution over shifts, around the end of the memory (eq. 8).

    Args:
        weights: Tensor of shape (B, H, N).
        distribution: Tensor of shape (B, H, S), S odd: shifts by -(S - 1) / 2, …, (S - 1) / 2.

    Returns:
        Weights of shape (B, H, N).
    """
    reach = distribution.shape[-1] // 2
    return sum(
        ops.roll(weights, offset, axis=-1) * distribution[:, :, reach + offset, None]
        for offset in range(-reach, reach + 1)
    )


def sharpen(weights, power):
    """`weights^power / sum(weights^power)` (eq. 9), as `softmax(power * log(weights))`.

    Powers are not taken of weights near 0, whose gradient would not be a number.
    """
    return ops.softmax(power[:, :, None] * ops.log(weights + _TINY), axis=-1)


def read(weights, memory):
    """What each head reads (eq. 2): (B, H, N) and (B, N, W) to (B, H, W)."""
    return ops.matmul(weights, memory)


def write(weights, erase, add, memory):
    """The memory after all heads have erased, and then added (eqs. 3 and 4).

    Args:
        weights: Tensor of shape (B, H, N).
        erase: Tensor of shape (B, H, W), in [0, 1].
        add: Tensor of shape (B, H, W).
        memory: Tensor of shape (B, N, W).

    Returns:
        The memory, of shape (B, N, W).
    """
    for h in range(weights.shape[1]):
        memory = memory * (1.0 - weights[:, h, :, None] * erase[:, h, None, :])
    return memory + ops.matmul(ops.swapaxes(weights, 1, 2), add)


def _unit(vectors):
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors * ops.rsqrt(squares + _SHORT**2)
