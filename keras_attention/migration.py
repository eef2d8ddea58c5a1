"""Weights of TensorFlow Addons' `tfa.seq2seq`, as layers of this library.

Each function takes the arrays of one attention mechanism, or of one decoder, by the names that TFA
gives its variables, and returns a built layer with these weights. Of a name only the end matters,
so names of variables, `decoder/memory_layer/kernel:0`, and of a checkpoint's entries,
`decoder/memory_layer/kernel/.ATTRIBUTES/VARIABLE_VALUE`, are understood alike. Parameters that TFA
holds apart and ours do not, a scale or a normalised `v`, are multiplied out.

Names and formulas are those of `tensorflow_addons/seq2seq/attention_wrapper.py`, read at commit
88d2f0a of tensorflow/addons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_attention.attention import AdditiveSoftAttention, SoftAttention
from keras_attention.recurrent import AttentionCell
from keras_attention.scores import BilinearScore

Arrays = Mapping[str, Any]  # anything that NumPy can make an array of, by name

MEMORY, QUERY = "memory_layer/kernel", "query_layer/kernel"
# A variable's name, and the attribute under which a checkpoint has it where that differs.
SCALE = ("attention_g", "scale_weight")
ATTENTION_LAYER = ("attention_layer/kernel", "_attention_layers/0/kernel")
ATTENTION_LAYER_BIAS = ("attention_layer/bias", "_attention_layers/0/bias")


def from_luong_attention(arrays: Arrays) -> SoftAttention:
    """The layer of a `tfa.seq2seq.LuongAttention`, with `scale=True` or without.

    Args:
        arrays: `memory_layer/kernel` and, if scaled, `attention_g`.

    Returns:
        A `SoftAttention` with a `BilinearScore`, built.

    Example:

    >>> layer = from_luong_attention({"memory_layer/kernel": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]})
    >>> layer(keras.ops.ones((1, 4, 2)), keras.ops.ones((1, 7, 3))).shape
    TensorShape([1, 4, 3])
    """
    _refuse_monotonic(arrays)
    if _find(arrays, "attention_v") is not None:
        raise ValueError(
            "These are the weights of a Bahdanau attention: see `from_bahdanau_attention`. "
            f"Received: {_names(arrays)}."
        )
    kernel = _array(arrays, MEMORY)  # (Dv, Dq)
    scale = _find(arrays, *SCALE)
    if scale is not None:
        kernel = kernel * scale
    layer = SoftAttention(BilinearScore())
    layer.build((None, None, kernel.shape[1]), (None, None, kernel.shape[0]))
    layer.score.kernel.assign(kernel)
    return layer


def from_bahdanau_attention(arrays: Arrays) -> AdditiveSoftAttention:
    """The layer of a `tfa.seq2seq.BahdanauAttention`, with `normalize=True` or without.

    Args:
        arrays: `query_layer/kernel`, `memory_layer/kernel`, `attention_v` and, if normalised,
            `attention_g` and `attention_b`.

    Returns:
        An `AdditiveSoftAttention`, built; with a bias if normalised.

    Example:

    >>> kernel = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    >>> layer = from_bahdanau_attention(
    ...     {"query_layer/kernel": kernel, "memory_layer/kernel": kernel, "attention_v": [1, 2, 3]}
    ... )
    >>> layer(keras.ops.ones((1, 4, 2)), keras.ops.ones((1, 7, 2))).shape
    TensorShape([1, 4, 2])
    """
    _refuse_monotonic(arrays)
    query_kernel, key_kernel = _array(arrays, QUERY), _array(arrays, MEMORY)
    v = _array(arrays, "attention_v")
    g, b = _find(arrays, "attention_g"), _find(arrays, "attention_b")
    if (g is None) != (b is None):
        raise ValueError(
            "`normalize=True` has both `attention_g` and `attention_b`, and otherwise neither is "
            f"there. Received: {_names(arrays)}."
        )
    layer = AdditiveSoftAttention(len(v), use_bias=b is not None)
    layer.build((None, None, len(query_kernel)), (None, None, len(key_kernel)))
    _assign(layer.score.query_kernel, query_kernel, QUERY)
    _assign(layer.score.key_kernel, key_kernel, MEMORY)
    layer.score.v.assign(v if g is None else g * v / np.linalg.norm(v))
    if b is not None:
        _assign(layer.score.bias, b, "attention_b")
    return layer


def from_attention_wrapper(
    arrays: Arrays, cell: keras.layers.Layer, activation="linear"
) -> AttentionCell:
    """The cell of a `tfa.seq2seq.AttentionWrapper` around one attention mechanism and one cell.

    With an attention layer, the steps are the same: update, look, and feed
    `attention_t = activation(W [s_t ; context_t])` into the next step. Ours multiplies
    `[context_t ; s_t]`, so the rows of `W` change places.

    Without one, TFA feeds `context_t`, with which Bahdanau's order, ours, begins step t + 1. The
    steps differ in the first only: there TFA's cell is fed zeros, and ours what it reads with its
    first state.

    Args:
        arrays: the mechanism's arrays; `attention_layer/kernel`, if there is one; and the cell's
            own, `kernel`, `recurrent_kernel` and `bias`, by names that begin alike.
        cell: A Keras `GRUCell`, `LSTMCell` or `SimpleRNNCell` with the arguments of the cell that
            was wrapped, not yet built.
        activation: What TFA's attention layer applies. `attention_layer_size` makes one that is
            linear.

    Returns:
        An `AttentionCell`, built.

    Example: inputs of width 2, values of width 5, a GRU of 3 units, an attention layer of 4.

    >>> shapes = {"memory_layer/kernel": (5, 3), "attention_layer/kernel": (3 + 5, 4),
    ...           "gru_cell/kernel": (2 + 4, 9), "gru_cell/recurrent_kernel": (3, 9),
    ...           "gru_cell/bias": (2, 9)}
    >>> arrays = {name: np.ones(shape) for name, shape in shapes.items()}
    >>> cell = from_attention_wrapper(arrays, keras.layers.GRUCell(3))
    >>> AttentionDecoder(cell)(keras.ops.ones((1, 7, 2)), keras.ops.ones((1, 11, 5))).outputs.shape
    TensorShape([1, 7, 4])
    """
    mechanism = from_luong_attention
    if _find(arrays, "attention_v") is not None:
        mechanism = from_bahdanau_attention
    attention, kernel = mechanism(arrays), _find(arrays, *ATTENTION_LAYER)
    if _find(arrays, *ATTENTION_LAYER_BIAS) is not None:
        raise ValueError(
            "TFA's attention layer has a bias here, and the attentional vector of an "
            f"`AttentionCell` has none. Received: {_names(arrays)}."
        )
    step = AttentionCell(cell, attention, None if kernel is None else kernel.shape[1], activation)
    _fill(step, arrays, kernel, len(_array(arrays, MEMORY)))
    return step


def _fill(step: AttentionCell, arrays: Arrays, attention_kernel, value_width) -> None:
    """Builds the step and gives its cell and its attentional layer their weights."""
    weights = _of_cell(arrays)
    fed = value_width if attention_kernel is None else attention_kernel.shape[1]
    step.build((None, len(weights["kernel"]) - fed), (None, None, value_width))
    found = [variable.name for variable in step.cell.weights]
    if found != list(weights):
        raise ValueError(
            "`cell` must be a Keras RNN cell with the arguments of the wrapped one. "
            f"Received: a {type(step.cell).__name__} with {found}, arrays for {list(weights)}."
        )
    for variable in step.cell.weights:
        _assign(variable, weights[variable.name], variable.name)
    if attention_kernel is not None:
        units = len(weights["recurrent_kernel"])  # TFA: [s ; context]; ours: [context ; s]
        kernel = np.concatenate([attention_kernel[units:], attention_kernel[:units]])
        _assign(step.attentional.kernel, kernel, ATTENTION_LAYER[0])


def _of_cell(arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays of the one recurrent cell, in Keras' order."""
    names = {_clean(name): name for name in arrays}
    found = [name for name in names if _ends(name, "recurrent_kernel")]
    if len(found) != 1:
        raise ValueError(
            "There must be one recurrent cell: pass the arrays of the decoder only, and of no "
            f"stacked cells. Received: {found or _names(arrays)}."
        )
    folder = found[0].removesuffix("recurrent_kernel")
    parts = ("kernel", "recurrent_kernel", "bias")
    return {
        part: np.asarray(arrays[names[folder + part]]) for part in parts if folder + part in names
    }


def _refuse_monotonic(arrays: Arrays) -> None:
    if _find(arrays, "attention_score_bias") is not None:
        raise ValueError(
            "These are the weights of a monotonic attention, which has no counterpart here yet. "
            f"Received: {_names(arrays)}."
        )


def _array(arrays: Arrays, name: str) -> np.ndarray:
    found = _find(arrays, name)
    if found is None:
        raise ValueError(f"There is no array `{name}`. Received: {_names(arrays)}.")
    return found


def _find(arrays: Arrays, *names: str) -> np.ndarray | None:
    """The array whose name ends like one of these, or `None`."""
    found = [full for full in arrays if any(_ends(_clean(full), name) for name in names)]
    if len(found) > 1:
        raise ValueError(
            f"There must be one `{names[0]}`: pass the arrays of one attention mechanism only. "
            f"Received: {found}."
        )
    return np.asarray(arrays[found[0]]) if found else None


def _clean(name: str) -> str:
    return name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").removesuffix(":0")


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f"/{end}")


def _names(arrays: Arrays) -> list[str]:
    return sorted(_clean(name) for name in arrays)


def _assign(variable, array: np.ndarray, name: str) -> None:
    if tuple(variable.shape) != array.shape:
        raise ValueError(
            f"`{name}` must have the shape {tuple(variable.shape)}, by the other arrays and the "
            f"arguments of the cell. Received: {array.shape}."
        )
    variable.assign(array)
