"""The losses as functions of weights (B, T, Tv): one value a step, or a sequence."""

from __future__ import annotations

from keras import ops

from keras_attention import precision
from keras_attention.shapes import differ

SMALLEST = 1e-7  # is added to a weight before its logarithm is taken


def guided_alignment(alignment, weights, mask=None, squared=False):
    """How far the weights are from a known alignment, step by step.

    `loss_t = - sum_i alignment_ti log(weights_ti)`, or, squared,
    `loss_t = sum_i (alignment_ti - weights_ti)^2`

    Args:
        alignment: Tensor of shape (B, T, Tv), each row with sum 1, or 0 where nothing is known.
        weights: Tensor of shape (B, T, Tv).
        mask: Boolean tensor over steps, (B, T), or pairs, (B, T, Tv), `True` = real; or `None`.
        squared: Whether to compare by squared error instead of cross-entropy.

    Returns:
        Losses of shape (B, T). The paper takes the mean over the steps.

    Example:

    >>> alignment = keras.ops.array([[[1.0, 0.0], [0.0, 0.0]]])
    >>> weights = keras.ops.array([[[0.5, 0.5], [0.9, 0.1]]])
    >>> guided_alignment(alignment, weights).numpy().round(3).tolist()
    [[0.6930000185966492, 0.0]]

    Reference: Chen, Matusov, Khadivi & Peter, 2016, Guided Alignment Training for Topic-Aware
    Neural Machine Translation, https://arxiv.org/abs/1607.01628 (the alignment cost, as
    cross-entropy and as mean squared error).
    """
    weights, pairs = _check(weights, mask)
    if len(alignment.shape) != 3 or differ(alignment.shape, weights.shape):
        raise ValueError(
            "`alignment` must have the shape of the weights, (batch, steps, values). Received: "
            f"alignment.shape={tuple(alignment.shape)}, weights.shape={tuple(weights.shape)}."
        )
    alignment = ops.cast(alignment, weights.dtype)
    losses = ops.square(alignment - weights) if squared else -alignment * _log(weights)
    return ops.sum(ops.where(pairs, losses, 0.0), axis=-1)


def doubly_stochastic(weights, mask=None, tau=1.0):
    """Whether each value is read as much as any other over all steps together.

    `loss = sum_i (tau - sum_t weights_ti)^2`

    Where there are many more values than steps, each of which reads 1, no weights make it 0.

    Args:
        weights: Tensor of shape (B, T, Tv).
        mask: Boolean tensor over steps, (B, T), or pairs, (B, T, Tv), `True` = real; or `None`. A
            value that is real at no step adds nothing, so padded values need a mask over pairs.
        tau: How much each value is to be read.

    Returns:
        Losses of shape (B,), a sum over values, as the paper has it.

    Example: a layer that adds the loss by itself, and a mask over steps and values.

    >>> class ReadsEverything(keras.layers.Layer):
    ...     def call(self, weights):
    ...         self.add_loss(0.1 * keras.ops.mean(doubly_stochastic(weights)))
    ...         return weights
    >>> layer = ReadsEverything()
    >>> weights = layer(keras.ops.array([[[1.0, 0.0], [1.0, 0.0]]]))
    >>> [round(float(loss), 3) for loss in layer.losses]
    [0.2]
    >>> steps, values = keras.ops.array([[True, False]]), keras.ops.array([[True, False]])
    >>> mask = keras.ops.logical_and(steps[:, :, None], values[:, None, :])
    >>> doubly_stochastic(weights, mask).numpy().tolist()
    [0.0]

    Reference: Xu et al., 2015, Show, Attend and Tell: Neural Image Caption Generation with Visual
    Attention, https://arxiv.org/abs/1502.03044 (eq. 14).
    """
    weights, pairs = _check(weights, mask)
    read = ops.sum(ops.where(pairs, weights, 0.0), axis=1)  # (B, Tv)
    return ops.sum(ops.where(ops.any(pairs, axis=1), ops.square(tau - read), 0.0), axis=-1)


def coverage(weights, mask=None):
    """How much each step reads again what the steps before it have read.

    `loss_t = sum_i min(weights_ti, coverage_ti)`, `coverage_t = sum_{t' < t} weights_t'`

    Args:
        weights: Tensor of shape (B, T, Tv).
        mask: Boolean tensor over steps, (B, T), or pairs, (B, T, Tv), `True` = real; or `None`. A
            masked step covers nothing.

    Returns:
        Losses of shape (B, T), each between 0 and 1 where a row of weights sums to 1.

    Example:

    >>> weights = keras.ops.array([[[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]]])
    >>> coverage(weights).numpy().tolist()
    [[0.0, 0.75, 0.75]]

    Reference: See, Liu & Manning, 2017, Get To The Point: Summarization with Pointer-Generator
    Networks, https://arxiv.org/abs/1704.04368 (eqs. 10 and 12).
    """
    weights, pairs = _check(weights, mask)
    weights = ops.where(pairs, weights, 0.0)
    nothing = ops.zeros_like(weights[:, :1])
    before = ops.concatenate([nothing, ops.cumsum(weights, axis=1)[:, :-1]], axis=1)
    return ops.sum(ops.minimum(weights, before), axis=-1)


def entropy(weights, mask=None):
    """How widely each step spreads its weights, in nats.

    `loss_t = - sum_i weights_ti log(weights_ti)`

    To add it to a loss sharpens the weights; to subtract it spreads them.

    Args:
        weights: Tensor of shape (B, T, Tv).
        mask: Boolean tensor over steps, (B, T), or pairs, (B, T, Tv), `True` = real; or `None`.

    Returns:
        Entropies of shape (B, T): 0 where one value is read, log(Tv) where all are alike.

    Example:

    >>> weights = keras.ops.array([[[0.5, 0.5], [1.0, 0.0]]])
    >>> abs(entropy(weights).numpy()).round(3).tolist()
    [[0.6930000185966492, 0.0]]
    """
    weights, pairs = _check(weights, mask)
    return ops.sum(ops.where(pairs, -weights * _log(weights), 0.0), axis=-1)


def _check(weights, mask):
    """The weights in at least float32, and the mask so that it broadcasts to them."""
    if len(weights.shape) != 3:
        raise ValueError(
            "`weights` must have shape (batch, steps, values). "
            f"Received: weights.shape={tuple(weights.shape)}."
        )
    weights = ops.cast(weights, precision.float32_or_wider(weights.dtype))
    pairs = ops.ones((1, 1, 1), "bool") if mask is None else over_pairs(mask)
    if differ(pairs.shape, weights.shape, broadcast=True):
        raise ValueError(
            "A mask must cover the steps or the pairs of the weights. "
            f"Received: mask.shape={tuple(mask.shape)}, weights.shape={tuple(weights.shape)}."
        )
    return weights, pairs


def over_pairs(mask):
    """A mask over steps (B, T) as (B, T, 1); one over pairs as it is."""
    if len(mask.shape) not in (2, 3):
        raise ValueError(
            "A mask must have shape (batch, steps) or (batch, steps, values). "
            f"Received: mask.shape={tuple(mask.shape)}."
        )
    mask = ops.cast(mask, "bool")
    return mask[:, :, None] if len(mask.shape) == 2 else mask


def _log(weights):
    # Not the logarithm of a weight cut off: below the cut the loss would pull no more.
    return ops.log(weights + SMALLEST)
