"""Pictures of a recognizer at work: where it looked, one glimpse after another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from applications.recognition.config import RecognitionConfig
from applications.recognition.data import Facts
from applications.recognition.recognize import Found
from applications.recognition.scenes import Scenes
from keras_attention import visualization
from keras_attention.visualization.figure import FRAME, fit, new_figure, text_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS, DOWN = 4, 3
PANEL, GAP, TITLE = 1.9, 0.12, 0.28  # inches
COLOURS = "plasma"  # its upper part is seen on black: glimpses go from violet to yellow


def draw(
    found: Found, scenes: Scenes, facts: Facts, config: RecognitionConfig, folder: Path
) -> None:
    """Draws the paths over the first test pictures, and over the first that were misread."""
    if config.attention == "none":
        return
    misread = np.flatnonzero((found.labels != scenes.labels).any(axis=1))
    for name, places, caption in (
        ("glimpses", np.arange(len(scenes.labels)), "Where the model looked, from 1 on"),
        ("misread", misread, "Where it looked at what it misread"),
    ):
        if len(places):
            shown = places[: ACROSS * DOWN]
            figure = glimpse_paths(found, scenes, shown, facts, config.glimpse_size, caption)
            visualization.save(folder / f"{name}.png", figure)


def glimpse_paths(
    found: Found, scenes: Scenes, places: np.ndarray, facts: Facts, size: int, caption: str
) -> Figure:
    """The pictures at these places, each with the sharpest patch of every glimpse outlined."""
    rows = -(-len(places) // ACROSS)
    width, height = ACROSS * (PANEL + GAP), rows * (PANEL + GAP + TITLE)
    figure = new_figure(width, height)
    for panel, place in enumerate(places):
        row, column = divmod(panel, ACROSS)
        bottom = height - (row + 1) * (PANEL + GAP + TITLE) + GAP
        left = column * (PANEL + GAP)
        axes = figure.add_axes((left / width, bottom / height, PANEL / width, PANEL / height))
        _draw_path(axes, scenes.images[place], found.locations[place], size)
        axes.set_title(_title(found, scenes, facts, place), loc="left", pad=4, **text_style(9.5))
    fit(figure, caption)
    return figure


def _draw_path(axes: Axes, image: np.ndarray, locations: np.ndarray, size: int) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    height, width = image.shape[:2]
    middles = (locations + 1.0) * np.array([height, width]) / 2.0 - 0.5
    colours = colormaps[COLOURS](np.linspace(0.3, 0.95, len(middles)))
    axes.plot(middles[:, 1], middles[:, 0], color="white", linewidth=0.8, alpha=0.7)
    for number, ((y, x), colour) in enumerate(zip(middles, colours, strict=True), start=1):
        corner = (x - size / 2, y - size / 2)
        axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=colour, linewidth=1.1))
        axes.text(
            x, y, str(number), ha="center", va="center", weight="bold",
            **{**text_style(7.0), "color": colour},
        )  # fmt: skip
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.spines[:].set(color=FRAME, linewidth=0.5)


def _title(found: Found, scenes: Scenes, facts: Facts, place: int) -> str:
    told, true = (
        " ".join(facts.class_names[label] for label in labels[place])
        for labels in (found.labels, scenes.labels)
    )
    return told if told == true else f"{told} (is {true})"
