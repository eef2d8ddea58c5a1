"""What a captioner looked at for each word, over the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from applications.captioning.caption import Caption
from applications.captioning.data import Part
from keras_attention import visualization

AS_PICTURES = 6


def draw(found: Sequence[Caption], part: Part, folder: Path) -> None:
    """Draws the first test pictures with the weights over them: a page of many, and a few images.

    Nothing is drawn where nothing was looked at.
    """
    overlays = [
        visualization.Overlay(image, each.tokens, each.weights, _caption(each, picture.captions))
        for each, picture, image in zip(found, part.pictures, part.shown, strict=False)
        if each.weights.size
    ]
    if not overlays:
        return
    page = visualization.overlay_page(overlays, title="What was looked at for each word")
    visualization.save(folder / "captions.html", page)
    for number, overlay in enumerate(overlays[:AS_PICTURES], start=1):
        visualization.save(folder / f"caption_{number}.png", visualization.image_overlay(overlay))


def _caption(found: Caption, references: Sequence[str]) -> str:
    if found.caption in references:
        return f"{found.caption} (right)"
    return f"{found.caption} (written: {references[0]})"
