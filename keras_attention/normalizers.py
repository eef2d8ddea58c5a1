"""Normalisers: from scores to weights over the last axis.

A normaliser is a pure function `(scores, mask=None) -> weights`. `mask` is boolean, broadcasts to
`scores`, and `True` marks what is real. Masked weights are exactly 0; a row with nothing real has
weights 0 and gradient 0; every other row of `softmax`, `sparsemax` and `entmax15` sums to 1.
All compute in at least float32 and return the dtype of `scores`.
"""

import keras
from keras import ops

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
def softmax(scores, mask=None):
    """The softmax, `weights_j = exp(scores_j) / sum_k exp(scores_k)`.

    Args:
        scores: Tensor of shape (..., n).
        mask: Boolean tensor that broadcasts to `scores`, or `None`.

    Returns:
        Weights of shape (..., n).

    Example:

    >>> scores = keras.ops.array([[0.0, 0.0, 5.0]])
    >>> mask = keras.ops.array([[True, True, False]])
    >>> softmax(scores, mask).numpy().tolist()
    [[0.5, 0.5, 0.0]]
    """
    precise = _at_least_float32(scores)
    if mask is not None:
        precise = ops.where(mask, precise, _lowest(precise.dtype))
    # Keras warns of a softmax over one entry, which is right here: the only value has weight 1. It
    # also has gradient 0, where `ones_like` would have none, and training nothing to go by.
    weights = ops.where(True, 1.0, precise) if scores.shape[-1] == 1 else ops.softmax(precise)
    return _finish(weights, mask, scores.dtype)


@register
def sigmoid(scores, mask=None):
    """Independent weights, `weights_j = 1 / (1 + exp(-scores_j))`; a row does not sum to 1.

    Args:
        scores: Tensor of shape (..., n).
        mask: Boolean tensor that broadcasts to `scores`, or `None`.

    Returns:
        Weights of shape (..., n).

    Reference: Chorowski et al., 2015, Attention-Based Models for Speech Recognition,
    https://arxiv.org/abs/1506.07503 (section 2.3, "smoothing", before its division by the sum).
    """
    return _finish(ops.sigmoid(_at_least_float32(scores)), mask, scores.dtype)


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
    z = _below_zero(_at_least_float32(scores), mask)
    descending, size = _descending(z)
    tau = (ops.cumsum(descending, axis=-1) - 1.0) / size
    tau = _at_support(tau, descending)
    excess = ops.relu(z - tau)
    in_support = ops.cast(excess > 0.0, excess.dtype)
    tau = _newton(tau, ops.sum(excess, axis=-1, keepdims=True), in_support)
    return _finish(ops.relu(z - tau), mask, scores.dtype)


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
    z = _below_zero(_at_least_float32(scores) / 2.0, mask)
    descending, size = _descending(z)
    mean = ops.cumsum(descending, axis=-1) / size
    mean_of_squares = ops.cumsum(ops.square(descending), axis=-1) / size
    variance = size * (mean_of_squares - ops.square(mean))
    tau = mean - ops.sqrt(ops.relu((1.0 - variance) / size))
    tau = _at_support(tau, descending)
    excess = ops.relu(z - tau)
    tau = _newton(tau, ops.sum(ops.square(excess), axis=-1, keepdims=True), 2.0 * excess)
    return _finish(ops.square(ops.relu(z - tau)), mask, scores.dtype)


def _at_least_float32(scores):
    return ops.cast(scores, keras.backend.result_type(scores.dtype, "float32"))


def _lowest(dtype):
    return -1.7e308 if dtype == "float64" else -3.4e38


def _finish(weights, mask, dtype):
    if mask is not None:
        weights = ops.where(mask, weights, 0.0)
    return ops.cast(weights, dtype)


def _below_zero(z, mask):
    """Shifts each row so that its largest real entry is 0, and cuts it off at -2.

    Both thresholds lie in [-1, 0) once the largest entry is 0, so an entry at -2, cut off or
    masked, has weight 0 and no influence, and no number grows large.
    """
    real = z if mask is None else ops.where(mask, z, _lowest(z.dtype))
    z = z - ops.stop_gradient(ops.max(real, axis=-1, keepdims=True))
    z = ops.maximum(z, -2.0)
    return z if mask is None else ops.where(mask, z, -2.0)


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
