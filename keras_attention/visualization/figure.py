"""The heat map: an alignment as a matplotlib figure."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_attention.visualization.alignment import Alignment, check

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Weight 0 is paper and weight 1 is ink: one hue, even steps of lightness. The page has them too.
PAPER, INK, TRUTH, TEXT = "#ffffff", "#0b3c7d", "#d55e00", "#1c2024"
FRAME, GRID = "#adb5bd", "#e9ecef"
# For the scripts that DejaVu Sans lacks, those of these that are installed, in this order.
FALLBACK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "Noto Sans",
    "Noto Sans Devanagari",
    "Arial Unicode MS",
)


def heatmap(alignment: Alignment) -> Figure:
    """Draws one alignment: source tokens along the top, target tokens down the side.

    Darker is heavier, from 0 to 1 in every figure, so that two figures can be compared. The figure
    is as large as its labels need. A script that no installed font covers is drawn as boxes; the
    HTML page has the browser's fonts.

    Args:
        alignment: an `Alignment` with at least one token on each side.

    Returns:
        A `matplotlib.figure.Figure` that belongs to no pyplot window; `save` writes it.

    Example:

    >>> alignment = Alignment(["le", "chat", "noir"], ["the", "black", "cat"],
    ...                       [[0.9, 0.1, 0.0], [0.0, 0.2, 0.8], [0.1, 0.9, 0.0]])
    >>> figure = heatmap(alignment)
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['le', 'chat', 'noir']

    Reference:
        Bahdanau, Cho & Bengio, 2015, "Neural Machine Translation by Jointly Learning to Align and
        Translate", https://arxiv.org/abs/1409.0473 (figure 3).
    """
    alignment = check(alignment, "alignment")
    num_rows, num_columns = alignment.weights.shape
    if not num_rows * num_columns:
        raise ValueError(
            "A heat map needs at least one token on each side. "
            f"Received: {num_rows} target tokens, {num_columns} source tokens."
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Heat maps are drawn by matplotlib, which could not be imported. "
            'Install it with `pip install "keras-attention-layers[viz]"`.'
        ) from error
    cell = float(np.clip(12.0 / max(num_rows, num_columns), 0.18, 0.38))  # inches
    font_size = float(np.clip(28.0 * cell, 6.5, 10.0))  # points
    figure = Figure((num_columns * cell, num_rows * cell), dpi=160, facecolor=PAPER)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    _draw_cells(axes, alignment)
    _draw_labels(axes, alignment, font_size)
    _draw_scale(axes, cell)
    _fit(figure, alignment.caption)
    return figure


def _draw_cells(axes: Axes, alignment: Alignment) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap

    num_rows, num_columns = alignment.weights.shape
    shades = LinearSegmentedColormap.from_list("attention", [PAPER, INK])
    axes.imshow(alignment.weights, cmap=shades, vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(np.arange(num_columns - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(num_rows - 1) + 0.5, minor=True)
    axes.grid(which="minor", color=GRID, linewidth=0.5)
    axes.spines[:].set(color=FRAME, linewidth=0.6)
    if alignment.truth is not None:
        # An edge lies between two cells of which one is true; beyond the border none is.
        inside = np.pad(alignment.truth, 1)
        level = np.argwhere(inside[1:] != inside[:-1]) - 0.5
        upright = np.argwhere(inside[:, 1:] != inside[:, :-1]) - 0.5
        edges = [((x - 1, y), (x, y)) for y, x in level]
        edges += [((x, y - 1), (x, y)) for y, x in upright]
        outline = LineCollection(edges, colors=TRUTH, linewidths=1.6, capstyle="projecting")
        outline.set(clip_on=False, zorder=3)  # over the frame
        axes.add_collection(outline)


def _draw_labels(axes: Axes, alignment: Alignment, font_size: float) -> None:
    # `parse_math`: the token $x$ is text, not a formula.
    style: dict[str, Any] = {"fontsize": font_size, "color": TEXT, "parse_math": False}
    style["fontfamily"] = _font_families()
    axes.set_yticks(range(len(alignment.target_tokens)), alignment.target_tokens, **style)
    if any(len(token) > 1 for token in alignment.source_tokens):
        style |= {"rotation": 45, "rotation_mode": "anchor", "ha": "left", "va": "baseline"}
    axes.set_xticks(range(len(alignment.source_tokens)), alignment.source_tokens, **style)
    axes.tick_params(which="both", length=0, bottom=False, labelbottom=False, labeltop=True)


def _draw_scale(axes: Axes, cell: float) -> None:
    """A thin bar from 0 to 1 beside the foot of the map, where no label reaches."""
    num_rows, num_columns = axes.images[0].get_size()
    width, height = num_columns * cell, num_rows * cell  # inches
    bar = axes.inset_axes((1 + 0.14 / width, 0.0, 0.07 / width, min(1.0, 0.9 / height)))
    ramp = np.linspace(1, 0, 256)[:, None]
    bar.imshow(ramp, cmap=axes.images[0].cmap, aspect="auto", extent=(0, 1, 0, 1))
    bar.set_xticks([])
    bar.set_yticks([0, 1], ["0", "1"], fontsize=6.5, color=TEXT)
    bar.tick_params(length=0, pad=2, left=False, labelleft=False, labelright=True)
    bar.spines[:].set(color=FRAME, linewidth=0.5)


def _fit(figure: Figure, caption: str | None) -> None:
    """Grows the figure around its labels and sets the caption above them, flush left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    axes = figure.axes[0]
    (map_width, map_height), margin, size = figure.get_size_inches(), 0.12, 10.5
    with missing_glyphs_allowed():
        extent = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())  # inches
    width, height = max(extent.width, 2.4) + 2 * margin, extent.height + 2 * margin
    # A letter is about 0.55 of its size wide; a line takes 1.35 of it.
    lines = textwrap.wrap(caption or "", int((width - 2 * margin) * 72 / (0.55 * size)))
    height += (len(lines) * 1.35 + 0.6) * size / 72 if lines else 0.0
    figure.set_size_inches(width, height)
    left, bottom = margin - extent.x0, margin - extent.y0
    axes.set_position((left / width, bottom / height, map_width / width, map_height / height))
    heading = figure.text(margin / width, 1 - margin / height, "\n".join(lines))
    heading.set(va="top", size=size, color=TEXT, linespacing=1.3, parse_math=False)
    heading.set_fontfamily(_font_families())


def _font_families() -> list[str]:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(font for font in FALLBACK_FONTS if font in installed)]


@contextmanager
def missing_glyphs_allowed() -> Iterator[None]:
    """A box stands where no font has the character; that is no reason to stop."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from")
        yield
