"""Pictures put into a canvas: one anywhere, several side by side, with pieces of others around.

Reference: Mnih, Heess, Graves & Kavukcuoglu, 2014, Recurrent Models of Visual Attention,
https://arxiv.org/abs/1406.6247 (section 4.1: translated and cluttered MNIST).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from applications.recognition.images import Images
from applications.training.errors import UserError


class Scenes(NamedTuple):
    """Pictures as the model sees them."""

    images: np.ndarray  # (N, H, W, channels) uint8
    labels: np.ndarray  # (N, num_objects) int32, from left to right
    boxes: np.ndarray  # (N, num_objects, 4): top, left, bottom and right, in pixels


@dataclass(frozen=True)
class Layout:
    """How a scene is made of pictures: see the flags of the same names."""

    canvas: int
    clutter: int
    num_objects: int
    distortion: float = 0.0

    def check(self, images: Images) -> None:
        """Refuses a canvas that the pictures do not fit into."""
        height, width = images.pixels.shape[1:3]
        needed = max(height, self.num_objects * width)
        if 0 < self.canvas < needed:
            raise UserError(
                f"--canvas must be at least {needed}, for {self.num_objects} pictures of "
                f"{height} by {width} pixels side by side. Received: {self.canvas}"
            )

    def size(self, images: Images) -> tuple[int, int]:
        """Height and width of a scene."""
        height, width = images.pixels.shape[1:3]
        return (self.canvas, self.canvas) if self.canvas else (height, width)

    def choose(self, images: Images, rng: np.random.Generator) -> np.ndarray:
        """Which pictures come together, (N, num_objects): each is every scene's k-th once."""
        count = len(images.labels)
        return np.stack([rng.permutation(count) for _ in range(self.num_objects)], axis=1)

    def compose(self, images: Images, chosen: np.ndarray, rng: np.random.Generator) -> Scenes:
        """Scenes of the chosen pictures, (N, num_objects)."""
        labels = images.labels[chosen]
        height, width, channels = images.pixels.shape[1:]
        if not self.canvas:
            boxes = np.broadcast_to([0, 0, height, width], (*chosen.shape, 4))
            return Scenes(self._pictures(images, chosen[:, 0], rng), labels, boxes)
        scenes = np.zeros((len(chosen), self.canvas, self.canvas, channels), np.uint8)
        top = rng.integers(0, self.canvas - height + 1, chosen.shape)
        free = self.canvas - self.num_objects * width
        left = np.sort(rng.integers(0, free + 1, chosen.shape), axis=1)
        left += width * np.arange(self.num_objects)
        for k in range(self.num_objects):
            _add(scenes, self._pictures(images, chosen[:, k], rng), top[:, k], left[:, k])
        for _ in range(self.clutter):
            pieces = self._pieces(images, len(chosen), rng)
            _add(
                scenes, pieces, *rng.integers(0, self.canvas - len(pieces[0]) + 1, (2, len(chosen)))
            )
        return Scenes(scenes, labels, np.stack([top, left, top + height, left + width], axis=-1))

    def _pictures(self, images: Images, which: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        pictures = images.pixels[which]
        return distorted(pictures, self.distortion, rng) if self.distortion else pictures

    def _pieces(self, images: Images, count: int, rng: np.random.Generator) -> np.ndarray:
        """Squares cut out of any pictures: (count, side, side, channels)."""
        _, height, width, _ = images.pixels.shape
        side = max(1, 2 * height // 7)
        which = rng.integers(0, len(images.pixels), count)
        top = rng.integers(0, height - side + 1, count)
        left = rng.integers(0, width - side + 1, count)
        return images.pixels[_window(which, top, left, side, side)]


def shifted(pictures: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Pictures (N, H, W, channels), each moved by at most so many pixels; what is new is black."""
    count, height, width, _ = pictures.shape
    padded = np.pad(pictures, ((0, 0), (most, most), (most, most), (0, 0)))
    top, left = rng.integers(0, 2 * most + 1, (2, count))
    return padded[_window(np.arange(count), top, left, height, width)]


def distorted(pictures: np.ndarray, most: float, rng: np.random.Generator) -> np.ndarray:
    """Pictures (N, H, W, channels), each turned, scaled and slanted about its middle.

    What is seen at p was at A p, with the origin in the middle: A is the identity, each of its four
    numbers changed by at most `most`. Between pixels it is the mean of four; what is new is black.
    """
    count, height, width, channels = pictures.shape
    maps = np.eye(2) + rng.uniform(-most, most, (count, 2, 2))
    middle = np.array([height - 1, width - 1]) / 2.0
    places = np.indices((height, width)).reshape(2, -1).T - middle
    source = np.clip(places @ maps.transpose(0, 2, 1) + middle, -1.0, [height, width]) + 1.0
    corner = np.minimum(source.astype(np.intp), [height, width])
    down, right = np.moveaxis((source - corner).astype(np.float32), -1, 0)[..., None]
    stride = width + 2
    first = np.arange(count)[:, None] * (height + 2) * stride
    first = first + corner[..., 0] * stride + corner[..., 1]
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(-1, channels)
    above = padded[first] * (1 - right) + padded[first + 1] * right
    below = padded[first + stride] * (1 - right) + padded[first + stride + 1] * right
    seen = above * (1 - down) + below * down
    return np.rint(seen).astype(np.uint8).reshape(pictures.shape)


def _add(scenes: np.ndarray, patches: np.ndarray, top: np.ndarray, left: np.ndarray) -> None:
    """Adds to each scene a patch, where 255 is the most."""
    window = _window(np.arange(len(scenes)), top, left, *patches.shape[1:3])
    scenes[window] = np.minimum(scenes[window].astype(np.uint16) + patches, 255)


def _window(which, top, left, height: int, width: int) -> tuple[np.ndarray, ...]:
    """The indices of a window in each of some pictures."""
    rows = top[:, None, None] + np.arange(height)[:, None]
    columns = left[:, None, None] + np.arange(width)
    return which[:, None, None], rows, columns
