"""Pictures of handwritten digits, with a sentence about each and the region of every word.

The digits are scikit-learn's, of 8 by 8 pixels. A picture of 64 by 64 shows one to five of them,
each enlarged, turned and moved a little within a cell of three rows and three columns; in training
they may be slanted and stretched besides. Four kinds of sentences tell what there is:

    the seven at the top left    one digit, and where it is
    the seven above the three    two digits in a column, the upper one first; or "left of", in a row
    three sevens                 two to five of the same
    three sevens above the two   two to four of the same, and another in a row below them

A picture has exactly one sentence of these 580, and where its digits are tells of which kind: those
of the third are not in one line if they are two, and more than one in their lowest row if they are
more. So each digit's word can be told from one look. No digit that is shown in training is shown
in validation or test.
"""

from __future__ import annotations

import functools
import math
import random
from typing import NamedTuple

import numpy as np

from applications.captioning.pointing import Box
from applications.training.errors import UserError

SIZE, CELLS = 64, 3
SOURCE, PATCH = 8, 20  # pixels of a digit as it is, and of the square that one is drawn into
SMALLEST, LARGEST = 14, 18  # pixels a side of a digit in a picture
TURN = 10.0  # degrees, at most
DIGITS = "zero one two three four five six seven eight nine".split()
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
PLACES = (
    "at the top left", "at the top", "at the top right",
    "on the left", "in the middle", "on the right",
    "at the bottom left", "at the bottom", "at the bottom right",
)  # fmt: skip
NAMED = frozenset("top bottom left right middle".split())  # of their words, those that say where
PARTS = ("train", "validation", "test")


class Word(NamedTuple):
    """A word, what it tells, and which regions of the picture it tells it of."""

    text: str
    kind: str = ""  # "digit", "place", "relation" or "number"; empty for "a" and its like
    boxes: tuple[Box, ...] = ()


class Scenes(NamedTuple):
    """Pictures, and the sentence about each, word by word."""

    images: np.ndarray  # (N, 64, 64, 1) uint8
    sentences: list[tuple[Word, ...]]


class _Shown(NamedTuple):
    """One digit of a picture."""

    digit: int
    cell: int
    image: int  # which of the handwritten digits
    size: int
    top: int
    left: int
    warp: tuple[float, float, float, float]  # what is seen at p was at ((0, 1), (2, 3)) p

    @property
    def box(self) -> Box:
        edges = (self.top, self.left, self.top + self.size, self.left + self.size)
        top, left, bottom, right = (edge / SIZE for edge in edges)
        return top, left, bottom, right


def draw(count: int, part: str, seed: str, distortion: float = 0.0) -> Scenes:
    """So many scenes from the digits of one part: "train", "validation" or "test".

    They follow from the arguments alone. Each of the four numbers of a digit's rotation is changed
    by at most `distortion`, which slants and stretches it.
    """
    chance = random.Random(f"{part} {seed}")
    shown, sentences = [], []
    for _ in range(count):
        digits, sentence = _scene(chance, part)
        if distortion:
            digits = [_distorted(each, distortion, chance) for each in digits]
        shown.append(digits)
        sentences.append(sentence)
    return Scenes(_render(shown), sentences)


@functools.cache
def handwritten() -> tuple[np.ndarray, dict[str, list[list[int]]]]:
    """All digits, (1797, 8, 8) from 0 to 1, and which of them each part may show, by digit.

    A tenth of each digit's images is for validation and a tenth for test, the same in every run.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError(
            f'--data scenes needs pip install "keras-attention-layers[applications]". ({error})'
        ) from None
    loaded = load_digits()
    parts: dict[str, list[list[int]]] = {part: [] for part in PARTS}
    for digit in range(10):
        places = np.flatnonzero(loaded.target == digit)
        places = np.random.default_rng(digit).permutation(places).tolist()
        tenth = len(places) // 10
        parts["test"].append(places[:tenth])
        parts["validation"].append(places[tenth : 2 * tenth])
        parts["train"].append(places[2 * tenth :])
    return loaded.images.astype(np.float32) / 16.0, parts


def _scene(chance: random.Random, part: str) -> tuple[list[_Shown], tuple[Word, ...]]:
    """What one picture shows, and the sentence about it."""
    first, second = chance.sample(range(10), 2)
    kind = chance.choice(("place", "relation", "number", "both"))
    if kind == "place":
        shown = _show(chance, part, [first], [chance.randrange(CELLS**2)])
        return shown, _place_sentence(shown[0])
    if kind == "relation":
        line, (before, after) = chance.randrange(CELLS), sorted(chance.sample(range(CELLS), 2))
        across = chance.random() < 0.5
        cells = [CELLS * line + at if across else CELLS * at + line for at in (before, after)]
        shown = _show(chance, part, [first, second], cells)
        return shown, _relation_sentence(shown[0], shown[1], across)
    if kind == "number":
        many = chance.randint(2, 5)
        shown = _show(chance, part, [first] * many, _spread(chance, many))
        return shown, _number_sentence(shown)
    many = chance.randint(2, 4)
    below = chance.randint(2 if many > CELLS else 1, CELLS - 1)  # the row of the other
    cells = chance.sample(range(CELLS * below), many) + [CELLS * below + chance.randrange(CELLS)]
    shown = _show(chance, part, [first] * many + [second], cells)
    return shown, _above_sentence(shown[:many], shown[many])


def _spread(chance: random.Random, many: int) -> list[int]:
    """Cells of which it is plain that they hold neither a relation nor one below others."""
    while True:
        cells = chance.sample(range(CELLS**2), many)
        rows, columns = [cell // CELLS for cell in cells], [cell % CELLS for cell in cells]
        if many == 2:
            if rows[0] != rows[1] and columns[0] != columns[1]:
                return cells
        elif rows.count(max(rows)) > 1:
            return cells


def _show(chance: random.Random, part: str, digits: list[int], cells: list[int]) -> list[_Shown]:
    """Handwritten images of the digits, each somewhere in its cell."""
    shown = []
    for digit, cell in zip(digits, cells, strict=True):
        image = chance.choice(handwritten()[1][part][digit])
        size = chance.randint(SMALLEST, LARGEST)
        row, column = divmod(cell, CELLS)
        top, left = (
            chance.randint(-(-SIZE * at // CELLS), SIZE * (at + 1) // CELLS - size)
            for at in (row, column)
        )
        turn = math.radians(chance.uniform(-TURN, TURN))
        cos, sin = math.cos(turn), math.sin(turn)
        shown.append(_Shown(digit, cell, image, size, top, left, (cos, -sin, sin, cos)))
    return shown


def _distorted(shown: _Shown, most: float, chance: random.Random) -> _Shown:
    one, two, three, four = (each + chance.uniform(-most, most) for each in shown.warp)
    return shown._replace(warp=(one, two, three, four))


def _place_sentence(shown: _Shown) -> tuple[Word, ...]:
    words = PLACES[shown.cell].split()
    place = (Word(each, "place", (shown.box,)) if each in NAMED else Word(each) for each in words)
    return (*_the(shown), *place)


def _relation_sentence(first: _Shown, second: _Shown, across: bool) -> tuple[Word, ...]:
    both = (first.box, second.box)
    words = ("left", "of") if across else ("above",)
    relation = (Word(words[0], "relation", both), *map(Word, words[1:]))
    return (*_the(first), *relation, *_the(second))


def _number_sentence(many: list[_Shown]) -> tuple[Word, ...]:
    boxes = tuple(shown.box for shown in many)
    name = DIGITS[many[0].digit]
    plural = name + ("es" if name.endswith("x") else "s")
    return Word(NUMBERS[len(many)], "number", boxes), Word(plural, "digit", boxes)


def _above_sentence(many: list[_Shown], other: _Shown) -> tuple[Word, ...]:
    relation = Word("above", "relation", tuple(shown.box for shown in (*many, other)))
    return (*_number_sentence(many), relation, *_the(other))


def _the(shown: _Shown) -> tuple[Word, ...]:
    """Not "a" or "an", which would tell an eight before its word."""
    return Word("the"), Word(DIGITS[shown.digit], "digit", (shown.box,))


def _render(scenes: list[list[_Shown]]) -> np.ndarray:
    """The pictures, (N, 64, 64, 1): each digit enlarged and turned, and set where it belongs."""
    flat = [digit for scene in scenes for digit in scene]
    patches = iter(
        np.concatenate([_patches(flat[k : k + 4096]) for k in range(0, len(flat), 4096)])
    )
    margin = PATCH // 2
    canvas = np.zeros((len(scenes), SIZE + 2 * margin, SIZE + 2 * margin), np.uint8)
    for number, scene in enumerate(scenes):
        for shown in scene:
            around = (shown.size - PATCH) // 2 + margin
            top, left = shown.top + around, shown.left + around
            square = canvas[number, top : top + PATCH, left : left + PATCH]
            np.maximum(square, next(patches), out=square)
    return canvas[:, margin:-margin, margin:-margin, None].copy()


def _patches(shown: list[_Shown]) -> np.ndarray:
    """Squares (n, 20, 20) with a digit in the middle of each, interpolated between its pixels."""
    images = np.pad(handwritten()[0][[each.image for each in shown]], ((0, 0), (1, 2), (1, 2)))
    scale = np.array([SOURCE / each.size for each in shown], np.float32)
    warp = np.array([each.warp for each in shown], np.float32) * scale[:, None]
    warp = warp.T.reshape(2, 2, -1, 1, 1)  # to and from y and x
    y, x = np.mgrid[:PATCH, :PATCH].astype(np.float32) - (PATCH - 1) / 2
    middle = (SOURCE - 1) / 2 + 1  # within the frame of zeros
    row, column = (np.clip(by_y * y + by_x * x + middle, 0.0, SOURCE + 1.0) for by_y, by_x in warp)
    top, left = row.astype(np.int64), column.astype(np.int64)
    down, right = row - top, column - left
    number = np.arange(len(shown))[:, None, None]
    upper, lower = (
        images[number, at, left] * (1 - right) + images[number, at, left + 1] * right
        for at in (top, top + 1)
    )
    return np.rint(255 * (upper * (1 - down) + lower * down)).astype(np.uint8)
