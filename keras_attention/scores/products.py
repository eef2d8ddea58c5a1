"""Scores that are products of query and key."""

from __future__ import annotations

import keras
from keras import ops

from keras_attention import precision
from keras_attention.scores.base import Score

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class DotScore(Score):
    """Scores by the dot product, which needs queries and keys of one width.

    `score_ij = scale * query_i . key_j`

    Args:
        scale: A number, or `None` for `1 / sqrt(Dk)`, which keeps the scores of wide vectors from
            saturating a softmax.
        trainable_scale: Whether `scale` is only where a learned scalar begins.

    Call arguments:
        query: Tensor of shape (B, Tq, D).
        key: Tensor of shape (B, Tv, D).

    Returns:
        Scores of shape (B, Tq, Tv).

    Example:

    >>> query, key = keras.ops.ones((1, 2, 4)), keras.ops.ones((1, 3, 4))
    >>> DotScore()(query, key).numpy().tolist()
    [[[4.0, 4.0, 4.0], [4.0, 4.0, 4.0]]]
    >>> DotScore(scale=None)(query, key).numpy().tolist()
    [[[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]]

    Reference: Luong, Pham & Manning, 2015, Effective Approaches to Attention-based Neural Machine
    Translation, https://arxiv.org/abs/1508.04025 (eq. 8, "dot"); Vaswani et al., 2017, Attention
    Is All You Need, https://arxiv.org/abs/1706.03762 (eq. 1, scaled).
    """

    def __init__(self, scale: float | None = 1.0, trainable_scale=False, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale
        self.trainable_scale = trainable_scale

    def build(self, query_shape, key_shape):
        _check_one_width("A dot product", query_shape, key_shape)
        self._factor = key_shape[-1] ** -0.5 if self.scale is None else self.scale
        if self.trainable_scale:
            self.learned_scale = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(self._factor),
                name="scale",
            )

    def score(self, query, keys):
        factor = self._read(self.learned_scale) if self.trainable_scale else self._factor
        scaled = query if not self.trainable_scale and factor == 1.0 else query * factor
        return ops.matmul(scaled, ops.transpose(keys, (0, 2, 1)))

    def get_config(self):
        return {
            **super().get_config(),
            "scale": self.scale,
            "trainable_scale": self.trainable_scale,
        }


@register
class BilinearScore(Score):
    """Scores by a learned bilinear form, so queries and keys may differ in width.

    `score_ij = query_i . (W key_j)`

    Args:
        kernel_initializer: Initializer of `W`.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq).
        key: Tensor of shape (B, Tv, Dk).

    Returns:
        Scores of shape (B, Tq, Tv).

    Example:

    >>> BilinearScore()(keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 6))).shape
    TensorShape([2, 3, 5])

    Reference: Luong, Pham & Manning, 2015, Effective Approaches to Attention-based Neural Machine
    Translation, https://arxiv.org/abs/1508.04025 (eq. 8, "general").
    """

    def __init__(self, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, query_shape, key_shape):
        self.kernel = self.add_weight(
            shape=(key_shape[-1], query_shape[-1]),
            initializer=self.kernel_initializer,
            name="kernel",
        )

    def project_key(self, key):
        return ops.matmul(key, self._read(self.kernel))

    def score(self, query, keys):
        return ops.matmul(query, ops.transpose(keys, (0, 2, 1)))

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@register
class CosineScore(Score):
    """Scores by the cosine of the angle between query and key, whatever their lengths.

    `score_ij = scale * query_i . key_j / (|query_i| |key_j|)`

    Keys are normalised once a sequence. A vector of zeros has no direction: its score is 0, and no
    gradient reaches it.

    Args:
        scale: A number, the sharpness of a softmax over the scores, which are otherwise in [-1, 1].
        trainable_scale: Whether `scale` is only where a learned scalar begins.

    Call arguments:
        query: Tensor of shape (B, Tq, D).
        key: Tensor of shape (B, Tv, D).

    Returns:
        Scores of shape (B, Tq, Tv).

    Example:

    >>> query, key = keras.ops.array([[[3.0, 0.0]]]), keras.ops.array([[[7.0, 0.0], [-2.0, 2.0]]])
    >>> CosineScore(scale=10.0)(query, key).numpy().round(2).tolist()
    [[[10.0, -7.070000171661377]]]

    Reference: Graves, Wayne & Danihelka, 2014, Neural Turing Machines,
    https://arxiv.org/abs/1410.5401 (eqs. 5 and 6; the scale is its key strength beta).
    """

    def __init__(self, scale=1.0, trainable_scale=False, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale
        self.trainable_scale = trainable_scale

    def build(self, query_shape, key_shape):
        _check_one_width("A cosine", query_shape, key_shape)
        if self.trainable_scale:
            self.learned_scale = self.add_weight(
                shape=(), initializer=keras.initializers.Constant(self.scale), name="scale"
            )

    def project_key(self, key):
        return _unit(key)

    def score(self, query, keys):
        scale = self._read(self.learned_scale) if self.trainable_scale else self.scale
        return ops.matmul(_unit(query) * scale, ops.transpose(keys, (0, 2, 1)))

    def get_config(self):
        return {
            **super().get_config(),
            "scale": self.scale,
            "trainable_scale": self.trainable_scale,
        }


def _unit(vectors):
    """Vectors (…, D) at length 1. The sums of squares would not survive in float16."""
    precise = ops.cast(vectors, precision.float32_or_wider(vectors.dtype))
    squares = ops.sum(ops.square(precise), axis=-1, keepdims=True)
    has_direction = squares > 1e-12
    units = precise * ops.rsqrt(ops.where(has_direction, squares, 1.0))
    return ops.cast(ops.where(has_direction, units, 0.0), vectors.dtype)


def _check_one_width(what, query_shape, key_shape):
    if query_shape[-1] != key_shape[-1]:
        raise ValueError(
            f"{what} needs queries and keys of one width; `BilinearScore` does not. "
            f"Received: query.shape={tuple(query_shape)}, key.shape={tuple(key_shape)}."
        )
