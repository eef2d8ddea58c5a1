"""A recurrent decoder with attention: whole sequences in training, and the same step in search.

Shapes: B sequences, T steps of width D, Tv values of width Dv, U the width of a step's output.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention import loop, masking
from keras_attention.recurrent import AttentionCell, AttentionState, AttentionStep

register = keras.saving.register_keras_serializable(package="keras_attention")


class Decoded(NamedTuple):
    """What a decoder gives back for a whole sequence."""

    outputs: Any  # (B, T, U)
    contexts: Any  # (B, T, Dv)
    weights: Any  # (B, T, Tv)
    state: AttentionState  # after the last step


@register
class AttentionDecoder(keras.layers.Layer):
    """Runs an `AttentionCell` over a sequence, as in training with the target at hand.

    `call` is `prepare`, `initial_state` and then one `step` after another. A search calls these
    three itself, and so decodes with the very numbers that were trained:

        memory = decoder.prepare(value, mask=value_mask)
        state = decoder.initial_state(memory)
        output, context, weights, state = decoder.step(inputs, state, memory)

    Args:
        cell: An `AttentionCell`, which decides between Bahdanau's order of looking and updating
            and Luong's.

    Call arguments:
        inputs: Tensor of shape (B, T, D), the input of each step.
        value: Tensor of shape (B, Tv, Dv), what is read.
        key: Tensor of shape (B, Tv, Dk), what is compared; `value` unless given.
        initial_state: The cell's first states, each (B, units), in a list; zeros unless given.
        inputs_mask: Boolean tensor of shape (B, T). At a masked step the state stands still, and
            the output, the context and the weights are 0.
        value_mask: Boolean tensor of shape (B, Tv), `True` = real.
        training: Whether dropout applies.

    Returns:
        `Decoded`: outputs (B, T, U), contexts (B, T, Dv), weights (B, T, Tv) and the last state.

    Masking: `inputs_mask` and `value_mask` are taken from the Keras masks of the tensors unless
    given, and the mask of the inputs rides on with the outputs, contexts and weights. Where padding
    stands at the end of the inputs, the loss masks it and the last state is of no use, no
    `inputs_mask` is needed, and the steps are faster without.

    Example:

    >>> decoder = AttentionDecoder(
    ...     AttentionCell(keras.layers.GRUCell(7), AdditiveSoftAttention(units=5))
    ... )
    >>> decoded = decoder(keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 11, 6)))
    >>> decoded.outputs.shape, decoded.contexts.shape, decoded.weights.shape
    (TensorShape([2, 3, 7]), TensorShape([2, 3, 6]), TensorShape([2, 3, 11]))

    Reference: Bahdanau, Cho & Bengio, 2014, https://arxiv.org/abs/1409.0473 (section 3.1); Luong,
    Pham & Manning, 2015, https://arxiv.org/abs/1508.04025 (section 3.3, input feeding).
    """

    def __init__(self, cell, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(cell, AttentionCell):
            raise ValueError(f"`cell` must be an `AttentionCell`. Received: cell={cell!r}.")
        self.cell = cell
        self.supports_masking = True

    def build(self, inputs_shape, value_shape, key_shape=None):
        if not self.cell.built:
            self.cell.build((inputs_shape[0], inputs_shape[-1]), value_shape, key_shape)

    def prepare(self, value, key=None, mask=None):
        """Projects the keys, once a sequence: see `AttentionCell.prepare`."""
        return self.cell.prepare(value, key, mask)

    def initial_state(self, memory, cell_state=None):
        """The state before the first step: see `AttentionCell.initial_state`."""
        return self.cell.initial_state(memory, cell_state)

    def step(self, inputs, state, memory, training=False) -> AttentionStep:
        """One step, (N, D) to an `AttentionStep`: see `AttentionCell`."""
        return self.cell(inputs, state, memory, training=training)

    def call(
        self,
        inputs,
        value,
        key=None,
        initial_state=None,
        inputs_mask=None,
        value_mask=None,
        training=False,
    ):
        memory = self.prepare(value, key, value_mask)
        state = self.initial_state(memory, initial_state)
        return self.run(inputs, memory, state, inputs_mask, training)

    def run(self, inputs, memory, state, inputs_mask=None, training=False) -> Decoded:
        """The steps of a whole sequence, from a memory and a state at hand: see the class."""
        steps = [self.cell.project(inputs, memory)]
        if inputs_mask is not None:
            steps.append(ops.cast(inputs_mask, "bool"))
        attention = self.cell.attention
        untraced = keras.tree.map_structure(ops.zeros_like, attention.trace(state.attention))
        nothing = (*self._no_step(state, memory)[:3], untraced)

        def advance(state, now):
            step = self.cell.advance(now[0], state, memory, training)
            seen = (*step[:3], attention.trace(step.state.attention))
            if inputs_mask is None:
                return step.state, seen
            return masking.hold(now[1], (step.state, seen), (state, nothing))

        with self.cell.dropout_masks(inputs, state, training):
            inputs = tuple(ops.swapaxes(each, 0, 1) for each in steps)
            state, stacked = loop.scan(
                advance, state, inputs, nothing, self.non_trainable_variables
            )
        outputs, contexts, weights, trace = keras.tree.map_structure(
            lambda each: ops.swapaxes(each, 0, 1), stacked
        )
        attention.record(trace, in_time=True)
        return Decoded(outputs, contexts, weights, state)

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else [mask] * 3  # of the outputs, contexts and weights

    def _no_step(self, state, memory):
        """A step that reads nothing, gives nothing, and leaves the state as it is."""
        # The values of several heads have an axis between the batch and the length.
        batch_size, *_, num_values, _ = ops.shape(memory.values)
        widths = self.cell.output_size, self.cell.context_width, num_values
        zeros = (ops.zeros((batch_size, width), self.compute_dtype) for width in widths)
        return AttentionStep(*zeros, state)

    def get_config(self):
        return {**super().get_config(), "cell": keras.saving.serialize_keras_object(self.cell)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "cell": keras.saving.deserialize_keras_object(config["cell"])})
