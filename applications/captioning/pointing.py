"""Whether attention looks where it should: the pointing game, and the mass in the true region.

A picture is cut into h by w places, over which a word has weights. Its true region is a set of
boxes. Two maps of weights that know nothing of the picture tell what is to be had for nothing: the
same weight everywhere, and all of it in the middle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

Box = tuple[float, float, float, float]  # top, left, bottom, right, in shares of the picture


class Looked(NamedTuple):
    """Where one word looked, and where it should have."""

    weights: np.ndarray  # (h, w)
    boxes: Sequence[Box]


def pointing_game(looked: Iterable[Looked]) -> float:
    """The share of words whose largest weight is on a place with its middle in a true box.

    Where several weights are largest, each counts its share.

    >>> pointing_game([Looked(np.array([[0.1, 0.9]]), [(0.0, 0.5, 1.0, 1.0)])])
    1.0

    Reference: Zhang, Lin, Brandt, Shen & Sclaroff, 2016, Top-down Neural Attention by Excitation
    Backprop, https://arxiv.org/abs/1608.00507 (section 4.2).
    """
    return _mean(_inside(each)[each.weights == each.weights.max()].mean() for each in looked)


def mass_in_region(looked: Iterable[Looked]) -> float:
    """The mean share of the weights that lies in the true boxes, each spread over its place.

    For hard attention it is how probable a draw is to fall there.

    >>> mass_in_region([Looked(np.array([[0.25, 0.75]]), [(0.0, 0.75, 1.0, 1.0)])])
    0.375

    Reference: Liu, Mao, Sha & Yuille, 2017, Attention Correctness in Neural Image Captioning,
    https://arxiv.org/abs/1605.09553 (section 4.1).
    """
    return _mean((each.weights * _overlap(each)).sum() / each.weights.sum() for each in looked)


def uniform(looked: Iterable[Looked]) -> list[Looked]:
    """The same words with the same weight everywhere."""
    return [
        each._replace(weights=np.full_like(each.weights, 1 / each.weights.size)) for each in looked
    ]


def central(looked: Iterable[Looked]) -> list[Looked]:
    """The same words with all weight on the places that touch the middle: one, two or four."""
    return [each._replace(weights=np.outer(*map(_middle, each.weights.shape))) for each in looked]


def _middle(size: int) -> np.ndarray:
    weights = np.zeros(size)
    weights[(size - 1) // 2 : size // 2 + 1] = 1.0
    return weights / weights.sum()


def _inside(looked: Looked) -> np.ndarray:
    """Whether the middle of each place is in a box: (h, w)."""
    h, w = looked.weights.shape
    y, x = ((np.arange(size) + 0.5) / size for size in (h, w))
    inside = np.zeros((h, w), bool)
    for top, left, bottom, right in looked.boxes:
        inside |= np.outer((top <= y) & (y < bottom), (left <= x) & (x < right))
    return inside


def _overlap(looked: Looked) -> np.ndarray:
    """The share of each place that the boxes cover: (h, w). Where boxes overlap, at most all."""
    h, w = looked.weights.shape
    covered = np.zeros((h, w))
    for top, left, bottom, right in looked.boxes:
        covered += np.outer(_covered(h, top, bottom), _covered(w, left, right))
    return np.minimum(covered, 1.0)


def _covered(size: int, start: float, end: float) -> np.ndarray:
    """The share of each of `size` equal parts of [0, 1] that lies in [start, end]."""
    edges = np.arange(size)
    return np.clip(np.minimum(edges + 1, end * size) - np.maximum(edges, start * size), 0.0, 1.0)


def _mean(values: Iterable[Any]) -> float:
    listed = [float(value) for value in values]
    if not listed:
        raise ValueError("There must be a word with a region. Received: none.")
    return sum(listed) / len(listed)
