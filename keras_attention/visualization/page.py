"""The page: alignments as one HTML document that loads nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from keras_attention.visualization.alignment import Alignment, check
from keras_attention.visualization.figure import INK

TEMPLATE = Path(__file__).with_name("page.html")


def alignment_page(alignments: Sequence[Alignment], title: str = "Attention") -> str:
    """Writes alignments as one HTML page that loads nothing: no network, fonts or libraries.

    Pointing at a target token shades the source tokens it read, pointing at a source token shades
    the target tokens that read it, pointing at a cell of the heat map shows both; so do the arrow
    keys. Weights are kept to three digits and a heat map is built when it scrolls into view, so
    one page can hold hundreds of alignments.

    Args:
        alignments: a sequence of `Alignment`.
        title: the heading of the page.

    Returns:
        The page, a string; `save` writes it.

    Example:

    >>> alignment = Alignment(["le", "chat"], ["the", "cat"], [[0.9, 0.1], [0.2, 0.8]])
    >>> page = alignment_page([alignment], title="French to English")
    >>> "<h1>French to English</h1>" in page
    True
    """
    if isinstance(alignments, Alignment):
        raise TypeError(
            "`alignments` must be a sequence of `Alignment`. Received: a single `Alignment`."
        )
    checked = [check(each, f"alignments[{index}]") for index, each in enumerate(alignments)]
    has_truth = any(alignment.truth is not None for alignment in checked)
    parts = {
        "title": escape(title),
        "ink": INK,
        "count": f"{len(checked)} alignment{'' if len(checked) == 1 else 's'}",
        "truth": '<span class="key">true alignment</span>' if has_truth else "",
        "sections": "\n".join(_section(each, index) for index, each in enumerate(checked, start=1)),
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    # One pass, so that a token spelled like a placeholder is left as it is.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _section(alignment: Alignment, number: int) -> str:
    """One alignment of the page: its tokens as text, its weights as JSON for the page's script."""
    lines = "\n".join(
        f'<ol class="{side}" dir="auto" aria-label="{side} tokens">'
        + "".join(f"<li>{escape(token)}</li>" for token in tokens)
        + "</ol>"
        for side, tokens in (
            ("source", alignment.source_tokens),
            ("target", alignment.target_tokens),
        )
    )
    data = {
        # `or 0` writes 0 for 0.0: most weights are.
        "weights": [[round(w, 3) or 0 for w in row] for row in alignment.weights.tolist()],
        "truth": None if alignment.truth is None else np.argwhere(alignment.truth).tolist(),
    }
    num_rows, num_columns = alignment.weights.shape
    caption = alignment.caption or f"Alignment {number}"
    return (
        f'<section id="alignment-{number}" style="--rows:{num_rows};--columns:{num_columns}" '
        f'aria-labelledby="caption-{number}">\n'
        f'<h2 id="caption-{number}">{escape(caption)}</h2>\n{lines}\n'
        '<p class="readout" role="status"></p>\n<div class="map"></div>\n'
        # Numbers and null only: no text, so nothing that could end the script.
        f'<script type="application/json">{json.dumps(data, separators=(",", ":"))}</script>\n'
        "</section>"
    )
