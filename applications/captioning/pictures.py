"""From the bytes of image files to what the captioner reads: one graph for training and serving."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from applications.captioning.sources import Source
from applications.training import console, files
from applications.training.errors import DataError

BATCH_SIZE = 32  # pictures that go through a frozen encoder together
SHOWN = 24  # of each part, pictures kept to draw over


class Stored(NamedTuple):
    """A part of a data set, as the captioner reads it."""

    arrays: np.ndarray  # (N, h, w, D), on disk
    shown: np.ndarray  # (n, size, size, channels) uint8, the first of the pictures themselves


class Pictures(tf.Module):
    """Decodes image files, and sends them through the frozen encoder if there is one.

    A picture becomes a square, whatever its shape, so that all of it is seen. What is no JPEG, PNG,
    GIF or BMP, or not all of one, is an `InvalidArgumentError`.

    Args:
        size: Pixels a side.
        channels: 1 for the mean of the colours, or 3.
        encoder: A model from pictures (B, size, size, channels) uint8 to features (B, h, w, D); or
            `None`, for the pictures as they are.

    Call arguments:
        contents: Strings (B,), the bytes of image files.

    Returns:
        Features (B, h, w, D) float16, or pictures (B, size, size, channels) uint8.
    """

    def __init__(self, size: int, channels: int, encoder: keras.Model | None = None):
        super().__init__()
        self.size, self.channels, self.encoder = size, channels, encoder
        signature = [tf.TensorSpec((None,), tf.string)]
        self.decode = tf.function(self._decode, input_signature=signature, autograph=False)
        pictures = [tf.TensorSpec((None, size, size, channels), tf.uint8)]
        self.encode = tf.function(self._encode, input_signature=pictures, autograph=False)

    def __call__(self, contents: tf.Tensor) -> tf.Tensor:
        return self._encode(self._decode(contents))

    @property
    def shape(self) -> tuple[int, int, int]:
        """What a picture becomes: (h, w, D)."""
        if self.encoder is None:
            return self.size, self.size, self.channels
        return tuple(self.encoder.output_shape[1:])

    def _decode(self, contents: tf.Tensor) -> tf.Tensor:
        spec = tf.TensorSpec((self.size, self.size, self.channels), tf.uint8)
        return tf.map_fn(self._decode_one, contents, fn_output_signature=spec)

    def _decode_one(self, content: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(content, channels=3, expand_animations=False)
        image = tf.ensure_shape(image, (None, None, 3))
        image = tf.image.resize(image, (self.size, self.size), antialias=True)
        if self.channels == 1:
            image = tf.reduce_mean(image, axis=-1, keepdims=True)
        return tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)

    def _encode(self, images: tf.Tensor) -> tf.Tensor:
        if self.encoder is None:
            return images
        # Half precision, as it is kept on disk, so that a served picture is read as a trained one.
        return tf.cast(self.encoder(images, training=False), tf.float16)

    def save(self, folder: Path) -> None:
        """Writes the encoder to `folder`; the rest goes with its owner."""
        if self.encoder is not None:
            with files.replacing(folder / "encoder.keras") as partial:
                self.encoder.save(partial)


def load(folder: Path, size: int, channels: int) -> Pictures:
    """Undoes `Pictures.save`."""
    path = folder / "encoder.keras"
    return Pictures(size, channels, keras.models.load_model(path) if path.exists() else None)


def store(sources: Iterable[Source], count: int, pictures: Pictures, path: Path) -> Stored:
    """Writes what becomes of so many pictures to the file `path`, unless it is there already.

    Memory holds one batch at a time, however many pictures there are.
    """
    shown = np.concatenate([images for _, images in _batches(sources, pictures, SHOWN)])
    shape = (count, *pictures.shape)
    if not path.exists():
        console.say(f"reading {count} pictures into {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        dtype = np.uint8 if pictures.encoder is None else np.float16
        with files.replacing(path) as partial:
            array = np.lib.format.open_memmap(partial, "w+", dtype, shape)
            for start, images in _batches(sources, pictures, count):
                array[start : start + len(images)] = pictures.encode(images)
            array.flush()
    return Stored(np.load(path, mmap_mode="r"), shown)


def _batches(
    sources: Iterable[Source], pictures: Pictures, count: int
) -> Iterator[tuple[int, np.ndarray]]:
    """The place of the first, and the pixels, of one batch after another."""
    remaining = itertools.islice(sources, count)
    for start in itertools.count(0, BATCH_SIZE):
        batch = list(itertools.islice(remaining, BATCH_SIZE))
        if not batch:
            return
        yield start, np.concatenate([pixels(source, pictures) for source in batch])


def pixels(source: Source, pictures: Pictures) -> np.ndarray:
    """One picture (1, size, size, channels), or an error that names it."""
    try:
        return pictures.decode(tf.constant([source.read()])).numpy()
    except OSError as error:
        raise DataError(f"{source.name}: cannot be read: {error.strerror or error}") from None
    except tf.errors.InvalidArgumentError:
        raise DataError(f"{source.name}: expected a whole JPEG, PNG, GIF or BMP file") from None
