"""The page of pictures: overlays as one HTML document that loads nothing."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from html import escape

import numpy as np

from keras_attention.visualization.overlay import GLOW, Overlay, check_overlay
from keras_attention.visualization.page import compose, counted, embedded, rounded, token_line

LONGEST = 480  # pixels; the page shows a picture at about this size


def overlay_page(overlays: Sequence[Overlay], title: str = "Attention") -> str:
    """Writes pictures and what was read of them as one HTML page that loads nothing.

    Pointing at a token lets its weights glow over the picture, pointing at a place of the picture
    shades the tokens that read it; so do the arrow keys. The picture is kept inside the page, at
    most 480 pixels long.

    Args:
        overlays: a sequence of `Overlay`.
        title: the heading of the page.

    Returns:
        The page, a string; `save` writes it.

    Example:

    >>> picture = np.zeros((60, 90, 3), np.uint8)
    >>> page = overlay_page([Overlay(picture, ["a", "night"], np.full((2, 4, 6), 1 / 24))])
    >>> "<li>night</li>" in page
    True
    """
    if isinstance(overlays, Overlay):
        raise TypeError("`overlays` must be a sequence of `Overlay`. Received: a single `Overlay`.")
    sections = [
        _section(check_overlay(each, f"overlays[{index}]", LONGEST), index + 1)
        for index, each in enumerate(overlays)
    ]
    about = f"""<p class="about">{counted(len(sections), "picture")}. Point at a word to see what it
read, or at a place to see which words read it; with the keyboard, Tab into the words or the picture
and use the arrow keys.</p>
<p class="about legend">weight 0 <span class="scale"></span> the largest of the word</p>"""
    return compose(title, about, sections, "overlay", style=f":root {{ --glow: {GLOW}; }}\n")


def _section(overlay: Overlay, number: int) -> str:
    """One picture of the page: its words as text, its weights as JSON for the page's script."""
    num_tokens, num_rows, num_columns = overlay.weights.shape
    largest = overlay.weights.reshape(num_tokens, -1).max(axis=1, initial=0.0)
    shares = (
        overlay.weights.reshape(num_tokens, -1) / np.where(largest > 0.0, largest, 1.0)[:, None]
    )
    data = {
        "grid": [num_rows, num_columns],
        "largest": [float(f"{each:.4g}") for each in largest],
        "shares": rounded(shares),
    }
    height, width, _ = overlay.image.shape
    source = base64.b64encode(_png(overlay.image)).decode()
    caption = overlay.caption or f"Picture {number}"
    return "\n".join(
        [
            f'<section id="overlay-{number}" style="--width:{width};--height:{height}" '
            f'aria-labelledby="caption-{number}">',
            f'<h2 id="caption-{number}">{escape(caption)}</h2>',
            token_line("words", overlay.tokens, "words"),
            '<p class="readout" role="status"></p>',
            '<div class="picture" tabindex="0" role="group" aria-label="picture">',
            f'<img alt="" src="data:image/png;base64,{source}">',
            '<canvas></canvas><span class="place" hidden></span></div>',
            embedded(data),
            "</section>",
        ]
    )


def _png(image: np.ndarray) -> bytes:
    """The PNG of an image (height, width, 3) of floats in [0, 1]."""
    pixels = np.rint(image * 255).astype(np.uint8)
    height, width, _ = pixels.shape
    # Each row as its difference from the one above, filter 2, which packs better.
    rows = np.diff(pixels.reshape(height, -1), axis=0, prepend=np.uint8(0))
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), rows], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(filtered.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
