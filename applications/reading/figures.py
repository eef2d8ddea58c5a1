"""What a reader read to answer a query: passages whose words are shaded by their weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from applications.reading.answering import Answer
from applications.reading.cloze import Cloze
from keras_attention import visualization
from keras_attention.visualization.figure import PAPER, TEXT, TRUTH, fit, new_figure, shades

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ON_PAGE, AS_PICTURES = 30, 4
COLUMNS = 96  # letters of a line
LETTER, LINE, SIZE = 0.068, 0.19, 8.0  # inches, inches, points


def draw(answer: Answer, told: Sequence[Cloze], folder: Path) -> None:
    """Draws the first test questions: a page of many, and pictures of a few."""
    drawn = alignments(answer, told[:ON_PAGE])
    page = visualization.alignment_page(drawn, title="What was read to find each answer")
    visualization.save(folder / "passages.html", page)
    for number, alignment in enumerate(drawn[:AS_PICTURES], start=1):
        visualization.save(folder / f"passage_{number}.png", shaded(alignment))


def alignments(answer: Answer, told: Sequence[Cloze]) -> list[visualization.Alignment]:
    """Each passage, which is read, and the answer to its query, which reads.

    Mentions of the true answer are outlined.
    """
    strings = ([each.passage for each in told], [each.query for each in told])
    found = {name: each.numpy() for name, each in answer.run(*map(tf.constant, strings)).items()}
    drawn = []
    for row, question in enumerate(told):
        length = found["num_tokens"][row]
        tokens = [token.decode("utf-8") for token in found["tokens"][row, :length]]
        best = found["answers"][row, 0].decode("utf-8")
        right = "right" if best == question.answer else f"is: {question.answer}"
        drawn.append(
            visualization.Alignment(
                source_tokens=tokens,
                target_tokens=[best],
                weights=found["weights"][row, None, :length],
                truth=np.array([[token == question.answer for token in tokens]]),
                caption=f"{question.query} {best} ({right})",
            )
        )
    return drawn


def shaded(alignment: visualization.Alignment) -> Figure:
    """The source tokens as running text: the darker, the more the first target token read them."""
    from matplotlib.patches import Rectangle

    tokens = alignment.source_tokens
    places = set_in_lines([len(token) for token in tokens], COLUMNS)
    num_lines = places[-1][0] + 1
    figure = new_figure(COLUMNS * LETTER, num_lines * LINE)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, COLUMNS), ylim=(num_lines, 0))
    axes.set_axis_off()
    style: dict[str, Any] = {
        "fontsize": SIZE,
        "fontfamily": "DejaVu Sans Mono",
        "parse_math": False,
    }
    colour = shades()
    for at, (line, column) in enumerate(places):
        weight, is_answer = float(alignment.weights[0, at]), bool(alignment.truth[0, at])
        axes.add_patch(
            Rectangle(
                (column - 0.25, line + 0.06),
                len(tokens[at]) + 0.5,
                0.88,
                facecolor=colour(weight),
                edgecolor=TRUTH if is_answer else "none",
            )
        )
        ink = PAPER if weight > 0.5 else TEXT
        axes.text(
            column, line + 0.5, tokens[at][:COLUMNS], va="center_baseline", color=ink, **style
        )
    fit(figure, alignment.caption)
    return figure


def set_in_lines(lengths: Sequence[int], columns: int) -> list[tuple[int, int]]:
    """Line and column of each word of a text, with a space between one and the next."""
    places, line, column = [], 0, 0
    for length in lengths:
        if column and column + length > columns:
            line, column = line + 1, 0
        places.append((line, column))
        column += length + 1
    return places
