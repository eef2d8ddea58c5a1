"""The machines, and the control that has no memory beside its state."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from applications.algorithmic.config import VECTORS, AlgorithmicConfig
from applications.algorithmic.data import Facts
from applications.training import precision, updates
from keras_attention import NTMCell, StackCell, compile, loop

register = keras.saving.register_keras_serializable(package="keras_attention_applications")

CLIP = 10.0  # the longest gradient, of the loss in bits of a sequence


class Performed(NamedTuple):
    """What a machine says at every step, and what it did."""

    logits: Any  # (B, T, K)
    trace: Any  # see `Machine`


@register
class Machine(keras.Model):
    """Reads a sequence step by step with one cell, and tells something at every step.

    With x_t a step, or the one-hot code of a symbol, and c the cell:

        h_t, state_t = c(x_t, state_{t-1})
        p_t          = sigmoid(W h_t + b) of each bit, or softmax(W h_t + b) over symbols

    Args:
        cell: An `NTMCell`, a `StackCell` or another Keras cell.
        num_inputs: D, or the number of symbols.
        num_outputs: K.
        symbols: Whether symbols are seen and told, and not vectors.

    Call arguments:
        sequence: Tensor of shape (B, T, D), or of integers (B, T).

    Returns:
        Logits (B, T, K), float32.

    `perform` tells also what the machine did at each step: the weights of an NTM, (B, T, R + W, N),
    read heads first; how much each of S stacks was pushed, popped and, if it may be, kept,
    (B, T, S, 2 or 3); or nothing, (B, T, 0).

    Reference: Graves, Wayne & Danihelka, 2014, https://arxiv.org/abs/1410.5401; Joulin & Mikolov,
    2015, https://arxiv.org/abs/1503.01007.
    """

    def __init__(self, cell, num_inputs: int, num_outputs: int, symbols: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.cell = cell
        self.num_inputs, self.num_outputs, self.symbols = num_inputs, num_outputs, symbols
        self.told = layers.Dense(num_outputs, dtype=precision.of_losses(), name="told")

    def build(self, sequence_shape):
        if not self.cell.built:
            self.cell.build((None, self.num_inputs))
        self.told.build((None, None, _width(self.cell)))

    def call(self, sequence, training=False):
        return self.perform(sequence, training).logits

    def perform(self, sequence, training=False) -> Performed:
        """The same, with what the machine did."""
        if self.symbols:
            sequence = ops.one_hot(sequence, self.num_inputs)
        steps = ops.transpose(ops.cast(sequence, self.compute_dtype), (1, 0, 2))
        state = self.cell.get_initial_state(batch_size=ops.shape(steps)[1])

        def step(state, now):
            hidden, state = self.cell(now, state, training=training)
            return list(state), (hidden, self._weights(state))

        form = ops.zeros((1, _width(self.cell)), self.compute_dtype)
        form = ops.repeat(form, ops.shape(steps)[1], axis=0), self._weights(state)
        _, (hidden, weights) = loop.scan(step, list(state), steps, form)
        hidden, weights = ops.transpose(hidden, (1, 0, 2)), ops.transpose(weights, (1, 0, 2))
        return Performed(self.told(hidden), self._trace(hidden, weights))

    def _weights(self, state):
        """What the loop writes down of the state: the weights of the heads, or nothing."""
        if isinstance(self.cell, NTMCell):
            return state[-2]
        first = keras.tree.flatten(state)[0]
        return first[:, :0]

    def _trace(self, hidden, weights):
        batch_size, length = ops.shape(hidden)[:2]
        if isinstance(self.cell, NTMCell):
            heads = self.cell.num_reads + self.cell.num_writes
            shape = batch_size, length, heads, self.cell.num_slots
            return ops.cast(ops.reshape(weights, shape), "float32")
        if not isinstance(self.cell, StackCell):
            return ops.cast(weights, "float32")
        # The cell's own layer, now on all steps at once.
        shape = batch_size, length, self.cell.num_stacks, self.cell.num_moves
        scores = ops.reshape(ops.cast(self.cell.moves(hidden), "float32"), shape)
        if self.cell.rounding:
            return ops.one_hot(ops.argmax(scores, axis=-1), self.cell.num_moves)
        return ops.softmax(scores, axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "cell": keras.saving.serialize_keras_object(self.cell),
            "num_inputs": self.num_inputs,
            "num_outputs": self.num_outputs,
            "symbols": self.symbols,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "cell": keras.saving.deserialize_keras_object(config["cell"])})


@register
def bits(y_true, y_pred):
    """What a machine lacks in knowledge of a sequence: -sum log2 p(asked), (B,).

    Args:
        y_true: Bits (B, T, K), or symbols (B, T); -1 where nothing is asked.
        y_pred: Logits (B, T, K).
    """
    asked = ops.cast(y_true >= 0, y_pred.dtype)
    if len(y_true.shape) == len(y_pred.shape):
        y_true = ops.cast(y_true, y_pred.dtype)
        costs = ops.softplus(y_pred) - y_true * y_pred
    else:
        chosen = ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
        costs = -ops.sum(chosen * ops.log_softmax(y_pred, axis=-1), axis=-1)
    return ops.sum(ops.reshape(costs * asked, (ops.shape(y_pred)[0], -1)), axis=1) / np.log(2.0)


@register
def wrong(y_true, y_pred):
    """The share of what is asked of a sequence, bits or symbols, that is told wrong: (B,)."""
    asked = ops.cast(y_true >= 0, y_pred.dtype)
    if len(y_true.shape) == len(y_pred.shape):
        differs = (y_pred > 0) != (y_true > 0.5)
    else:
        differs = ops.argmax(y_pred, axis=-1) != ops.cast(y_true, "int32")
    differs = ops.cast(differs, y_pred.dtype) * asked
    rows = ops.shape(y_pred)[0], -1
    total = ops.sum(ops.reshape(asked, rows), axis=1)
    return ops.sum(ops.reshape(differs, rows), axis=1) / ops.maximum(total, 1.0)


def build(config: AlgorithmicConfig, facts: Facts) -> Machine:
    """The machine of a run, compiled for training."""
    symbols = bool(facts.alphabet)
    machine = Machine(make_cell(config), facts.num_inputs, facts.num_outputs, symbols)
    machine(np.zeros((1, 1), np.int32) if symbols else np.zeros((1, 1, facts.num_inputs)))
    machine.compile(
        updates.of(_optimizer(config), config),
        bits,
        metrics=[keras.metrics.MeanMetricWrapper(wrong, name="wrong")],
        steps_per_execution=min(20, config.updates),  # Keras spends a millisecond on each
        jit_compile=compile.uses_xla(training=True) and not tf.distribute.has_strategy(),
    )
    return machine


def _optimizer(config: AlgorithmicConfig) -> keras.optimizers.Optimizer:
    """For vectors, Graves' own: its epsilon keeps a machine that errs no more from wandering."""
    if config.problem in VECTORS:
        return keras.optimizers.RMSprop(
            config.learning_rate,
            rho=0.95,
            momentum=0.9,
            centered=True,
            epsilon=1e-4,
            global_clipnorm=CLIP,
        )
    return keras.optimizers.Adam(config.learning_rate, global_clipnorm=CLIP)


def make_cell(config: AlgorithmicConfig):
    """The cell that a run is about."""
    if config.model == "stack":
        return StackCell(
            config.units,
            num_stacks=config.stacks,
            depth=config.depth,
            keep=config.keep,
            recurrent=config.recurrent,
        )
    if config.model == "lstm":
        cells = [layers.LSTMCell(config.units) for _ in range(config.layers)]
        return cells[0] if len(cells) == 1 else layers.StackedRNNCells(cells)
    lstm = config.controller == "lstm"
    return NTMCell(
        layers.LSTMCell(config.units) if lstm else layers.Dense(config.units, "tanh"),
        num_slots=config.slots,
        slot_width=config.slot_width,
        num_reads=config.heads,
        num_writes=config.heads,
        memory_initializer=(
            keras.initializers.Constant(1e-6) if config.first_memory == "constant" else None
        ),
        initial_weighting=config.first_weighting,
        gate_bias=config.gate_bias,
    )


def rounded(machine: Machine) -> Machine:
    """The same with stacks that do only what is most probable; another machine itself."""
    if not isinstance(machine.cell, StackCell):
        return machine
    config = {**machine.cell.get_config(), "rounding": True}
    other = Machine(
        StackCell.from_config(config), machine.num_inputs, machine.num_outputs, machine.symbols
    )
    other(np.zeros((1, 1), np.int32))
    other.set_weights(machine.get_weights())
    return other


def _width(cell) -> int:
    """Width of what a cell gives at each step."""
    return cell.output_size
