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
    from matplotlib.colors import Colormap
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
    cell = float(np.clip(12.0 / max(num_rows, num_columns), 0.18, 0.38))  # inches
    font_size = float(np.clip(28.0 * cell, 6.5, 10.0))  # points
    figure = new_figure(num_columns * cell, num_rows * cell)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    draw_cells(axes, alignment)
    draw_labels(axes, alignment, font_size)
    draw_scale(axes, cell)
    fit(figure, alignment.caption)
    return figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, that belongs to no window."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Figures are drawn by matplotlib, which could not be imported. "
            'Install it with `pip install "keras-attention-layers[viz]"`.'
        ) from error
    return Figure((width, height), dpi=160, facecolor=PAPER)


def shades() -> Colormap:
    """From paper to ink, the shades of weights from 0 to 1."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("attention", [PAPER, INK])


def draw_cells(axes: Axes, alignment: Alignment) -> None:
    """The weights as shades, and an outline around the known alignment."""
    from matplotlib.collections import LineCollection

    num_rows, num_columns = alignment.weights.shape
    axes.imshow(alignment.weights, cmap=shades(), vmin=0.0, vmax=1.0, aspect="auto")
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


def draw_labels(axes: Axes, alignment: Alignment, font_size: float, every: int = 1) -> None:
    """The tokens, or every so many of them, above the map and beside it."""
    source, target = alignment.source_tokens, alignment.target_tokens
    style = text_style(font_size)
    axes.set_yticks(range(0, len(target), every), target[::every], **style)
    if any(len(token) > 1 for token in source):
        style |= {"rotation": 45, "rotation_mode": "anchor", "ha": "left", "va": "baseline"}
    axes.set_xticks(range(0, len(source), every), source[::every], **style)
    axes.tick_params(which="both", length=0, bottom=False, labelbottom=False, labeltop=True)


def draw_scale(axes: Axes, cell: float) -> None:
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


def fit(figure: Figure, caption: str | None) -> None:
    """Grows the figure around its labels and sets the caption above them, flush left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    (drawn_width, drawn_height), margin, size = figure.get_size_inches(), 0.12, 10.5
    with missing_glyphs_allowed():
        extent = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())  # inches
    width, height = max(extent.width, 2.4) + 2 * margin, extent.height + 2 * margin
    # A letter is at most about 0.62 of its size wide on average; a line takes 1.35 of it.
    lines = textwrap.wrap(caption or "", int((width - 2 * margin) * 72 / (0.62 * size)))
    height += (len(lines) * 1.35 + 0.6) * size / 72 if lines else 0.0
    figure.set_size_inches(width, height)
    left, bottom = margin - extent.x0, margin - extent.y0
    for axes in figure.axes:
        x, y, w, h = axes.get_position().bounds * np.tile([drawn_width, drawn_height], 2)
        axes.set_position(((x + left) / width, (y + bottom) / height, w / width, h / height))
    heading = figure.text(margin / width, 1 - margin / height, "\n".join(lines))
    heading.set(va="top", linespacing=1.3, **text_style(size))


def text_style(size: float) -> dict[str, Any]:
    """How all text is set: in the fonts there are, and the token $x$ as text, not as a formula."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    families = ["DejaVu Sans", *(font for font in FALLBACK_FONTS if font in installed)]
    return {"fontsize": size, "color": TEXT, "parse_math": False, "fontfamily": families}


@contextmanager
def missing_glyphs_allowed() -> Iterator[None]:
    """A box stands where no font has the character; that is no reason to stop."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from")
        yield
