"""Arithmetic in half the bits, which a training may use where a processor is faster at it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_attention.precision import of_losses

__all__ = ["of_losses", "policy"]


@contextlib.contextmanager
def policy(kind: Any) -> Iterator[None]:
    """What is built within computes as `kind` says, a Keras dtype policy or the name of one.

    A model whose layers are made without a dtype of their own makes them within
    `policy(self.dtype_policy)`, so that they compute as it does, also when it is read from a file.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(kind)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
