"""One step of a recurrent decoder that looks at a memory, around any Keras cell.

Shapes: B sequences, N rows, Tv values of width Dv, U units of the cell. N is B, or a multiple of B:
the hypotheses of a beam search stand side by side, N / B to a sequence, and share its memory.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention import cells

register = keras.saving.register_keras_serializable(package="keras_attention")


class CellMemory(NamedTuple):
    """An `AttentionMemory`, and what else is made once a sequence and used at every step."""

    keys: Any
    values: Any
    mask: Any
    cell: Any  # `CellWeights` of a cell that can be split, or ()


class AttentionState(NamedTuple):
    """What a decoder carries from step to step."""

    cell: Any  # the cell's own states, each (N, units)
    feed: Any  # (N, attentional_units), the last output, where that is fed back; else ()
    attention: Any  # the attention layer's own state


class AttentionStep(NamedTuple):
    """What one step gives back."""

    output: Any  # (N, U), or (N, attentional_units)
    context: Any  # (N, Dv)
    weights: Any  # (N, Tv)
    state: AttentionState


@register
class AttentionCell(keras.layers.Layer):
    """One decoding step: a Keras cell, and one look at the memory.

    Look, then update (Bahdanau; `attentional_units=None`), where `s` is the cell's hidden state:

    `context_t, weights_t = attend(s_{t-1})`,
    `output_t = s_t = cell([input_t ; context_t], s_{t-1})`

    Update, then look, and feed the result into the next step (Luong; `attentional_units` given):

    `s_t = cell([input_t ; output_{t-1}], s_{t-1})`, `context_t, weights_t = attend(s_t)`,
    `output_t = activation(W [context_t ; s_t])`

    With `input_feeding=False`, `s_t = cell(input_t, s_{t-1})`: the cell never learns what was read,
    and so each output has to be read at its own step.

    Args:
        cell: A Keras RNN cell: `GRUCell`, `LSTMCell`, `SimpleRNNCell`, or `StackedRNNCells`, of
            which the topmost asks.
        attention: An attention layer.
        attentional_units: Width of Luong's attentional vector; `None` for Bahdanau's order.
        attentional_activation: What that vector goes through, in Luong's order. The paper's is
            "tanh".
        input_feeding: In Luong's order, whether the cell sees the last output.

    Call arguments:
        inputs: Tensor of shape (N, D), the input of this step.
        state: An `AttentionState`, from `initial_state` or the step before.
        memory: The `AttentionMemory` of B sequences that `prepare` gave.
        training: Whether dropout applies.

    Returns:
        An `AttentionStep`: output (N, U), context (N, Dv), weights (N, Tv), and the next state.

    Example:

    >>> step = AttentionCell(keras.layers.GRUCell(7), AdditiveSoftAttention(units=5))
    >>> inputs, value = keras.ops.ones((2, 3)), keras.ops.ones((2, 11, 4))
    >>> step.build(inputs.shape, value.shape)
    >>> memory = step.prepare(value)
    >>> done = step(inputs, step.initial_state(memory), memory)
    >>> done.output.shape, done.context.shape, done.weights.shape
    (TensorShape([2, 7]), TensorShape([2, 4]), TensorShape([2, 11]))

    Reference: Bahdanau, Cho & Bengio, 2014, https://arxiv.org/abs/1409.0473 (eqs. 4 to 6); Luong,
    Pham & Manning, 2015, https://arxiv.org/abs/1508.04025 (eq. 5, section 3.3); Lu, Xiong, Parikh
    & Socher, 2017, Knowing When to Look, https://arxiv.org/abs/1612.01887 (section 2.2, which feeds
    nothing back).
    """

    def __init__(
        self,
        cell,
        attention,
        attentional_units=None,
        attentional_activation="tanh",
        input_feeding=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not (hasattr(cell, "state_size") and hasattr(cell, "get_initial_state")):
            raise ValueError(
                "`cell` must be a Keras RNN cell, such as `keras.layers.GRUCell(256)`. "
                f"Received: cell={cell!r}."
            )
        if attentional_units is None and not input_feeding:
            raise ValueError(
                "`input_feeding=False` needs `attentional_units`: without them, the cell is fed "
                "with what is read. Received: attentional_units=None."
            )
        self.cell = cell
        self.attention = attention
        self.attentional_units = attentional_units
        self.input_feeding = input_feeding
        self.attentional_activation = keras.activations.get(attentional_activation)
        if attentional_units is not None:
            self.attentional = keras.layers.Dense(
                attentional_units,
                activation=self.attentional_activation,
                use_bias=False,
                name="attentional",
                dtype=self.dtype_policy,
            )

    def build(self, inputs_shape, value_shape, key_shape=None):
        units = self._top_units()
        self.context_width = self.attention.context_width(units, value_shape[-1])
        fed = self.context_width if self.attentional_units is None else self.attentional_units
        fed = fed if self.input_feeding else 0
        self.inputs_width, self.cell_width = inputs_shape[-1], inputs_shape[-1] + fed
        self.output_size = units if self.attentional_units is None else self.attentional_units
        if not self.cell.built:
            self.cell.build((inputs_shape[0], self.cell_width))
        if not self.attention.built:
            self.attention.build((inputs_shape[0], 1, units), value_shape, key_shape)
        if self.attentional_units is not None and not self.attentional.built:
            self.attentional.build((inputs_shape[0], self.context_width + units))

    def prepare(self, value, key=None, mask=None) -> CellMemory:
        """The memory to give to every step: see `BaseAttention.prepare`."""
        if not self.built:
            raise ValueError(
                f"`{self.name}` has no weights yet: call its `build(inputs_shape, value_shape)` "
                "before `prepare`."
            )
        weights = cells.split(self.cell, self.inputs_width) if cells.can_split(self.cell) else ()
        memory = self.attention.prepare(value, key, mask)
        return CellMemory(memory.keys, memory.values, memory.mask, weights)

    def initial_state(self, memory, cell_state=None):
        """The state before the first step of each of the memory's B sequences.

        Args:
            memory: What `prepare` gave.
            cell_state: The cell's first states, in the cell's own structure; zeros unless given.

        Returns:
            An `AttentionState` of B rows.
        """
        batch_size = ops.shape(memory.values)[0]
        if cell_state is None:
            cell_state = self.cell.get_initial_state(batch_size=batch_size)
        if not isinstance(cell_state, (list, tuple)):
            cell_state = [cell_state]
        cell_state = keras.tree.map_structure(
            lambda state: ops.cast(state, self.compute_dtype), list(cell_state)
        )
        feed = ()
        if self.attentional_units is not None and self.input_feeding:
            feed = ops.zeros((batch_size, self.attentional_units), dtype=self.compute_dtype)
        return AttentionState(cell_state, feed, self.attention.initial_state(memory))

    @contextlib.contextmanager
    def dropout_masks(self, inputs, state, training):
        """Draws the cell's own dropout masks before a loop over steps, and forgets them after.

        Keras cells draw one mask a sequence and keep it until told to forget; drawn inside a loop,
        it would be a tensor of that loop only.
        """
        cells.forget_dropout_masks(self.cell)
        if training and not cells.can_split(self.cell):
            batch_size = ops.shape(inputs)[0]
            zeros = ops.zeros((batch_size, self.cell_width), dtype=self.compute_dtype)
            self.cell(zeros, state.cell, training=True)
        try:
            yield
        finally:
            cells.forget_dropout_masks(self.cell)

    def project(self, inputs, memory):
        """All that can be done with the inputs of many steps at once: (…, D) to (…, any width)."""
        inputs = ops.cast(inputs, self.compute_dtype)
        if not cells.can_split(self.cell):
            return inputs
        return ops.matmul(inputs, memory.cell.known_kernel) + memory.cell.bias

    def call(self, inputs, state, memory, training=False):
        return self.advance(self.project(inputs, memory), state, memory, training)

    def advance(self, projected, state, memory, training=False):
        """The step of `call`, given what `project` made of its inputs."""
        if self.attentional_units is None:
            return self._look_then_update(projected, state, memory, training)
        return self._update_then_look(projected, state, memory, training)

    def _look_then_update(self, inputs, state, memory, training):
        hidden = self._hidden(state.cell)
        context, weights, attention = self._look(hidden, memory, state.attention, training)
        output, cell_state = self._update(inputs, context, memory, state.cell, training)
        return AttentionStep(output, context, weights, AttentionState(cell_state, (), attention))

    def _update_then_look(self, inputs, state, memory, training):
        hidden, cell_state = self._update(inputs, state.feed, memory, state.cell, training)
        context, weights, attention = self._look(hidden, memory, state.attention, training)
        output = self.attentional(ops.concatenate([context, hidden], axis=-1))
        feed = output if self.input_feeding else ()
        return AttentionStep(output, context, weights, AttentionState(cell_state, feed, attention))

    def _update(self, inputs, fed, memory, cell_state, training):
        """The cell's step on inputs that `project` has seen, and on what is fed in beside them."""
        if cells.can_split(self.cell):
            projected = (
                inputs + ops.matmul(fed, memory.cell.fed_kernel) if self.input_feeding else inputs
            )
            return cells.update(self.cell, memory.cell, projected, cell_state)
        both = ops.concatenate([inputs, fed], axis=-1) if self.input_feeding else inputs
        return self.cell(both, cell_state, training=training)

    def _look(self, hidden, memory, state, training):
        """The rows of one sequence are its memory's queries: (N, U) -> (B, N / B, U)."""
        batch_size = ops.shape(memory.values)[0]
        query = ops.reshape(hidden, (batch_size, -1, hidden.shape[-1]))
        context, weights, state = self.attention.attend(query, memory, state, training)
        rows = ops.shape(hidden)[0]
        context = ops.reshape(context, (rows, context.shape[-1]))
        return context, ops.reshape(weights, (rows, ops.shape(weights)[-1])), state

    def _cells(self):
        """The cell, or the stacked cells, bottom first."""
        stacked = isinstance(self.cell, keras.layers.StackedRNNCells)
        return self.cell.cells if stacked else [self.cell]

    def _hidden(self, states):
        """What asks: the hidden state of the cell, or of the topmost of stacked cells."""
        top = states[-1] if len(self._cells()) > 1 else states
        return top[0] if isinstance(top, (list, tuple)) else top

    def _top_units(self):
        size = self._cells()[-1].state_size
        return size[0] if isinstance(size, (list, tuple)) else size

    def get_config(self):
        return {
            **super().get_config(),
            "cell": keras.saving.serialize_keras_object(self.cell),
            "attention": keras.saving.serialize_keras_object(self.attention),
            "attentional_units": self.attentional_units,
            "attentional_activation": keras.activations.serialize(self.attentional_activation),
            "input_feeding": self.input_feeding,
        }

    @classmethod
    def from_config(cls, config):
        parts = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("cell", "attention")
        }
        return cls(**{**config, **parts})
