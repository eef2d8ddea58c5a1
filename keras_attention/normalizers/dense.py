"""Normalisers that leave nothing out."""

import keras
from keras import ops

from keras_attention.normalizers.precision import at_least_float32, finish, lowest

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
    precise = at_least_float32(scores)
    if mask is not None:
        precise = ops.where(mask, precise, lowest(precise.dtype))
    # Keras warns of a softmax over one entry, which is right here: the only value has weight 1. It
    # also has gradient 0, where `ones_like` would have none, and training nothing to go by.
    weights = ops.where(True, 1.0, precise) if scores.shape[-1] == 1 else ops.softmax(precise)
    return finish(weights, mask, scores.dtype)


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
    return finish(ops.sigmoid(at_least_float32(scores)), mask, scores.dtype)
