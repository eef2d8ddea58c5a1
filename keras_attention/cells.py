"""Keras RNN cells taken apart, so that part of their work leaves the loop over time.

All of Keras' own cells see their input x through one linear map, `x K + b`. What is known of x
beforehand goes through it for all steps at once, which leaves the loop with less to multiply, and
with less of the kernel's gradient to add up at every step. The numbers are those of
`cell(x, states)`, to rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops


class CellWeights(NamedTuple):
    """A cell's weights as each step uses them: cast and cut once, not at every step."""

    known_kernel: Any  # the rows of K for what is known of x beforehand
    fed_kernel: Any  # the rows of K for the rest of x
    bias: Any  # b
    recurrent_kernel: Any
    recurrent_bias: Any  # of a GRU that resets after multiplying; 0 elsewhere


def can_split(cell) -> bool:
    """Whether the functions here know the cell: one of Keras' own, without dropout."""
    known = (keras.layers.GRUCell, keras.layers.LSTMCell, keras.layers.SimpleRNNCell)
    return type(cell) in known and cell.dropout == 0.0 and cell.recurrent_dropout == 0.0


def forget_dropout_masks(cell):
    """Has a cell, or stacked cells, draw them anew.

    Keras cells keep their masks until told to forget: drawn in a loop's step, they are of it only.
    """
    for each in getattr(cell, "cells", [cell]):
        if hasattr(each, "reset_dropout_mask"):
            each.reset_dropout_mask()
            each.reset_recurrent_dropout_mask()


def split(cell, known_width) -> CellWeights:
    """The weights of a cell whose input begins with `known_width` known features."""
    kernel, recurrent_kernel = (
        ops.cast(each, cell.compute_dtype) for each in (cell.kernel, cell.recurrent_kernel)
    )
    zero = ops.zeros((), cell.compute_dtype)
    bias = ops.cast(cell.bias, cell.compute_dtype) if cell.use_bias else zero
    bias, recurrent_bias = (bias[0], bias[1]) if len(bias.shape) == 2 else (bias, zero)
    return CellWeights(
        kernel[:known_width], kernel[known_width:], bias, recurrent_kernel, recurrent_bias
    )


def update(cell, weights, projected, states):
    """`cell(x, states)`, given `x K + b`: the output and the new states."""
    if isinstance(cell, keras.layers.LSTMCell):
        return _update_lstm(cell, weights, projected, *states)
    if isinstance(cell, keras.layers.GRUCell):
        return _update_gru(cell, weights, projected, *states)
    hidden = cell.activation(projected + ops.matmul(states[0], weights.recurrent_kernel))
    return hidden, [hidden]


def _update_lstm(cell, weights, projected, hidden, carry):
    gates = projected + ops.matmul(hidden, weights.recurrent_kernel)
    enter, forget, candidate, leave = ops.split(gates, 4, axis=-1)
    forget, enter = cell.recurrent_activation(forget), cell.recurrent_activation(enter)
    carry = forget * carry + enter * cell.activation(candidate)
    hidden = cell.recurrent_activation(leave) * cell.activation(carry)
    return hidden, [hidden, carry]


def _update_gru(cell, weights, projected, hidden):
    keep, reset, candidate = ops.split(projected, 3, axis=-1)
    if cell.reset_after:
        recurrent = ops.matmul(hidden, weights.recurrent_kernel) + weights.recurrent_bias
        recurrent_keep, recurrent_reset, recurrent = ops.split(recurrent, 3, axis=-1)
        reset = cell.recurrent_activation(reset + recurrent_reset)
        recurrent = reset * recurrent
    else:
        keep_kernel, reset_kernel, kernel = ops.split(weights.recurrent_kernel, 3, axis=-1)
        recurrent_keep = ops.matmul(hidden, keep_kernel)
        reset = cell.recurrent_activation(reset + ops.matmul(hidden, reset_kernel))
        recurrent = ops.matmul(reset * hidden, kernel)
    keep = cell.recurrent_activation(keep + recurrent_keep)
    candidate = cell.activation(candidate + recurrent)
    hidden = candidate + keep * (hidden - candidate)
    return hidden, [hidden]
