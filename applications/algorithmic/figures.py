"""Machines at work: where heads read and wrote, what stacks did, and what was told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from applications.algorithmic.config import AlgorithmicConfig
from applications.algorithmic.data import Examples, Facts
from applications.algorithmic.problems import LANGUAGES
from applications.algorithmic.sequences import Sequences
from applications.algorithmic.solve import Found, Solve
from keras_attention import NTMCell, StackCell, visualization
from keras_attention.visualization.figure import (
    FRAME,
    INK,
    PAPER,
    TRUTH,
    fit,
    new_figure,
    shades,
    text_style,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE, WORDS = 8, 3  # of the words that are drawn
WIDTH, GAP = 8.0, 0.45  # inches


class Panel(NamedTuple):
    """Something over time: a shade for each row and step."""

    title: str
    values: np.ndarray  # (rows, T)
    least: float = 0.0
    most: float = 1.0


def draw(
    solve: Solve, facts: Facts, examples: Examples, config: AlgorithmicConfig, folder: Path
) -> None:
    """Draws a sequence of the largest size of training, and of the largest test; or some words."""
    if facts.alphabet:
        rng = np.random.default_rng(3)
        words = LANGUAGES[config.problem].draw_tests(np.array([SIZE]), WORDS, rng)
        panels = _told_symbols(solve.all(words), facts) + _done(solve, solve.all(words))
        labels = [facts.alphabet[symbol] for symbol in words.inputs[0]]
        visualization.save(folder / "words.png", stacked(panels, labels))
        return
    for test in {each.name: each for each in (examples.tests[1], examples.tests[-1])}.values():
        one = Sequences(*(each[:1] for each in test.sequences))
        found = solve.all(one)
        panels = _told_vectors(found, one) + _done(solve, found)
        visualization.save(folder / f"size_{test.name}.png", stacked(panels))


def stacked(panels: list[Panel], labels: list[str] | None = None) -> Figure:
    """All panels under each other, over the same steps, with labels at the steps of the first."""
    heights = [float(np.clip(0.1 * len(panel.values), 0.35, 3.2)) for panel in panels]
    height = sum(heights) + GAP * len(panels)
    figure, top = new_figure(WIDTH, height), height
    for panel, inches in zip(panels, heights, strict=True):
        top -= inches + GAP
        axes = figure.add_axes((0.0, top / height, 1.0, inches / height))
        axes.imshow(
            panel.values,
            cmap=shades() if panel.least == 0.0 else _two_ways(),
            vmin=panel.least,
            vmax=panel.most,
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_title(panel.title, loc="left", pad=4, **text_style(9.0))
        axes.spines[:].set(color=FRAME, linewidth=0.5)
        axes.tick_params(labelsize=7, length=2)
        axes.locator_params(axis="y", integer=True)
        if labels is not None:
            axes.set_xticks(range(len(labels)), labels)
    fit(figure, "Over time, from left to right")
    return figure


def depths(actions: np.ndarray) -> np.ndarray:
    """How high stacks are piled after each step: (T, S) of pushes and pops (T, S, 2 or 3)."""
    depth, all_depths = np.zeros(actions.shape[1]), []
    for push, pop in zip(actions[..., 0], actions[..., 1], strict=True):
        depth = np.maximum(depth + push - pop, 0.0)
        all_depths.append(depth)
    return np.stack(all_depths)


def _told_vectors(found: Found, sequences: Sequences) -> list[Panel]:
    told = 1.0 / (1.0 + np.exp(-found.logits[0]))
    asked = sequences.asked[0]
    shown = sequences.inputs[0].T
    return [
        Panel("shown", shown, min(0.0, float(shown.min())), max(1.0, float(shown.max()))),
        Panel("asked", np.where(asked, sequences.targets[0], 0.0).T),
        Panel("told: probability of 1", np.where(asked, told, 0.0).T),
    ]


def _told_symbols(found: Found, facts: Facts) -> list[Panel]:
    exps = np.exp(found.logits[0] - found.logits[0].max(axis=-1, keepdims=True))
    title = f"probability that {', '.join(facts.alphabet)} comes next"
    return [Panel(title, (exps / exps.sum(axis=-1, keepdims=True)).T)]


def _done(solve: Solve, found: Found) -> list[Panel]:
    cell, trace = solve.machine.cell, found.trace[0]
    if isinstance(cell, NTMCell):
        return [
            Panel(title, trace[:, heads].sum(axis=1).T)
            for title, heads in (
                ("written: weight of each slot", slice(cell.num_reads, None)),
                ("read: weight of each slot", slice(cell.num_reads)),
            )
        ]
    if not isinstance(cell, StackCell):
        return []
    depth = depths(trace)
    return [
        Panel("pushed (blue) and popped (orange), a row a stack", _moves(trace), -1.0),
        Panel(f"depth, to {depth.max():.0f}", depth.T, 0.0, max(1.0, float(depth.max()))),
    ]


def _moves(actions: np.ndarray) -> np.ndarray:
    return (actions[..., 0] - actions[..., 1]).T


def _two_ways() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("two ways", [TRUTH, PAPER, INK])
