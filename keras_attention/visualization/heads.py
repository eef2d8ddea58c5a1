"""Several heads at once: what each of them read, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_attention.visualization.alignment import Alignment, check, labels
from keras_attention.visualization.figure import (
    draw_cells,
    draw_labels,
    draw_scale,
    fit,
    new_figure,
    text_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME_SIZE = 8.5  # points


class MultiHeadAlignment(NamedTuple):
    """Which source tokens each target token was made from, head by head.

    Fields:
        source_tokens: Tv strings, the values that were read.
        target_tokens: Tq strings, one for each query.
        weights: array (H, Tq, Tv) in [0, 1]: in head h, target token i read source token j by
            `weights[h, i, j]`. Cut padding off first.
        names: H strings, or `None` for head 1, head 2 and so on.
        caption: a line above the drawing, or `None`.
    """

    source_tokens: Sequence[str]
    target_tokens: Sequence[str]
    weights: Any
    names: Sequence[str] | None = None
    caption: str | None = None


def check_heads(alignment: MultiHeadAlignment, name: str) -> tuple[list[str], list[Alignment]]:
    """The names of the heads and an alignment each, or an error that calls them `name`."""
    if not isinstance(alignment, MultiHeadAlignment):
        raise TypeError(
            f"`{name}` must be a `MultiHeadAlignment`. Received: {type(alignment).__name__}."
        )
    weights = np.asarray(alignment.weights, np.float64)
    if weights.ndim != 3 or not len(weights):
        raise ValueError(
            f"`{name}.weights` must have shape (heads, target tokens, source tokens). "
            f"Received: weights.shape={weights.shape}."
        )
    names = alignment.names
    names = [f"head {h + 1}" for h in range(len(weights))] if names is None else names
    names = labels(names, f"{name}.names")
    if len(names) != len(weights):
        raise ValueError(
            f"`{name}.names` must be one name a head. "
            f"Received: {len(names)} names, {len(weights)} heads."
        )
    source, target, _, _, caption = alignment
    return names, [check(Alignment(source, target, each, None, caption), name) for each in weights]


def head_heatmaps(alignment: MultiHeadAlignment) -> Figure:
    """Draws a heat map for each head, all to one scale, with tokens at the outer maps only.

    Of inputs so long that their labels would touch, every second token is labelled, or third, and
    so on.

    Args:
        alignment: a `MultiHeadAlignment` with at least one token on each side.

    Returns:
        A `matplotlib.figure.Figure` that belongs to no pyplot window; `save` writes it.

    Example:

    >>> weights = [[[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.9], [0.5, 0.5]]]
    >>> figure = head_heatmaps(MultiHeadAlignment(["le", "chat"], ["the", "cat"], weights))
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['head 1', 'head 2']

    Reference: Vaswani et al., 2017, Attention Is All You Need, https://arxiv.org/abs/1706.03762
    (figures 3 to 5, which draw the same as lines).
    """
    names, heads = check_heads(alignment, "alignment")
    height, width = heads[0].weights.shape
    if not height * width:
        raise ValueError(
            "Heat maps need at least one token on each side. "
            f"Received: {height} target tokens, {width} source tokens."
        )
    across = _columns(len(heads), width / height)
    cell = float(np.clip(13.0 / max(across * width, len(heads) / across * height), 0.06, 0.3))
    figure = _grid(names, width * cell, height * cell, across)  # inches
    for h, (axes, name, head) in enumerate(zip(figure.axes, names, heads, strict=True)):
        draw_cells(axes, head)
        _label(axes, head, cell, at_top=h < across, at_left=h % across == 0)
        axes.set_xlabel(name, labelpad=4, **text_style(NAME_SIZE))
    draw_scale(figure.axes[-1], cell)
    fit(figure, heads[0].caption)
    return figure


def _grid(names: Sequence[str], width: float, height: float, across: int) -> Figure:
    """A figure with room for a map, and its name below, for each head."""
    letters = max(map(len, names))  # each about 0.6 of its size wide
    step_across = max(width, 0.6 * NAME_SIZE / 72 * letters) + 0.16
    step_down = height + 0.36
    size = np.array([across * step_across, math.ceil(len(names) / across) * step_down])
    figure = new_figure(*size)
    for h in range(len(names)):
        row, column = divmod(h, across)
        left_top = np.array([column * step_across, size[1] - row * step_down])
        figure.add_axes((*(left_top - [0.0, height]) / size, *np.array([width, height]) / size))
    return figure


def _columns(num_heads: int, shape: float) -> int:
    """How many maps, each `shape` times as wide as high, stand side by side in a drawing that is
    about half as wide again as it is high, and has few gaps in its last row."""

    def off(across: int) -> float:
        down = math.ceil(num_heads / across)
        gaps = 1.0 - num_heads / (across * down)
        return abs(math.log(across * shape / down / 1.5)) + 2.0 * gaps

    return min(range(1, num_heads + 1), key=off)


def _label(axes: Axes, head: Alignment, cell: float, at_top: bool, at_left: bool) -> None:
    if cell < 0.12:
        axes.grid(visible=False, which="minor")  # the lines would hide the shades
    size = float(np.clip(30.0 * cell, 5.5, 9.0))  # points
    draw_labels(axes, head, size, every=math.ceil(1.2 * size / 72 / cell))
    axes.tick_params(labeltop=at_top, labelleft=at_left)
