"""Pictures with labels: scikit-learn's digits, MNIST's own files, and TensorFlow Datasets."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from applications.recognition.config import RecognitionConfig
from applications.training.errors import DataError, UserError

MOST_HELD_OUT = 5000  # pictures of the training side to validate on, at most a tenth
INSTALL = 'pip install "keras-attention-layers[{}]"'


class Images(NamedTuple):
    """The pictures of one part of a data set."""

    pixels: np.ndarray  # (N, h, w, channels) uint8
    labels: np.ndarray  # (N,) int32

    def at(self, places: np.ndarray | slice) -> Images:
        """The pictures at these places."""
        return Images(self.pixels[places], self.labels[places])


class Splits(NamedTuple):
    """A data set."""

    train: Images
    validation: Images
    test: Images
    class_names: tuple[str, ...]


def read(config: RecognitionConfig) -> Splits:
    """The pictures that `config.data` names."""
    if config.data == "digits":
        return _digits()
    if config.data == "mnist":
        assert config.data_dir is not None
        train, test = (_mnist(config.data_dir, part) for part in ("train", "t10k"))
        return _held_out(train, test, tuple("0123456789"))
    return _tfds(config.data.removeprefix("tfds:"), config.data_dir)


def _digits() -> Splits:
    """1,797 digits of 8 by 8 pixels; always the same fifth is for test, and a tenth to validate."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError(
            f"--data digits needs {INSTALL.format('applications')}. ({error})"
        ) from None
    loaded = load_digits()
    pixels = np.round(loaded.images * (255 / 16)).astype(np.uint8)[..., None]
    images = Images(pixels, loaded.target.astype(np.int32))
    order = np.random.default_rng(0).permutation(len(pixels))
    test, others = images.at(order[: len(order) // 5]), images.at(order[len(order) // 5 :])
    return _held_out(others, test, tuple("0123456789"))


def _mnist(folder: Path, part: str) -> Images:
    pixels = _idx(_find(folder, f"{part}-images-idx3-ubyte"), (28, 28))
    path = _find(folder, f"{part}-labels-idx1-ubyte")
    labels = _idx(path, ())
    if len(labels) != len(pixels):
        raise DataError(f"{path}: expected {len(pixels)} labels. Found: {len(labels)}")
    if labels.max(initial=0) > 9:
        raise DataError(f"{path}: expected labels from 0 to 9. Found: {labels.max()}")
    return Images(pixels[..., None], labels.astype(np.int32))


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise DataError(f"{folder}: expected {name}.gz, or {name}, here")


def _idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The contents of an IDX file of bytes, (N, *shape): zeros and sizes, then the bytes."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    start = 4 * (len(shape) + 2)
    header = np.frombuffer(content[:start].ljust(start, b"\0"), ">u4")
    if header[0] != 0x0800 + len(shape) + 1 or tuple(header[2:]) != shape:
        raise DataError(f"{path}: expected an IDX file of bytes of shape (N, *{shape})")
    values = np.frombuffer(content[start:], np.uint8)
    if len(values) != int(header[1]) * math.prod(shape):
        raise DataError(f"{path}: expected {header[1]} records. The file is too short or too long")
    return values.reshape(-1, *shape)


def _tfds(name: str, folder: Path | None) -> Splits:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(f"--data tfds: needs {INSTALL.format('data')}. ({error})") from None
    parts = ["train", "test"]
    try:
        loaded, info = tfds.load(name, split=parts, data_dir=folder, with_info=True)
    except (ValueError, tfds.core.registered.DatasetNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"tfds:{name}: expected the splits {parts}. {reason}") from None
    features = info.features
    shape = features["image"].shape if {"image", "label"} <= set(features) else (None,)
    if None in shape:
        raise DataError(
            f"tfds:{name}: expected an `image` of one size, and a `label`. Found: {dict(features)}"
        )
    train, test = (_of_tfds(part) for part in loaded)
    return _held_out(train, test, tuple(features["label"].names))


def _of_tfds(part) -> Images:
    examples = list(part.as_numpy_iterator())
    pixels = np.stack([example["image"] for example in examples])
    return Images(pixels, np.array([example["label"] for example in examples], np.int32))


def _held_out(train: Images, test: Images, class_names: Sequence[str]) -> Splits:
    """The end of the training side is for validation."""
    held_out = max(1, min(MOST_HELD_OUT, len(train.labels) // 10))
    return Splits(
        train.at(slice(None, -held_out)),
        train.at(slice(-held_out, None)),
        test,
        tuple(class_names),
    )
