"""How questions become batches: of similar length, with markers that every epoch deals anew."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.reading import books, news, worlds
from applications.reading.cloze import Cloze
from applications.reading.config import ReadingConfig
from applications.reading.encoding import Encoded, Encoder, encode, permute, vocabulary
from applications.training import console, files
from applications.training.errors import DataError, UserError
from applications.training.task import Datasets

POOL = 20  # batches sorted by length together
HELD_OUT_BATCH_SIZE = 100
INPUTS = ("passage", "query")


class Splits(NamedTuple):
    """The questions of a data set."""

    train: list[Cloze]
    validation: list[Cloze]
    test: list[Cloze]


class Facts(NamedTuple):
    """What the model must know of the data."""

    vocabulary: tuple[str, ...]
    num_entities: int
    max_length: int
    passage: str  # an example, to warm a server up with
    query: str

    def encoder(self) -> Encoder:
        """What makes ids of passages and queries."""
        return Encoder(self.vocabulary, self.num_entities, self.max_length)


class Examples(NamedTuple):
    """The test questions as evaluation needs them."""

    test: Encoded
    told: list[Cloze]


def datasets(config: ReadingConfig, epoch: tf.Variable) -> Datasets:
    """Reads or makes up the questions, and encodes them once."""
    splits = read(config)
    facts = Facts(
        vocabulary(splits.train, config.vocabulary_size),
        config.max_entities,
        config.max_length,
        splits.train[0].passage,
        splits.train[0].query,
    )
    encoder = facts.encoder()
    parts, kept = zip(*(encode(part, encoder) for part in splits), strict=True)
    counts = [len(places) for places in kept]
    console.say(
        f"{config.data}: {counts[0]} questions for training, {counts[1]} for validation, "
        f"{counts[2]} for test, and {sum(map(len, splits)) - sum(counts)} left out, of more than "
        f"{config.max_entities} entities or {config.max_length} words before the answer; "
        f"{len(facts.vocabulary)} words"
    )
    for name, count in zip(Splits._fields, counts, strict=True):
        if not count:
            raise UserError(f"{config.data}: no question is left for {name}.")
    if counts[0] < config.batch_size:
        raise UserError(f"--batch-size {config.batch_size} is more than the {counts[0]} questions.")
    train, validation, test = parts
    return Datasets(
        _shuffled(train, config, epoch, encoder),
        _in_order(validation),
        _in_order(test),
        facts,
        Examples(test, [splits.test[at] for at in kept[2]]),
    )


def read(config: ReadingConfig) -> Splits:
    """The questions that `config.data` names."""
    if config.data == "generated":
        return _generated(config)
    counts = (config.num_questions, config.num_held_out, config.num_held_out)
    if config.data == "cbt":
        assert config.data_dir is not None
        parts = books.read(config.data_dir, config.num_sentences)
        splits = Splits(*map(_some, parts, counts))
    else:
        name = config.data.removeprefix("tfds:")
        streams = news.read(name, config.data_dir)
        splits = Splits(*map(_first, streams, counts))
    for part, found in zip(Splits._fields, splits, strict=True):
        if not found:
            raise DataError(
                f"{config.data}: found no sentence for {part} that names one of two entities "
                "or more of what precedes it"
            )
    return splits


def save_facts(facts: Facts, folder: Path) -> None:
    """Writes the facts as JSON."""
    document = json.dumps(facts._asdict(), ensure_ascii=False)
    files.write_text(folder / "facts.json", document + "\n")


def load_facts(folder: Path) -> Facts:
    """Reads what `save_facts` wrote."""
    values = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return Facts(**{**values, "vocabulary": tuple(values["vocabulary"])})


def _generated(config: ReadingConfig) -> Splits:
    """Those to train on follow from the seed; the others are the same for every seed."""
    count = config.num_held_out
    held_out = _first(worlds.questions("held out"), 2 * count)
    known = {each.passage for each in held_out}
    others = (each for each in worlds.questions(str(config.seed)) if each.passage not in known)
    return Splits(_first(others, config.num_questions), held_out[:count], held_out[count:])


def _first(questions: Iterator[Cloze], count: int) -> list[Cloze]:
    """So many, or all of them if `count` is 0."""
    return list(itertools.islice(questions, count or None))


def _some(questions: list[Cloze], count: int) -> list[Cloze]:
    """So many from everywhere, always the same, or all of them if `count` is 0."""
    if not 0 < count < len(questions):
        return questions
    chosen = np.random.default_rng(0).choice(len(questions), count, replace=False)
    return [questions[at] for at in sorted(chosen)]


def _shuffled(
    encoded: Encoded, config: ReadingConfig, epoch: tf.Variable, encoder: Encoder
) -> tf.data.Dataset:
    """Full batches of passages of similar length, as only seed and epoch decide."""
    size = config.batch_size
    count = len(encoded.answers) // size
    lengths = np.array([len(each) for each in encoded.passages])

    def batches() -> Iterator[tuple]:
        rng = np.random.default_rng([config.seed, int(epoch.numpy())])
        order = rng.permutation(len(lengths))[: count * size]
        pools = (order[at : at + POOL * size] for at in range(0, len(order), POOL * size))
        order = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
        for places in rng.permutation(order.reshape(count, size)):
            passages, queries, answers = encoded.batch(places)
            if config.entities == "permuted":
                passages, queries, answers = permute((passages, queries), answers, encoder, rng)
            yield dict(zip(INPUTS, (passages, queries), strict=True)), answers

    return _dataset(batches, count)


def _in_order(encoded: Encoded) -> tf.data.Dataset:
    """All questions as they stand, the last batch as it comes."""
    total = len(encoded.answers)
    starts = range(0, total, HELD_OUT_BATCH_SIZE)

    def batches() -> Iterator[tuple]:
        for start in starts:
            *inputs, answers = encoded.batch(range(start, min(start + HELD_OUT_BATCH_SIZE, total)))
            yield dict(zip(INPUTS, inputs, strict=True)), answers

    return _dataset(batches, len(starts))


def _dataset(batches, count: int) -> tf.data.Dataset:
    ids = tf.TensorSpec((None, None), tf.int32)
    signature = (dict.fromkeys(INPUTS, ids), tf.TensorSpec((None,), tf.int32))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(4)
