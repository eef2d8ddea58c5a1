"""Scores by any network of query and key."""

from __future__ import annotations

import keras
from keras import ops

from keras_attention.scores.base import Score

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class NetworkScore(Score):
    """Scores every pair by a network of your own.

    `score_ij = network([query_i ; key_j])`

    The network sees all pairs at once, (B, Tq, Tv, Dq + Dk), so memory grows with Tq * Tv.

    Args:
        network: A Keras layer or model that maps (..., Dq + Dk) to (..., 1).

    Call arguments:
        query: Tensor of shape (B, Tq, Dq).
        key: Tensor of shape (B, Tv, Dk).

    Returns:
        Scores of shape (B, Tq, Tv).

    Example: Luong's *concat*, which is `v . tanh(W [query_i ; key_j])`.

    >>> network = keras.Sequential(
    ...     [keras.layers.Dense(7, "tanh"), keras.layers.Dense(1, use_bias=False)]
    ... )
    >>> NetworkScore(network)(keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 6))).shape
    TensorShape([2, 3, 5])

    Reference: Luong, Pham & Manning, 2015, Effective Approaches to Attention-based Neural Machine
    Translation, https://arxiv.org/abs/1508.04025 (eq. 8, "concat").
    """

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        self.network = network

    def build(self, query_shape, key_shape):
        if not self.network.built:
            self.network.build((None, None, None, query_shape[-1] + key_shape[-1]))

    def score(self, query, keys):
        num_queries, num_values = ops.shape(query)[1], ops.shape(keys)[1]
        pairs = ops.concatenate(
            [
                ops.repeat(query[:, :, None, :], num_values, axis=2),
                ops.repeat(keys[:, None, :, :], num_queries, axis=1),
            ],
            axis=-1,
        )
        scores = self.network(pairs)  # (B, Tq, Tv, 1)
        if scores.shape[-1] != 1:
            raise ValueError(
                "`network` must map (..., Dq + Dk) to (..., 1). "
                f"Received: network output of shape {tuple(scores.shape)}."
            )
        return ops.squeeze(scores, axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
        }

    @classmethod
    def from_config(cls, config):
        network = keras.saving.deserialize_keras_object(config.pop("network"))
        return cls(network, **config)
