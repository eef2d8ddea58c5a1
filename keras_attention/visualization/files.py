"""Figures and pages on disk, whole or not at all."""

from __future__ import annotations

import os
import uuid
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from keras_attention.visualization.figure import missing_glyphs_allowed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_SUFFIXES: tuple[str, ...] = (".png", ".pdf", ".svg")
PAGE_SUFFIXES: tuple[str, ...] = (".html",)


def save(path: str | os.PathLike[str], content: Figure | str) -> Path:
    """Writes a figure (.png, .pdf, .svg) or a page (.html), whole or not at all.

    Args:
        path: where to; missing folders are made, an existing file is replaced in one step.
        content: a matplotlib figure, or a page as a string.

    Returns:
        The path written.
    """
    path = Path(path)
    if isinstance(content, str):
        kind, suffixes = "page", PAGE_SUFFIXES
    elif hasattr(content, "savefig"):
        kind, suffixes = "figure", FIGURE_SUFFIXES
    else:
        raise TypeError(
            "`content` must be a matplotlib figure or a page as a string. "
            f"Received: {type(content).__name__}."
        )
    if path.suffix not in suffixes:
        raise ValueError(
            f"The name of a {kind} must end in {' or '.join(suffixes)}. Received: {str(path)!r}."
        )
    data = content.encode() if isinstance(content, str) else _render(content, path.suffix[1:])
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def _render(figure: Figure, file_format: str) -> bytes:
    buffer = BytesIO()
    with missing_glyphs_allowed():
        figure.savefig(buffer, format=file_format)
    return buffer.getvalue()
