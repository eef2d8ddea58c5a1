"""Pictures of a model at work: the weight of every step, with the marked ones told apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from applications.long_term_memory.data import Facts
from applications.long_term_memory.model import Recalled
from applications.long_term_memory.problems import Sequences
from keras_attention import visualization
from keras_attention.visualization.figure import FRAME, INK, TRUTH, fit, new_figure, text_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 4
WIDTH, HEIGHT, GAP = 7.0, 1.1, 0.45  # inches, of a panel


def draw(found: Recalled, batch: Sequences, facts: Facts, folder: Path) -> None:
    """Draws the weights over the first sequences of a batch."""
    figure = weights_over_time(found, batch, facts)
    visualization.save(folder / "weights.png", figure)


def weights_over_time(found: Recalled, batch: Sequences, facts: Facts) -> Figure:
    """A panel for each sequence: a bar for the weight of each step, orange where it is marked."""
    count = min(SHOWN, len(batch.lengths))
    height = count * (HEIGHT + GAP)
    figure = new_figure(WIDTH, height)
    for row in range(count):
        bottom = height - (row + 1) * (HEIGHT + GAP) + GAP
        axes = figure.add_axes((0.0, bottom / height, 1.0, HEIGHT / height))
        length = batch.lengths[row]
        _draw_weights(axes, found.weights[row, :length], batch.marked[row])
        axes.set_title(_title(found, batch, facts, row), loc="left", pad=4, **text_style(9.0))
    fit(figure, "Weights over time; marked steps are orange, the unweighted mean is grey")
    return figure


def _draw_weights(axes: Axes, weights: np.ndarray, marked: np.ndarray) -> None:
    steps = np.arange(len(weights))
    axes.vlines(steps, 0.0, weights, color=INK, linewidth=min(2.0, 300 / len(steps)))
    axes.vlines(marked, 0.0, weights[marked], color=TRUTH, linewidth=2.0, zorder=3)
    axes.axhline(1.0 / len(weights), color=FRAME, linewidth=0.8)
    axes.set(xlim=(-0.01 * len(steps), 1.01 * len(steps)), ylim=(0.0, None))
    axes.tick_params(labelsize=7, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set(color=FRAME, linewidth=0.5)


def _title(found: Recalled, batch: Sequences, facts: Facts, row: int) -> str:
    told, answer = found.answers[row], batch.answers[row, 0]
    if facts.answers:
        return f"told {facts.answers[told.argmax()]}, is {facts.answers[answer]}"
    return f"told {told[0]:.3f}, is {answer:.3f}"
