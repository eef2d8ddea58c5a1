"""What was looked at, drawn over the pictures."""

import numpy as np

from applications.captioning import figures
from applications.captioning.caption import Caption
from applications.captioning.data import Part, Picture


def caption(*words, grid=(2, 3)):
    weights = np.random.default_rng(1).random((len(words), *grid))
    return Caption(" ".join(words), -1.0, list(words), weights)


def part(count):
    images = np.random.default_rng(2).integers(0, 256, (count, 8, 12, 3)).astype("uint8")
    return Part([Picture(("a dog", "one dog"))] * count, images, images[:8])


def test_a_page_and_pictures_are_drawn(tmp_path):
    found = [caption("one", "dog"), caption(), *[caption("a", "cat")] * 9]
    figures.draw(found, part(11), tmp_path)
    page = (tmp_path / "captions.html").read_text(encoding="utf-8")
    assert "one dog (right)" in page and "a cat (written: a dog)" in page
    assert page.count("<section") == 7  # of the eight pictures at hand, one has no caption
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == [f"caption_{n}.png" for n in range(1, figures.AS_PICTURES + 1)]


def test_without_attention_nothing_is_drawn(tmp_path):
    figures.draw([caption("a", "dog", grid=(0, 0))], part(1), tmp_path)
    assert not list(tmp_path.iterdir())
