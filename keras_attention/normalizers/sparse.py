"""Sparse normalisers with an exact threshold, found by sorting."""

import keras
from keras import ops

from keras_attention.normalizers.rows import at_least_float32, below_zero, finish

register = keras.saving.register_keras_serializable(package="keras_attention")

CUT_OFF = -2.0  # Both thresholds lie in [-1, 0), as the largest entry is 0.


@register
def sparsemax(scores, mask=None):
    """The Euclidean projection onto the simplex: sparse weights that sum to 1.

    `weights_j = max(0, scores_j - tau)`, with the threshold `tau` at which the weights sum to 1.

    Args:
        scores: Tensor of shape (..., n).
        mask: Boolean tensor that broadcasts to `scores`, or `None`.

    Returns:
        Weights of shape (..., n), many of them exactly 0.

    Example:

    >>> sparsemax(keras.ops.array([[0.3, 0.1, -2.0]])).numpy().round(4).tolist()
    [[0.6000000238418579, 0.4000000059604645, 0.0]]

    Reference: Martins & Astudillo, 2016, From Softmax to Sparsemax,
    https://arxiv.org/abs/1602.02068 (algorithm 1; gradient: eq. 12).
    """
    z = below_zero(at_least_float32(scores), mask, CUT_OFF)
    descending, size = _descending(z)
    tau = (ops.cumsum(descending, axis=-1) - 1.0) / size
    tau = _at_support(tau, descending)
    excess = ops.relu(z - tau)
    in_support = ops.cast(excess > 0.0, excess.dtype)
    tau = _newton(tau, ops.sum(excess, axis=-1, keepdims=True), in_support)
    return finish(ops.relu(z - tau), mask, scores.dtype)


@register
def entmax15(scores, mask=None):
    """1.5-entmax, halfway between softmax and sparsemax: sparse, yet smooth.

    `weights_j = max(0, scores_j / 2 - tau)^2`, with the `tau` at which the weights sum to 1.

    Args:
        scores: Tensor of shape (..., n).
        mask: Boolean tensor that broadcasts to `scores`, or `None`.

    Returns:
        Weights of shape (..., n), some of them exactly 0.

    Example:

    >>> entmax15(keras.ops.array([[1.0, 0.0, -3.0]])).numpy().round(3).tolist()
    [[0.8309999704360962, 0.16899999976158142, 0.0]]

    Reference: Peters, Niculae & Martins, 2019, Sparse Sequence-to-Sequence Models,
    https://arxiv.org/abs/1905.05702 (algorithm 2; gradient: proposition 2).
    """
    z = below_zero(at_least_float32(scores) / 2.0, mask, CUT_OFF)
    descending, size = _descending(z)
    mean = ops.cumsum(descending, axis=-1) / size
    mean_of_squares = ops.cumsum(ops.square(descending), axis=-1) / size
    variance = size * (mean_of_squares - ops.square(mean))
    tau = mean - ops.sqrt(ops.relu((1.0 - variance) / size))
    tau = _at_support(tau, descending)
    excess = ops.relu(z - tau)
    tau = _newton(tau, ops.sum(ops.square(excess), axis=-1, keepdims=True), 2.0 * excess)
    return finish(ops.square(ops.relu(z - tau)), mask, scores.dtype)


def _descending(z):
    """The rows sorted, largest first, outside the gradient; and 1 … n, the support sizes."""
    descending = -ops.sort(-ops.stop_gradient(z), axis=-1)
    return descending, ops.cumsum(ops.ones_like(descending), axis=-1)


def _at_support(tau, descending):
    """Picks, of the thresholds for each support size, the one of the largest valid support."""
    size = ops.sum(ops.cast(descending > tau, "int32"), axis=-1, keepdims=True)
    return ops.take_along_axis(tau, ops.maximum(size - 1, 0), axis=-1)


def _newton(tau, total, slope):
    """One Newton step on `total(tau) = 1`, through which the gradient flows.

    The value barely moves, as `tau` already solves the equation; but `total` depends on the scores,
    and the step's derivative `slope_j / sum(slope)` is the derivative of the implicit function.
    """
    return tau + (total - 1.0) / ops.stop_gradient(ops.sum(slope, axis=-1, keepdims=True))
