"""Weights over a picture: which places each word was made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_attention.visualization.alignment import caption_of, check_range, labels
from keras_attention.visualization.figure import FRAME, fit, new_figure, text_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The picture is drawn in greys, so that all colour is weight.
GLOW = "#ff5a00"
OPAQUE = 0.75  # over the place that is read most
PANEL = 1.7  # inches, the longer side of a picture
PANEL_PIXELS = 480


class Overlay(NamedTuple):
    """Which places of a picture each token was made from, as the attention weights tell it.

    Fields:
        image: array (height, width), (height, width, 1) or (height, width, 3): integers in
            [0, 255], or floats in [0, 1].
        tokens: T strings, the words of the caption.
        weights: array (T, h, w) in [0, 1]: token t read the place in row i and column j of the
            picture, cut into h rows and w columns, by `weights[t, i, j]`; or (T, h * w), row after
            row, if h is w.
        caption: a line above the drawing, or `None`.
    """

    image: Any
    tokens: Sequence[str]
    weights: Any
    caption: str | None = None


def check_overlay(overlay: Overlay, name: str, longest: int) -> Overlay:
    """The overlay with an image (height, width, 3) of floats, at most `longest` pixels long,
    visible tokens and weights (T, h, w), or an error that calls it `name`."""
    if not isinstance(overlay, Overlay):
        raise TypeError(f"`{name}` must be an `Overlay`. Received: {type(overlay).__name__}.")
    tokens = labels(overlay.tokens, f"{name}.tokens")
    weights = _places(np.asarray(overlay.weights, np.float64), len(tokens), f"{name}.weights")
    weights = check_range(weights, f"{name}.weights")
    image = shrink(_colours(np.asarray(overlay.image), f"{name}.image"), longest)
    return Overlay(image, tokens, weights, caption_of(overlay.caption))


def _places(weights: np.ndarray, num_tokens: int, name: str) -> np.ndarray:
    """Weights (T, h, w)."""
    side = math.isqrt(weights.shape[1]) if weights.ndim == 2 else 0
    if weights.ndim == 2 and weights.shape[1] == side * side > 0:
        weights = weights.reshape(-1, side, side)
    if weights.ndim != 3 or len(weights) != num_tokens or not weights[:1].size:
        raise ValueError(
            f"`{name}` must have shape (tokens, h, w), or (tokens, h * w) of a square. "
            f"Received: weights.shape={weights.shape}, {num_tokens} tokens."
        )
    return weights


def _colours(image: np.ndarray, name: str) -> np.ndarray:
    """The image as floats (height, width, 3) in [0, 1]."""
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise ValueError(
            f"`{name}` must have shape (height, width), (height, width, 1) or (height, width, 3). "
            f"Received: image.shape={image.shape}."
        )
    low, high = image.min(), image.max()
    whole = np.issubdtype(image.dtype, np.integer)
    if not (low >= 0 and high <= (255 if whole else 1.0)):
        raise ValueError(
            f"`{name}` must hold integers between 0 and 255 or floats between 0 and 1. "
            f"Received: {image.dtype} between {low:.4g} and {high:.4g}."
        )
    floats = image.astype(np.float32) / (255 if whole else 1)
    return np.broadcast_to(floats, (*image.shape[:2], 3))


def shrink(image: np.ndarray, longest: int) -> np.ndarray:
    """Makes an image as small as is shown, each pixel the mean of a square of pixels."""
    factor = math.ceil(max(image.shape[:2]) / longest)
    for axis in (0, 1):
        starts = np.arange(0, image.shape[axis], factor)
        counts = np.diff(np.append(starts, image.shape[axis]))
        sums = np.add.reduceat(image, starts, axis=axis)
        image = sums / np.expand_dims(counts, tuple({0, 1, 2} - {axis})).astype(np.float32)
    return image


def image_overlay(overlay: Overlay) -> Figure:
    """Draws the picture, and once more for each token, with its weights glowing over it.

    The glow goes from none at weight 0 to full at the largest weight of that token, which stands
    beside the token, as weights spread over many places are small.

    Args:
        overlay: an `Overlay`.

    Returns:
        A `matplotlib.figure.Figure` that belongs to no pyplot window; `save` writes it.

    Example:

    >>> picture = np.zeros((60, 90, 3), np.uint8)
    >>> weights = np.full((2, 4, 6), 1 / 24)
    >>> figure = image_overlay(Overlay(picture, ["a", "night"], weights))
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['', 'a', 'night']

    Reference: Xu et al., 2015, Show, Attend and Tell, https://arxiv.org/abs/1502.03044 (figure 2).
    """
    overlay = check_overlay(overlay, "overlay", PANEL_PIXELS)
    height, width = np.array(overlay.image.shape[:2]) / max(overlay.image.shape[:2]) * PANEL
    figure = _grid(len(overlay.tokens) + 1, float(width), float(height))
    first, *others = figure.axes
    first.imshow(overlay.image)
    greys = overlay.image @ np.array([0.299, 0.587, 0.114], np.float32)  # by their luminance
    for axes, token, weights in zip(others, overlay.tokens, overlay.weights, strict=True):
        axes.imshow(0.25 + 0.7 * greys, cmap="gray", vmin=0.0, vmax=1.0)
        _draw_glow(axes, weights)
        _draw_token(axes, token, weights.max(), float(width))
    for axes in figure.axes:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set(color=FRAME, linewidth=0.5)
    fit(figure, overlay.caption)
    return figure


def _grid(num_panels: int, width: float, height: float) -> Figure:
    """A figure with room for a picture, and a token above it, for each panel."""
    step = np.array([width + 0.12, height + 0.3])
    # About half as wide again as it is high.
    across = min(num_panels, math.ceil(math.sqrt(1.5 * num_panels * step[1] / step[0])))
    size = np.array([across, math.ceil(num_panels / across)]) * step
    figure = new_figure(*size)
    for panel in range(num_panels):
        row, column = divmod(panel, across)
        left_bottom = np.array([column, 0]) * step + [0.0, size[1] - row * step[1] - height]
        figure.add_axes((*left_bottom / size, *np.array([width, height]) / size))
    return figure


def _draw_glow(axes: Axes, weights: np.ndarray) -> None:
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    glow = LinearSegmentedColormap.from_list(
        "glow", [(*to_rgb(GLOW), 0.0), (*to_rgb(GLOW), OPAQUE)]
    )
    axes.imshow(
        weights,
        cmap=glow,
        vmin=0.0,
        vmax=weights.max() or 1.0,
        extent=axes.images[0].get_extent(),
        interpolation="catrom",  # smooth, and keeps the weights at the centres of their places
        interpolation_stage="data",  # of the weights, not of their colours
    )


def _draw_token(axes: Axes, token: str, largest: float, width: float) -> None:
    size = 9.5
    # A letter is about 0.62 of its size wide; on the right stands the largest weight.
    room = max(3, int((width - 0.35) * 72 / (0.62 * size)))
    token = token if len(token) <= room else token[: room - 1] + "…"
    axes.set_title(token, loc="left", pad=3.5, **text_style(size))
    amount = f"{largest:.{2 + (largest < 0.0995) + (largest < 0.00995)}f}"
    axes.set_title(amount.removeprefix("0"), loc="right", pad=3.5, **text_style(6.5))
