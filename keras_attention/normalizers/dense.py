"""Normalisers that leave nothing out."""

import keras
from keras import ops

from keras_attention.normalizers.layer import Normalizer
from keras_attention.normalizers.rows import at_least_float32, finish, lowest

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


@register
def smoothed(scores, mask=None):
    """Smoothing, `weights_j = s(scores_j) / sum_k s(scores_k)`, with `s(e) = 1 / (1 + exp(-e))`.

    A large score cannot outweigh all others, as under the softmax: a query reads several values.

    Args:
        scores: Tensor of shape (..., n).
        mask: Boolean tensor that broadcasts to `scores`, or `None`.

    Returns:
        Weights of shape (..., n).

    Example:

    >>> smoothed(keras.ops.array([[0.0, 90.0, 90.0]])).numpy().tolist()
    [[0.20000000298023224, 0.4000000059604645, 0.4000000059604645]]

    Reference: Chorowski et al., 2015, Attention-Based Models for Speech Recognition,
    https://arxiv.org/abs/1506.07503 (section 2.3, "smoothing").
    """
    # The softmax of the logarithms, which are finite however low the scores.
    return ops.cast(softmax(ops.log_sigmoid(at_least_float32(scores)), mask), scores.dtype)


@register
class Sharpened(Normalizer):
    """Sharpening: a softmax of larger scores, or of the largest scores only.

    `weights_j = exp(c scores_j) / sum_k exp(c scores_k)`, with `c = inverse_temperature`, and the
    sum over the `top_k` largest scores if given; all other weights are 0.

    Args:
        inverse_temperature: `c`, above 1 for sharper weights than the softmax has.
        top_k: How many scores count, and those that are equal to the last of them; `None` for all.

    Call arguments:
        scores: Tensor of shape (..., n).
        mask: Boolean tensor that broadcasts to `scores`, or `None`.

    Returns:
        Weights of shape (..., n).

    Masking: masked weights are exactly 0, and so is a row with nothing real.

    Example:

    >>> Sharpened(top_k=2)(keras.ops.array([[1.0, 3.0, 3.0, 2.0]])).numpy().tolist()
    [[0.0, 0.5, 0.5, 0.0]]

    Reference: Chorowski et al., 2015, Attention-Based Models for Speech Recognition,
    https://arxiv.org/abs/1506.07503 (section 2.3, "sharpening").
    """

    def __init__(self, inverse_temperature=1.0, top_k=None, **kwargs):
        super().__init__(autocast=False, **kwargs)  # Scores keep their dtype.
        if not inverse_temperature > 0.0:
            raise ValueError(
                "`inverse_temperature` must be above 0. "
                f"Received: inverse_temperature={inverse_temperature!r}."
            )
        if top_k is not None and (not isinstance(top_k, int) or top_k <= 0):
            raise ValueError(
                f"`top_k` must be a positive integer or `None`. Received: top_k={top_k!r}."
            )
        self.inverse_temperature = inverse_temperature
        self.top_k = top_k

    def call(self, scores, mask=True):
        sharp = at_least_float32(scores) * self.inverse_temperature
        if self.top_k is not None:
            real = ops.where(mask, sharp, lowest(sharp.dtype))
            least = ops.sort(ops.stop_gradient(real), axis=-1)[..., -self.top_k :][..., :1]
            mask = ops.logical_and(mask, real >= least)
        return ops.cast(softmax(sharp, mask), scores.dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "inverse_temperature": self.inverse_temperature,
            "top_k": self.top_k,
        }
