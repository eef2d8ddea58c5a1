"""The page: alignments as one HTML document that loads nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from keras_attention.visualization.alignment import Alignment, check
from keras_attention.visualization.figure import INK, TRUTH
from keras_attention.visualization.heads import MultiHeadAlignment, check_heads

FOLDER = Path(__file__).parent


def alignment_page(
    alignments: Sequence[Alignment | MultiHeadAlignment], title: str = "Attention"
) -> str:
    """Writes alignments as one HTML page that loads nothing: no network, fonts or libraries.

    Pointing at a target token shades the source tokens it read, pointing at a source token shades
    the target tokens that read it, pointing at a cell of the heat map shows both; so do the arrow
    keys. Of several heads the page shows the mean, or the one that is chosen. Weights are kept to
    three digits and a heat map is built when it scrolls into view, so one page can hold hundreds
    of alignments.

    Args:
        alignments: a sequence of `Alignment` and `MultiHeadAlignment`.
        title: the heading of the page.

    Returns:
        The page, a string; `save` writes it.

    Example:

    >>> alignment = Alignment(["le", "chat"], ["the", "cat"], [[0.9, 0.1], [0.2, 0.8]])
    >>> page = alignment_page([alignment], title="French to English")
    >>> "<h1>French to English</h1>" in page
    True
    """
    if isinstance(alignments, (Alignment, MultiHeadAlignment)):
        raise TypeError(
            "`alignments` must be a sequence of `Alignment`. "
            f"Received: a single `{type(alignments).__name__}`."
        )
    sections, has_truth = [], False
    for index, each in enumerate(alignments):
        name = f"alignments[{index}]"
        names: list[str] = []
        heads: list[Alignment] = []
        if isinstance(each, MultiHeadAlignment):
            names, heads = check_heads(each, name)
            mean = np.mean([head.weights for head in heads], axis=0)
            each = heads[0]._replace(weights=mean)
        alignment = check(each, name)
        has_truth = has_truth or alignment.truth is not None
        sections.append(_section(alignment, names, heads, index + 1))
    key = ' <span class="key">true alignment</span>' if has_truth else ""
    about = f"""<p class="about">{counted(len(sections), "alignment")}. Point at a token or a cell
to see what was read; with the keyboard, Tab into a line or a map and use the arrow keys.</p>
<p class="about legend">weight 0 <span class="scale"></span> 1{key}</p>"""
    return compose(title, about, sections, "alignment")


def compose(title: str, about: str, sections: Sequence[str], kind: str, style: str = "") -> str:
    """A page of these sections, with the style and the script of its kind."""
    parts = {
        "title": escape(title),
        "ink": INK,
        "truth": TRUTH,
        "about": about,
        "style": style + (FOLDER / f"{kind}.css").read_text(encoding="utf-8"),
        "sections": "\n".join(sections),
        "script": (FOLDER / f"{kind}.js").read_text(encoding="utf-8"),
    }
    template = (FOLDER / "page.html").read_text(encoding="utf-8")
    # One pass, so that a token spelled like a placeholder is left as it is.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def token_line(side: str, tokens: Sequence[str], label: str) -> str:
    """A line of tokens, as text."""
    items = "".join(f"<li>{escape(token)}</li>" for token in tokens)
    return f'<ol class="{side}" dir="auto" aria-label="{label}">{items}</ol>'


def embedded(data: dict[str, Any]) -> str:
    """Data for the page's script: numbers and null only, so nothing that could end the script."""
    text = json.dumps(data, separators=(",", ":"))
    return f'<script type="application/json">{text}</script>'


def rounded(array: np.ndarray) -> list:
    """Nested lists of numbers of three digits."""

    def short(values: Any) -> Any:
        # `or 0` writes 0 for 0.0: most weights are.
        return [short(v) for v in values] if isinstance(values, list) else round(values, 3) or 0

    return short(array.tolist())


def _section(
    alignment: Alignment, names: Sequence[str], heads: Sequence[Alignment], number: int
) -> str:
    """One alignment of the page: its tokens as text, its weights as JSON for the page's script."""
    truth = alignment.truth
    data = {
        "weights": rounded(alignment.weights),
        "truth": None if truth is None else np.argwhere(truth).tolist(),
    }
    if heads:
        data["heads"] = [rounded(head.weights) for head in heads]
    num_rows, num_columns = alignment.weights.shape
    caption = alignment.caption or f"Alignment {number}"
    return "\n".join(
        [
            f'<section id="alignment-{number}" style="--rows:{num_rows};--columns:{num_columns}" '
            f'aria-labelledby="caption-{number}">',
            f'<h2 id="caption-{number}">{escape(caption)}</h2>',
            *([_choice(names, number)] if heads else []),
            token_line("source", alignment.source_tokens, "source tokens"),
            token_line("target", alignment.target_tokens, "target tokens"),
            '<p class="readout" role="status"></p>',
            '<div class="map"></div>',
            embedded(data),
            "</section>",
        ]
    )


def _choice(names: Sequence[str], number: int) -> str:
    """The choice of a head, or of the mean of all."""
    choices = [("mean", "mean"), *((str(h), name) for h, name in enumerate(names))]
    buttons = "".join(
        f'<label><input type="radio" name="head-{number}" value="{value}"'
        f"{' checked' if value == 'mean' else ''}>{escape(name)}</label>"
        for value, name in choices
    )
    return f'<fieldset class="heads"><legend>weights of</legend>{buttons}</fieldset>'
