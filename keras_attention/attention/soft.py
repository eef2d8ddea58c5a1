"""Soft attention, by any score, by Bahdanau's and by Luong's."""

from __future__ import annotations

import keras

from keras_attention import normalizers
from keras_attention.attention.base import BaseAttention
from keras_attention.scores import AdditiveScore, DotScore

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class SoftAttention(BaseAttention):
    """Reads the mean of the values, weighted by any score under any normaliser.

    `weights = normalizer(score(query, key))`, `context = weights value`

    Args:
        score: A `Score`, such as `AdditiveScore(256)`.
        normalizer: A function `(scores, mask) -> weights`, one of `keras_attention.normalizers` or
            your own, registered with Keras if the layer is to be saved.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq), what asks.
        value: Tensor of shape (B, Tv, Dv), what is read.
        key: Tensor of shape (B, Tv, Dk), what is compared; `value` unless given.
        Masks and flags: those of every attention layer, see `BaseAttention`.

    Returns:
        The context, of shape (B, Tq, Dv); with `return_attention_scores=True`, a tuple of the
        context and the weights before dropout, of shape (B, Tq, Tv).

    Example:

    >>> layer = SoftAttention(BilinearScore(), normalizer=normalizers.entmax15)
    >>> query, value = keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 6))
    >>> context, weights = layer(query, value, return_attention_scores=True)
    >>> context.shape, weights.shape
    (TensorShape([2, 3, 6]), TensorShape([2, 3, 5]))

    Reference: Bahdanau, Cho & Bengio, 2014, https://arxiv.org/abs/1409.0473 (eqs. 5 and 6).
    """

    def __init__(self, score, normalizer=normalizers.softmax, dropout=0.0, seed=None, **kwargs):
        super().__init__(score, normalizer, dropout, seed, **kwargs)

    def get_config(self):
        return {**super().get_config(), "score": keras.saving.serialize_keras_object(self.score)}


@register
class AdditiveSoftAttention(BaseAttention):
    """Bahdanau's attention: a small network scores, the weighted mean is read.

    `score_ij = v . tanh(W query_i + U key_j)`, `weights = normalizer(score)`,
    `context = weights value`

    Unlike `keras.layers.AdditiveAttention`, it projects queries and keys, so they may differ in
    width and the score can be learned.

    Args:
        units: Width of the hidden layer, the paper's n'.
        use_bias: Whether to add a bias inside the tanh. The paper has none.
        normalizer: A function `(scores, mask) -> weights`.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout.
        kernel_initializer: Initializer of `W`, `U` and `v`.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq), what asks.
        value: Tensor of shape (B, Tv, Dv), what is read.
        key: Tensor of shape (B, Tv, Dk), what is compared; `value` unless given.
        Masks and flags: those of every attention layer, see `BaseAttention`.

    Returns:
        The context, of shape (B, Tq, Dv); with `return_attention_scores=True`, a tuple of the
        context and the weights before dropout, of shape (B, Tq, Tv).

    Example:

    >>> layer = AdditiveSoftAttention(units=7)
    >>> query, value = keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 6))
    >>> context, weights = layer(query, value, return_attention_scores=True)
    >>> context.shape, weights.shape
    (TensorShape([2, 3, 6]), TensorShape([2, 3, 5]))

    Reference: Bahdanau, Cho & Bengio, 2014, Neural Machine Translation by Jointly Learning to
    Align and Translate, https://arxiv.org/abs/1409.0473 (eqs. 5 and 6, appendix A.1.2).
    """

    def __init__(
        self,
        units,
        use_bias=False,
        normalizer=normalizers.softmax,
        dropout=0.0,
        seed=None,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        dtype = kwargs.get("dtype")
        score = AdditiveScore(units, use_bias, kernel_initializer, name="score", dtype=dtype)
        super().__init__(score, normalizer, dropout, seed, **kwargs)
        self.units = score.units
        self.use_bias = score.use_bias
        self.kernel_initializer = score.kernel_initializer

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@register
class DotAttention(BaseAttention):
    """Luong's attention: the dot product scores, the weighted mean is read.

    `score_ij = scale * query_i . key_j`, `weights = normalizer(score)`, `context = weights value`

    It has no weights (but for a learned scale), and needs queries and keys of one width.

    Args:
        scale: A number, or `None` for `1 / sqrt(Dk)`.
        trainable_scale: Whether `scale` is only where a learned scalar begins.
        normalizer: A function `(scores, mask) -> weights`.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq), what asks.
        value: Tensor of shape (B, Tv, Dv), what is read.
        key: Tensor of shape (B, Tv, Dk), what is compared; `value` unless given.
        Masks and flags: those of every attention layer, see `BaseAttention`.

    Returns:
        The context, of shape (B, Tq, Dv); with `return_attention_scores=True`, a tuple of the
        context and the weights before dropout, of shape (B, Tq, Tv).

    Example:

    >>> query, value = keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 4))
    >>> DotAttention(scale=None)(query, value).shape
    TensorShape([2, 3, 4])

    Reference: Luong, Pham & Manning, 2015, Effective Approaches to Attention-based Neural Machine
    Translation, https://arxiv.org/abs/1508.04025 (eqs. 7 and 8).
    """

    def __init__(
        self,
        scale: float | None = 1.0,
        trainable_scale=False,
        normalizer=normalizers.softmax,
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        score = DotScore(scale, trainable_scale, name="score", dtype=kwargs.get("dtype"))
        super().__init__(score, normalizer, dropout, seed, **kwargs)
        self.scale = scale
        self.trainable_scale = trainable_scale

    def get_config(self):
        return {
            **super().get_config(),
            "scale": self.scale,
            "trainable_scale": self.trainable_scale,
        }
