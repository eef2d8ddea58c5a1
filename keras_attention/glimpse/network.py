"""What was seen, and where, as one vector."""

from __future__ import annotations

import keras
from keras import layers, ops

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class GlimpseNetwork(keras.layers.Layer):
    """Joins what a retina sees with where it looks.

    `what = relu(A patches + a)`, `where = relu(L location + l)`,
    `glimpse = dropout(relu(W [what ; where] + b))`

    Args:
        units: Width of the glimpse.
        hidden_units: Width of `what` and of `where`.
        dropout: Share of the glimpse dropped in training, in [0, 1).

    Call arguments:
        patches: Tensor of shape (B, ...), such as a `Retina` gives.
        location: Tensor of shape (B, 2).
        training: Whether to drop.

    Returns:
        Glimpses of shape (B, units).

    Example:

    >>> image, location = keras.ops.ones((3, 28, 28, 1)), keras.ops.zeros((3, 2))
    >>> patches = Retina(size=8)(image, location)
    >>> GlimpseNetwork(units=256, hidden_units=128)(patches, location).shape
    TensorShape([3, 256])

    Reference: Mnih, Heess, Graves & Kavukcuoglu, 2014, Recurrent Models of Visual Attention,
    https://arxiv.org/abs/1406.6247 (section 4, the glimpse network; the
    dropout is ours).
    """

    def __init__(self, units, hidden_units, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("units", units), ("hidden_units", hidden_units)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value}.")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"`dropout` must be in [0, 1). Received: {dropout=}.")
        self.units = units
        self.hidden_units = hidden_units
        self.dropout = dropout
        policy = self.dtype_policy
        self.flatten = layers.Flatten(dtype=policy)
        self.what = layers.Dense(hidden_units, "relu", name="what", dtype=policy)
        self.where = layers.Dense(hidden_units, "relu", name="where", dtype=policy)
        self.join = layers.Dense(units, "relu", name="join", dtype=policy)
        self.drop = layers.Dropout(dropout, dtype=policy)

    def build(self, patches_shape, location_shape):
        for layer, shape in (
            (self.what, self.flatten.compute_output_shape(patches_shape)),
            (self.where, location_shape),
            (self.join, (patches_shape[0], 2 * self.hidden_units)),
        ):
            if not layer.built:
                layer.build(shape)

    def call(self, patches, location, training=False):
        what, where = self.what(self.flatten(patches)), self.where(location)
        glimpse = self.join(ops.concatenate([what, where], axis=-1))
        return self.drop(glimpse, training=training)

    def compute_output_shape(self, patches_shape, location_shape):
        del location_shape
        return patches_shape[0], self.units

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "hidden_units": self.hidden_units,
            "dropout": self.dropout,
        }
