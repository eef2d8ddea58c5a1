"""What each hop read to answer a question, beside the story."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from applications.question_answering.answering import Found
from applications.question_answering.data import Facts
from applications.question_answering.encoding import Encoded
from applications.question_answering.stories import Example
from applications.training import text
from keras_attention import visualization

OF_EACH_TASK = 8  # questions on the page
AS_PICTURES = 20  # tasks


def draw(found: Found, test: Encoded, told: list[Example], facts: Facts, folder: Path) -> None:
    """Draws some questions of each task: a page of many, and a picture of the first of a task.

    Nothing is drawn where nothing was read.
    """
    if not found.weights.shape[1]:
        return
    chosen = [np.flatnonzero(test.tasks == task)[:OF_EACH_TASK] for task in np.unique(test.tasks)]
    drawn = {
        int(at): _alignment(int(at), found, test, told, facts) for at in np.concatenate(chosen)
    }
    page = visualization.alignment_page(list(drawn.values()), title="What each hop read")
    visualization.save(folder / "hops.html", page)
    for places in chosen[:AS_PICTURES]:
        # Not the first, whose story is hardly begun.
        place = int(places[min(len(places) - 1, 4)])
        picture = visualization.heatmap(_downwards(drawn[place]))
        visualization.save(folder / f"task_{told[place].task}.png", picture)


def _alignment(
    at: int, found: Found, test: Encoded, told: list[Example], facts: Facts
) -> visualization.Alignment:
    """The hops, which read, and the story, which is read; supporting sentences are outlined."""
    example, hops = told[at], found.weights.shape[1]
    size = int((test.stories[at] != 0).sum())
    answer = facts.tokenizer.vocabulary[found.answers[at] - len(text.SPECIAL)]
    right = "right" if found.answers[at] == test.answers[at] else f"is: {example.answer}"
    return visualization.Alignment(
        source_tokens=example.story[len(example.story) - size :],
        target_tokens=[f"hop {hop}" for hop in range(1, hops + 1)],
        weights=found.weights[at, :, :size],
        truth=np.repeat(test.supports[at, None, :size], hops, axis=0),
        caption=f"{example.question} {answer} ({right})",
    )


def _downwards(alignment: visualization.Alignment) -> visualization.Alignment:
    """The same with the story down the side, as it is read, and the hops across."""
    return alignment._replace(
        source_tokens=alignment.target_tokens,
        target_tokens=alignment.source_tokens,
        weights=alignment.weights.T,
        truth=alignment.truth.T,
    )
