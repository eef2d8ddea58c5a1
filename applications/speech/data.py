"""How recordings and transcripts become batches: strings of digits are made anew in every epoch."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.speech import features, recordings, sources, tones
from applications.speech.config import MADE, SpeechConfig
from applications.speech.features import Heard
from applications.speech.sources import Longer, Parts, Training
from applications.speech.strings import DIGITS, Recording, Speaker, Strings
from applications.training import console, files, text
from applications.training.data import ahead
from applications.training.errors import UserError
from applications.training.task import Datasets

NUM_HELD_OUT = 300  # strings for validation, and for test
NUM_LONGER = 50  # strings of each factor
NUM_HEARD = 200  # recordings that the features' statistics are learnt from
POOL = 10  # batches that are sorted by length together

Voice = Callable[[np.random.Generator], Speaker]


class Facts(NamedTuple):
    """What the model must know of the data."""

    tokenizer: text.Tokenizer
    heard: Heard


class Examples(NamedTuple):
    """The held-out recordings as evaluation needs them, alike for every run on the same data."""

    validation: Sequence[Recording]
    test: Sequence[Recording]
    longer: Mapping[int, Longer] = {}
    """By how many times longer they are than strings of training."""


def datasets(config: SpeechConfig, epoch: tf.Variable) -> Datasets:
    """Reads or makes recordings, learns vocabulary and statistics, and cuts batches."""
    train, validation, test, longer = _parts(config)
    if train.count < config.batch_size:
        raise UserError(
            f"--batch-size {config.batch_size} is more than the {train.count} recordings for "
            "training."
        )
    facts = _facts(config, train)
    left_out = f", {train.left_out} longer than {config.max_seconds:g} s left out"
    console.say(
        f"{config.data}: {train.count} recordings for training, {train.seconds / 3600.0:.2f} hours"
        f"{left_out if train.left_out else ''}; {len(validation)} for validation, {len(test)} for "
        f"test; {len(facts.heard.mean)} features, a vocabulary of {facts.tokenizer.size}"
    )
    return Datasets(
        _shuffled(train, facts, config, epoch),
        _in_order(validation, facts, config.batch_size),
        _in_order(test, facts, config.batch_size),
        facts,
        Examples(validation, test, longer),
        {"examples": train.count, "seconds": train.seconds},
    )


def save_facts(facts: Facts, folder: Path) -> None:
    """Writes the tokenizer, and how a recording is heard."""
    facts.tokenizer.save(folder, "transcripts")
    files.write_text(folder / "features.json", json.dumps(facts.heard.to_json()) + "\n")


def load_facts(folder: Path) -> Facts:
    """Reads what `save_facts` wrote."""
    document = json.loads((folder / "features.json").read_text(encoding="utf-8"))
    return Facts(text.load(folder, "transcripts"), Heard.of(document))


def _parts(config: SpeechConfig) -> Parts:
    if config.data in MADE:
        return _made(config)
    if config.data == "files":
        given = (config.train_files, config.validation_files, config.test_files)
        return sources.files(given, config.sample_rate, config.max_seconds, config.seed)
    name = config.data.removeprefix("tfds:")
    return sources.tfds(name, config.data_dir, config.sample_rate, config.max_seconds)


def _made(config: SpeechConfig) -> Parts:
    """Strings; what they last is told from the first of them."""
    train, validation, test = _voices(config)
    how = Strings(config.shortest, config.longest, config.gap, config.noise, config.sample_rate)

    def of_epoch(at: int) -> Iterator[Recording]:
        return how.draw(config.num_examples, train, [0, config.seed, at])

    few = min(config.num_examples, NUM_HEARD)
    samples = sum(len(each.audio) for each in itertools.islice(of_epoch(0), few))
    seconds = samples / config.sample_rate / few * config.num_examples
    return Parts(
        Training(of_epoch, [" ".join(DIGITS)], config.num_examples, seconds),
        list(how.draw(NUM_HELD_OUT, validation, [1, 0, 0])),
        list(how.draw(NUM_HELD_OUT, test, [2, 0, 0])),
        {
            factor: Longer(
                list(how.times(factor).draw(NUM_LONGER, validation, [4, factor, 0])),
                list(how.times(factor).draw(NUM_LONGER, test, [3, factor, 0])),
            )
            for factor in config.longer
        },
    )


def _voices(config: SpeechConfig) -> tuple[Voice, Voice, Voice]:
    """Who speaks in training, validation and test."""
    if config.data == "tones":
        one = functools.partial(tones.speaker, sample_rate=config.sample_rate)
        return one, one, one
    assert config.data_dir is not None
    parts = recordings.read(config.data_dir, config.held_out_speaker, config.sample_rate)
    train, validation, test = (
        functools.partial(recordings.speaker, voices=voices) for voices in parts
    )
    return train, validation, test


def _facts(config: SpeechConfig, train: Training) -> Facts:
    heard = itertools.islice(train.of_epoch(0), NUM_HEARD)
    how = (config.sample_rate, config.num_mels, config.deltas)
    tokenizer = text.train(config.tokens, train.texts, config.vocabulary_size, lowercase=False)
    return Facts(tokenizer, Heard(*how, *features.statistics(heard, *how)))


def _shuffled(
    train: Training, facts: Facts, config: SpeechConfig, epoch: tf.Variable
) -> tf.data.Dataset:
    """Full batches of recordings of similar length, which only seed and epoch decide."""
    size = config.batch_size

    def batches() -> Iterator[tuple]:
        at = int(epoch.numpy())
        rng = np.random.default_rng([4, config.seed, at])
        recordings = iter(train.of_epoch(at))
        while pool := list(itertools.islice(recordings, POOL * size)):
            pool.sort(key=lambda recording: len(recording.audio))
            count = len(pool) // size
            for start in rng.permutation(count) * size:
                goes_on = rng.random(size) < config.going_on
                yield _batch(pool[start : start + size], facts, goes_on)

    return _dataset(batches, train.count // size)


def _in_order(part: Sequence[Recording], facts: Facts, batch_size: int) -> tf.data.Dataset:
    """All recordings as they stand, the last batch as it comes."""
    starts = range(0, len(part), batch_size)

    def batches() -> Iterator[tuple]:
        for start in starts:
            rows = part[start : start + batch_size]
            yield _batch(rows, facts, np.zeros(len(rows), bool))

    return _dataset(batches, len(starts))


def _batch(part: Sequence[Recording], facts: Facts, goes_on: np.ndarray) -> tuple:
    """Inputs, labels and sample weights. What goes on does not teach how a recording ends."""
    audio, lengths = features.padded([recording.audio for recording in part])
    ids = facts.tokenizer.encode(tf.constant([recording.text for recording in part])).to_list()
    shape = len(part), max(map(len, ids)) + 1
    transcript, labels = np.full((2, *shape), text.PAD, np.int32)
    weights = np.zeros(shape, np.float32)
    transcript[:, 0] = text.START
    for number, tokens in enumerate(ids):
        transcript[number, 1 : len(tokens) + 1] = labels[number, : len(tokens)] = tokens
        labels[number, len(tokens)] = text.END
        weights[number, : len(tokens) + (not goes_on[number])] = 1.0
    inputs = {
        "audio": audio,
        "audio_lengths": lengths,
        "transcript": transcript,
        "goes_on": goes_on,
    }
    return inputs, labels, weights


def _dataset(batches: Callable[[], Iterable[tuple]], count: int) -> tf.data.Dataset:
    """Batches, as a generator yields them, as a data set that says how many they are."""
    ids = tf.TensorSpec((None, None), tf.int32)
    inputs = {
        "audio": tf.TensorSpec((None, None), tf.float32),
        "audio_lengths": tf.TensorSpec((None,), tf.int32),
        "transcript": ids,
        "goes_on": tf.TensorSpec((None,), tf.bool),
    }
    signature = (inputs, ids, tf.TensorSpec((None, None), tf.float32))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return ahead(dataset, count)
