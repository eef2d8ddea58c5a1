"""Attention that nobody asks for: a sequence is read into one vector, with no query.

Shapes: B batch, T values of width D.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_attention import masking, normalizers
from keras_attention.scores.base import multiply
from keras_attention.shapes import differ

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class FeedForwardAttention(keras.layers.Layer):
    """Reads a sequence into one vector: each value is scored by itself, the weighted mean is read.

    `score_t = a(value_t)`, `weights = normalizer(score)`, `context = sum_t weights_t value_t`,
    where `a` is one of

    `a(value_t) = tanh(W value_t + b)`, a number in (-1, 1), with neither `units` nor `network`;
    `a(value_t) = v . tanh(W value_t + b)`, with `units`;
    `a(value_t) = network(value_t)`, with `network`.

    The first cannot favour one value over another by a factor of more than e^2 under a softmax,
    however it is trained; the others can.

    Args:
        units: Width of a hidden layer, or `None` for a score without one.
        network: A Keras layer or model of your own that maps (..., D) to (..., 1).
        normalizer: A function `(scores, mask) -> weights`, one of `keras_attention.normalizers` or
            your own, registered with Keras if the layer is to be saved.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout.
        kernel_initializer: Initializer of `W` and `v`.

    Call arguments:
        value: Tensor of shape (B, T, D), what is read.
        mask: Boolean tensor of shape (B, T), `True` = real.
        return_attention_scores: Whether to return the weights too.
        training: Whether dropout applies.

    Returns:
        The context, of shape (B, D); with `return_attention_scores=True`, a tuple of the context
        and the weights before dropout, of shape (B, T).

    Masking: `mask` is the Keras mask of `value` unless given. Masked weights are exactly 0. A
    sequence with nothing real has weights 0 and context 0. No mask rides on: time is gone.

    Example:

    >>> layer = FeedForwardAttention(units=7)
    >>> context, weights = layer(keras.ops.ones((2, 5, 3)), return_attention_scores=True)
    >>> context.shape, weights.shape
    (TensorShape([2, 3]), TensorShape([2, 5]))

    Reference: Raffel & Ellis, 2015, Feed-Forward Networks with Attention Can Solve Some Long-Term
    Memory Problems, https://arxiv.org/abs/1512.08756 (section 1.2; the first `a`: section 2); Yang
    et al., 2016, Hierarchical Attention Networks for Document Classification,
    https://aclanthology.org/N16-1174 (eqs. 5 to 7, the second `a`).
    """

    def __init__(
        self,
        units=None,
        network=None,
        normalizer=normalizers.softmax,
        dropout=0.0,
        seed=None,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if units is not None and (not isinstance(units, int) or units <= 0):
            raise ValueError(
                f"`units` must be a positive integer or `None`. Received: units={units!r}."
            )
        if units is not None and network is not None:
            raise ValueError(
                "`units` are of the layer's own network and cannot be given with another. "
                f"Received: units={units!r}, network={network!r}."
            )
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"`dropout` must be in [0, 1). Received: dropout={dropout!r}.")
        self.units = units
        self.network = network
        self.normalizer = normalizer
        self.dropout = dropout
        self.seed = seed
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True
        if dropout > 0.0:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, value_shape):
        if self.network is not None:
            if not self.network.built:
                self.network.build((None, value_shape[-1]))
            return
        width = 1 if self.units is None else self.units
        self.kernel = self.add_weight(
            shape=(value_shape[-1], width), initializer=self.kernel_initializer, name="kernel"
        )
        self.bias = self.add_weight(shape=(width,), initializer="zeros", name="bias")
        if self.units is not None:
            initializer = keras.initializers.get(
                keras.initializers.serialize(self.kernel_initializer)
            )
            self.v = self.add_weight(shape=(width,), initializer=initializer, name="v")

    def call(self, value, mask=None, return_attention_scores=False, training=False):
        self._check_shapes(value, mask)
        scores = ops.swapaxes(self._score(value), 1, 2)  # (B, 1, T)
        weights = self.normalizer(scores, masking.over_values(mask))
        context = ops.squeeze(ops.matmul(self._drop(weights, training), value), axis=1)
        return (context, ops.squeeze(weights, axis=1)) if return_attention_scores else context

    def compute_mask(self, inputs, previous_mask):
        return None  # Nothing is left of the axis that it is over.

    def _score(self, value):
        """(B, T, D) -> (B, T, 1)."""
        if self.network is None:
            hidden = ops.tanh(multiply(value, self.kernel) + self.bias)
            return hidden if self.units is None else multiply(hidden, self.v[:, None])
        batch_size, length, width = ops.shape(value)
        # Row by row, as the mask that may ride on the sequence is none of the network's business.
        scores = self.network(ops.reshape(value, (-1, width)))
        if scores.shape[-1] != 1:
            raise ValueError(
                "`network` must map (..., D) to (..., 1). "
                f"Received: network output of shape {tuple(scores.shape)}."
            )
        return ops.reshape(scores, (batch_size, length, 1))

    def _drop(self, weights, training):
        if training and self.dropout > 0.0:
            return keras.random.dropout(weights, self.dropout, seed=self.seed_generator)
        return weights

    def _check_shapes(self, value, mask):
        if len(value.shape) != 3:
            raise ValueError(
                "`value` must have shape (batch, length, width). "
                f"Received: value.shape={tuple(value.shape)}."
            )
        if mask is not None and (len(mask.shape) != 2 or differ(mask.shape[1:], value.shape[1:2])):
            raise ValueError(
                "`mask` must have shape (batch, length). "
                f"Received: mask.shape={tuple(mask.shape)}, value.shape={tuple(value.shape)}."
            )

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "network": keras.saving.serialize_keras_object(self.network),
            "normalizer": keras.saving.serialize_keras_object(self.normalizer),
            "dropout": self.dropout,
            "seed": self.seed,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    @classmethod
    def from_config(cls, config):
        revived = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("network", "normalizer")
        }
        return cls(**{**config, **revived})
