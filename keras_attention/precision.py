"""Where half precision is not enough: sums over many steps, positions, logarithms, losses."""

from __future__ import annotations

import keras


def float32_or_wider(dtype) -> str:
    """A dtype with the bits of float32 at least: float64 stays, 16 bits become 32."""
    return keras.backend.result_type(dtype, "float32")


def of_losses() -> str:
    """The dtype of logits, costs and losses: float32, and float64 where Keras is set to it."""
    return float32_or_wider(keras.config.floatx())
