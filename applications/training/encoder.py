"""A bidirectional recurrent encoder whose loop over time holds only what has to be in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import layers, ops

from keras_attention import cells, loop, masking


class Encoded(NamedTuple):
    """What an encoder makes of sequences."""

    annotations: Any  # (B, T, 2 U): at each step, what each direction has read by then
    forward: Any  # (B, U), the last state of the one that reads forwards
    backward: Any  # (B, U), and of the one that reads backwards


@keras.saving.register_keras_serializable(package="keras_attention_applications")
class BidirectionalGRU(layers.Layer):
    """Reads sequences in both directions, with the weights and the numbers of Keras' own layers.

    `keras.layers.Bidirectional` multiplies inputs and states inside a loop a direction. Here the
    inputs go through their kernels in one product before it, and one loop serves both directions:
    half the time on a CPU. Nothing in it depends on cuDNN, so any server runs it. Training on a GPU
    does call Keras' layers, and so cuDNN.

    Args:
        units: Width U of each direction.

    Call arguments:
        inputs: Tensor of shape (B, T, D).
        mask: Boolean tensor of shape (B, T), `True` = real, with padding at the end, and
            something real in each row.
        state: A pair of tensors (B, U) to begin with, forwards and backwards; zeros unless given.
        training: Whether this is training.

    Returns:
        `Encoded`: annotations (B, T, 2 U), of which those of padding mean nothing, and the last
        state (B, U) of each direction.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        both = {"return_sequences": True, "return_state": True, "dtype": self.dtype_policy}
        self.forward = layers.GRU(units, name="forward", **both)
        self.backward = layers.GRU(units, go_backwards=True, name="backward", **both)
        self.supports_masking = True

    def build(self, inputs_shape):
        self.forward.build(inputs_shape)
        self.backward.build(inputs_shape)

    def call(self, inputs, mask, state=None, training=False):
        if state is None:
            zeros = ops.zeros((ops.shape(inputs)[0], self.units), self.compute_dtype)
            state = (zeros, zeros)
        if training and on_gpu():
            return self._by_keras(inputs, mask, state)
        both = (self.forward.cell, self.backward.cell)
        weights = [cells.split(cell, inputs.shape[-1]) for cell in both]
        turned = ops.swapaxes(inputs, 0, 1)  # (T, B, D)
        steps = [ops.matmul(turned, each.known_kernel) + each.bias for each in weights]
        real = ops.swapaxes(mask, 0, 1)
        zeros = ops.zeros_like(state[0])

        def advance(states, now):
            reads = zip(both, weights, now[:2], states, now[2:], strict=True)
            new = tuple(
                masking.hold(is_real, cells.update(cell, own, step, [state])[0], state)
                for cell, own, step, state, is_real in reads
            )
            return new, new

        (forward, backward), (ahead, behind) = loop.scan(
            advance,
            tuple(state),
            (steps[0], ops.flip(steps[1], axis=0), real, ops.flip(real, axis=0)),
            (zeros, zeros),
        )
        annotations = ops.concatenate([ahead, ops.flip(behind, axis=0)], axis=-1)
        return Encoded(ops.swapaxes(annotations, 0, 1), forward, backward)

    def _by_keras(self, inputs, mask, state):
        ahead, forward = self.forward(inputs, mask=mask, initial_state=state[0])
        behind, backward = self.backward(inputs, mask=mask, initial_state=state[1])
        annotations = ops.concatenate([ahead, ops.flip(behind, axis=1)], axis=-1)
        return Encoded(annotations, forward, backward)

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else (mask, None, None)  # of the annotations only

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def on_gpu() -> bool:
    """Whether TensorFlow computes on a GPU here."""
    return bool(tf.config.list_logical_devices("GPU"))
