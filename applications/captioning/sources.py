"""Photographs with captions, as they lie on disk: COCO, Flickr8k, and TensorFlow Datasets.

A source is read as late as can be, one picture after another, so that no data set has to fit into
memory. Whatever is wrong is a `DataError` whose message begins with the file.
"""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from applications.training import text_files
from applications.training.errors import DataError, UserError

MOST_HELD_OUT = 5000  # pictures of COCO's training side to validate on


class Source(NamedTuple):
    """A picture with captions."""

    name: str  # to tell which, if it cannot be read
    read: Callable[[], bytes]
    captions: tuple[str, ...]


class Sources(NamedTuple):
    """A data set. Each part can be gone through any number of times."""

    train: Iterable[Source]
    validation: Iterable[Source]
    test: Iterable[Source]


def coco(folder: Path) -> Sources:
    """The official layout: `annotations/captions_train2017.json`, `train2017/`, and `val2017` of
    each; or the same of 2014.

    The official validation side serves as test, and the end of the training side as validation.
    """
    year = next((y for y in ("2017", "2014") if _coco_file(folder, f"train{y}").is_file()), None)
    if year is None:
        raise DataError(f"{folder}: expected annotations/captions_train2017.json (or 2014) here")
    train, test = (_coco_part(folder, f"{part}{year}") for part in ("train", "val"))
    held_out = min(MOST_HELD_OUT, max(1, len(train) // 10))
    return Sources(train[:-held_out], train[-held_out:], test)


def flickr8k(folder: Path) -> Sources:
    """A folder with `captions.txt`, of `image,caption` lines, and JPEGs, or `Images/` with them.

    Where there are lists of the official parts, `Flickr_8k.trainImages.txt` and its like, these are
    taken; else three quarters are for training and an eighth each for validation and test.
    """
    captions = _flickr_captions(folder / "captions.txt")
    images = folder / "Images" if (folder / "Images").is_dir() else folder
    sources = {name: _of_file(images / name, tuple(each)) for name, each in captions.items()}
    lists = [folder / f"Flickr_8k.{part}Images.txt" for part in ("train", "dev", "test")]
    if not any(path.exists() for path in lists):
        names = sorted(sources)
        order = np.random.default_rng(0).permutation(len(names))
        eighth = max(1, len(names) // 8)
        mixed = [sources[names[at]] for at in order]
        return Sources(mixed[2 * eighth :], mixed[eighth : 2 * eighth], mixed[:eighth])
    return Sources(*(list(_listed(path, sources)) for path in lists))


def tfds(name: str, data_dir: Path | None) -> Sources:
    """A TensorFlow data set with `image` and `captions`, such as coco_captions/2014."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise UserError(
            f'--data tfds: needs pip install "keras-attention-layers[data]". ({error})'
        ) from None
    parts = ["train", "val", "test"]
    only = tensorflow_datasets.decode.PartialDecoding(
        {"image": True, "captions": {"text": True}},
        decoders={"image": tensorflow_datasets.decode.SkipDecoding()},
    )
    try:
        loaded = tensorflow_datasets.load(name, split=parts, data_dir=data_dir, decoders=only)
    except (ValueError, tensorflow_datasets.core.registered.DatasetNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"tfds:{name}: expected image and captions in the splits {parts}. {reason}"
        ) from None
    return Sources(*(_Stream(name, dataset) for dataset in loaded))


@dataclass(frozen=True)
class _Stream:
    """A part of a TensorFlow data set, read anew every time."""

    name: str
    dataset: Any

    def __iter__(self) -> Iterator[Source]:
        for number, example in enumerate(self.dataset.as_numpy_iterator()):
            captions = tuple(each.decode("utf-8") for each in example["captions"]["text"])
            read = functools.partial(bytes, example["image"])
            yield Source(f"tfds:{self.name}, picture {number}", read, captions)


def _coco_file(folder: Path, part: str) -> Path:
    return folder / "annotations" / f"captions_{part}.json"


def _coco_part(folder: Path, part: str) -> list[Source]:
    path = _coco_file(folder, part)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in document["images"]}
        captions: dict[int, list[str]] = {}
        for each in document["annotations"]:
            captions.setdefault(each["image_id"], []).append(each["caption"])
        files = {folder / part / names[key]: tuple(captions[key]) for key in sorted(captions)}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected COCO captions: {type(error).__name__} {error}") from None
    if len(files) < 2:
        raise DataError(f"{path}: expected two pictures with captions at least")
    return [_of_file(image, theirs) for image, theirs in files.items()]


def _flickr_captions(path: Path) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = {}
    for number, row in enumerate(csv.reader(text_files.read_lines(path)), start=1):
        if number == 1 and row == ["image", "caption"]:
            continue
        if len(row) < 2:
            raise DataError(f"{path}:{number}: expected image,caption. Found: {','.join(row)!r}")
        captions.setdefault(row[0], []).append(",".join(row[1:]))
    if len(captions) < 3:
        raise DataError(f"{path}: expected three pictures at least")
    return captions


def _listed(path: Path, sources: dict[str, Source]) -> Iterator[Source]:
    for number, name in enumerate(text_files.read_lines(path), start=1):
        if name.strip() and name.strip() not in sources:
            raise DataError(f"{path}:{number}: captions.txt has no caption of {name.strip()}")
        if name.strip():
            yield sources[name.strip()]


def _of_file(path: Path, captions: Sequence[str]) -> Source:
    if not path.is_file():  # Found now, and not after hours of reading others.
        raise DataError(f"{path}: no such picture, though it has captions")
    return Source(str(path), path.read_bytes, tuple(captions))
