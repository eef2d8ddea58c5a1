"""Pictures with captions: where they come from, and how they become batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.captioning import encoders, metrics, pictures, scenes, sources
from applications.captioning.config import CaptioningConfig
from applications.captioning.pictures import Pictures
from applications.captioning.sources import Source
from applications.training import console, files, text
from applications.training.data import ahead
from applications.training.errors import UserError
from applications.training.task import Datasets

NUM_HELD_OUT_SCENES = 1000


class Picture(NamedTuple):
    """What is known of a picture."""

    captions: tuple[str, ...]  # in lower case, without punctuation
    sentence: tuple[scenes.Word, ...] = ()  # the only caption, with the region of each word


class Part(NamedTuple):
    """The pictures of one part of a data set."""

    pictures: list[Picture]
    arrays: np.ndarray  # (N, h, w, D), as the captioner reads them
    shown: np.ndarray  # (n, size, size, channels) uint8, the first of them to draw over


class Parts(NamedTuple):
    """A data set."""

    train: Callable[[int], Part]  # of an epoch
    validation: Part
    test: Part


class Examples(NamedTuple):
    """What evaluation needs more than the batches hold."""

    known: frozenset[str]  # captions of the training side
    validation: Part
    test: Part


class Facts(NamedTuple):
    """What the model must know of the data."""

    tokenizer: text.Tokenizer
    pictures: Pictures


def datasets(config: CaptioningConfig, epoch: tf.Variable) -> Datasets:
    """Reads the pictures, learns the vocabulary from the training side, and cuts batches."""
    if config.data == "scenes":
        how, parts = Pictures(scenes.SIZE, channels=1), _scenes(config)
    else:
        how = _pictures(config)
        parts = _photographs(config, how)
    first = parts.train(0)
    known = [caption for picture in first.pictures for caption in picture.captions]
    facts = Facts(text.train("words", known, config.vocabulary_size, lowercase=True), how)
    train, validation, test = (
        Pairs.of(part, facts.tokenizer) for part in (first, parts.validation, parts.test)
    )
    short = train.up_to(config.max_length)
    console.say(
        f"{config.data}: {len(first.pictures)} training pictures, {len(train.rows)} captions, of "
        f"which {len(train.rows) - len(short.rows)} longer than {config.max_length} words are left "
        f"out; {len(parts.validation.pictures)} pictures for validation, "
        f"{len(parts.test.pictures)} for test; a vocabulary of {facts.tokenizer.size}"
    )
    if len(short.rows) < config.batch_size:
        raise UserError(
            f"--batch-size {config.batch_size} is more than the {len(short.rows)} captions."
        )

    def of_epoch(at: int) -> Pairs:
        if config.data != "scenes" or at == 0:
            return short
        return Pairs.of(parts.train(at), facts.tokenizer).up_to(config.max_length)

    return Datasets(
        shuffled(
            of_epoch, len(short.rows) // config.batch_size, config.batch_size, config.seed, epoch
        ),
        validation.in_order(config.batch_size),
        test.in_order(config.batch_size),
        facts,
        Examples(frozenset(known), parts.validation, parts.test),
    )


def _scenes(config: CaptioningConfig) -> Parts:
    def part(count: int, name: str, seed: str, distortion: float = 0.0) -> Part:
        drawn = scenes.draw(count, name, seed, distortion)
        pictures = [
            Picture((" ".join(word.text for word in sentence),), sentence)
            for sentence in drawn.sentences
        ]
        return Part(pictures, drawn.images, drawn.images)

    held_out = (part(NUM_HELD_OUT_SCENES, name, "") for name in ("validation", "test"))
    return Parts(
        lambda at: part(config.num_examples, "train", f"{config.seed} {at}", config.distortion),
        *held_out,
    )


def _pictures(config: CaptioningConfig) -> Pictures:
    if config.encoder == "cnn":
        return Pictures(config.image_size, channels=3)
    frozen = encoders.frozen(config.encoder, config.encoder_weights, config.image_size)
    return Pictures(config.image_size, 3, frozen)


def _photographs(config: CaptioningConfig, how: Pictures) -> Parts:
    if config.data.startswith("tfds:"):
        found = sources.tfds(config.data.removeprefix("tfds:"), config.data_dir)
    else:
        assert config.data_dir is not None
        found = {"coco": sources.coco, "flickr8k": sources.flickr8k}[config.data](config.data_dir)
    # What becomes of the pictures is kept in the run folder, for --resume and a later evaluation.
    told = (config.data, config.encoder, config.encoder_weights, config.image_size)
    name = hashlib.sha256(repr(told).encode()).hexdigest()[:12]
    folder = config.run_dir / "features"
    train, validation, test = (
        _read(part, how, folder / f"{name}_{where}.npy")
        for where, part in zip(scenes.PARTS, found, strict=True)
    )
    return Parts(lambda at: train, validation, test)


def _read(part: Iterable[Source], how: Pictures, path: Path) -> Part:
    known = [
        Picture(tuple(" ".join(metrics.words(caption)) for caption in source.captions))
        for source in part
    ]
    return Part(known, *pictures.store(part, len(known), how, path))


@dataclass(frozen=True)
class Pairs:
    """Pictures and captions, one of each in a pair."""

    arrays: np.ndarray  # (N, h, w, D)
    rows: list[int]  # which picture
    captions: list[np.ndarray]  # ids, without start and end

    @classmethod
    def of(cls, part: Part, tokenizer: text.Tokenizer) -> Pairs:
        """Each picture once with each of its captions."""
        rows = [row for row, picture in enumerate(part.pictures) for _ in picture.captions]
        captions = [caption for picture in part.pictures for caption in picture.captions]
        return cls(part.arrays, rows, _ids(tokenizer, captions))

    def up_to(self, max_length: int) -> Pairs:
        """Those with captions that are not longer."""
        kept = [at for at, ids in enumerate(self.captions) if len(ids) <= max_length]
        return Pairs(self.arrays, [self.rows[k] for k in kept], [self.captions[k] for k in kept])

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """All pairs as they stand, the last batch as it comes."""
        starts = range(0, len(self.rows), batch_size)

        def batches() -> Iterator[tuple]:
            for start in starts:
                yield self.batch(range(start, min(start + batch_size, len(self.rows))))

        return self.dataset(batches, len(starts))

    def batch(self, places: Sequence[int] | np.ndarray) -> tuple:
        """Inputs, targets and sample weights of the pairs at some places."""
        captions = [self.captions[at] for at in places]
        length = max(len(ids) for ids in captions) + 1
        inputs, labels = np.full((2, len(captions), length), text.PAD, np.int32)
        inputs[:, 0] = text.START
        for number, ids in enumerate(captions):
            inputs[number, 1 : len(ids) + 1] = labels[number, : len(ids)] = ids
            labels[number, len(ids)] = text.END
        real = np.arange(length) <= np.array([[len(ids)] for ids in captions])
        rows = np.array([self.rows[at] for at in places])
        return (
            {"image": self.arrays[rows], "caption": inputs},
            {"logits": labels, "weights": real},
            {"logits": real.astype(np.float32), "weights": np.ones(len(rows), np.float32)},
        )

    def dataset(self, batches: Callable[[], Iterator[tuple]], count: int) -> tf.data.Dataset:
        """A data set of so many batches like those that `batch` makes."""

        def spec(*shape, dtype):
            return tf.TensorSpec((None, *shape), dtype)

        image = spec(*self.arrays.shape[1:], dtype=self.arrays.dtype)
        signature = (
            {"image": image, "caption": spec(None, dtype=tf.int32)},
            {"logits": spec(None, dtype=tf.int32), "weights": spec(None, dtype=tf.bool)},
            {"logits": spec(None, dtype=tf.float32), "weights": spec(dtype=tf.float32)},
        )
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        return ahead(dataset, count)


def shuffled(
    of_epoch: Callable[[int], Pairs], count: int, batch_size: int, seed: int, epoch: tf.Variable
) -> tf.data.Dataset:
    """So many full batches, as only seed and epoch decide.

    They are not sorted by length: the encoder's batch normalisation would tell it what sort of
    captions a batch is of, which nothing tells it later.
    """

    def batches() -> Iterator[tuple]:
        at = int(epoch.numpy())
        pairs = of_epoch(at)
        order = np.random.default_rng([seed, at]).permutation(len(pairs.rows))
        for places in order[: count * batch_size].reshape(count, batch_size):
            yield pairs.batch(places)

    return of_epoch(0).dataset(batches, count)


def save_facts(facts: Facts, folder: Path) -> None:
    """Writes the tokenizer and how pictures are read, the frozen encoder included."""
    facts.tokenizer.save(folder, "captions")
    facts.pictures.save(folder)
    document = {"size": facts.pictures.size, "channels": facts.pictures.channels}
    files.write_text(folder / "pictures.json", json.dumps(document) + "\n")


def load_facts(folder: Path) -> Facts:
    """Reads what `save_facts` wrote."""
    document = json.loads((folder / "pictures.json").read_text(encoding="utf-8"))
    return Facts(text.load(folder, "captions"), pictures.load(folder, **document))


def _ids(tokenizer: text.Tokenizer, captions: Sequence[str]) -> list[np.ndarray]:
    encoded: list[np.ndarray] = []
    for start in range(0, len(captions), 4096):
        ragged = tokenizer.encode(tf.constant(captions[start : start + 4096]))
        rows = np.split(ragged.flat_values.numpy(), ragged.row_splits.numpy()[1:-1])
        encoded.extend(row.astype(np.int32) for row in rows)
    return encoded
