"""Sentence pairs, and where they come from."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from applications.training import console, strategy, text, text_files
from applications.training.errors import DataError, UserError
from applications.training.task import Datasets
from applications.translation import cmudict, streamed
from applications.translation.config import TranslationConfig
from applications.translation.encoded import Encoded, Most

if TYPE_CHECKING:
    from applications.translation.dates import DatePair

NUM_HELD_OUT_DATES = 1000


class Pair(NamedTuple):
    """A sentence, its translation, and what is known about them."""

    source: str
    target: str
    truth: DatePair | None = None  # with the alignment, where it is known
    others: tuple[str, ...] = ()  # translations that are right, too


class Splits(NamedTuple):
    """The pairs of a data set."""

    train: Sequence[Pair]
    validation: Sequence[Pair]
    test: Sequence[Pair]


class Facts(NamedTuple):
    """What the model must know of the data."""

    source: text.Tokenizer
    target: text.Tokenizer


def datasets(config: TranslationConfig, epoch: tf.Variable) -> Datasets:
    """Reads the pairs, learns vocabularies from the training side, and cuts batches."""
    if config.stream:
        return _streamed(config, epoch)
    splits = read(config)
    facts = _facts(config, splits.train)
    train, validation, test = (Encoded.of(pairs, facts) for pairs in splits)
    short = train.up_to(config.max_length)
    console.say(
        f"{config.data}: {len(train)} training pairs, of which {len(train) - len(short)} longer "
        f"than {config.max_length} tokens are left out; {len(validation)} for validation, "
        f"{len(test)} for test; vocabularies of {facts.source.size} and {facts.target.size}"
    )
    if len(short) < config.batch_size and not config.tokens_per_batch:
        raise UserError(
            f"--batch-size {config.batch_size} is more than the {len(short)} training pairs."
        )
    kept = [splits.train[index] for index in short]

    def anew(at: int) -> Encoded:
        return Encoded.sampled(kept, facts, config.subword_dropout, seed=[config.seed, at])

    train = train.only(short)
    most = _most(config)
    return Datasets(
        train.shuffled(most, config.seed, epoch, anew if config.subword_dropout else None),
        validation.in_order(most),
        test.in_order(most),
        facts,
        splits,
        {"examples": len(train), "tokens": sum(len(ids) + 1 for ids in train.targets)},
    )


def _streamed(config: TranslationConfig, epoch: tf.Variable) -> Datasets:
    """As `datasets`, with no more of the training pairs than `config.stream` at a time."""
    train, *others = _sources(config)
    facts = _facts(config, [Pair(*pair) for pair in itertools.islice(train(), config.stream)])
    held = Splits((), *([Pair(*pair) for pair in source()] for source in others))
    validation, test = (Encoded.of(pairs, facts) for pairs in held[1:])
    console.say(
        f"{config.data}: training pairs are read {config.stream} at a time; {len(validation)} for "
        f"validation, {len(test)} for test; vocabularies of {facts.source.size} and "
        f"{facts.target.size}"
    )
    most = _most(config)
    return Datasets(
        streamed.shuffled(train, facts, config, most, epoch),
        validation.in_order(most),
        test.in_order(most),
        facts,
        held,
    )


def read(config: TranslationConfig) -> Splits:
    """The pairs that `config.data` names."""
    if config.data == "dates":
        return _from_dates(config)
    if config.data == "cmudict":
        return _from_cmudict(config)
    return Splits(*([Pair(*pair) for pair in source()] for source in _sources(config)))


def _facts(config: TranslationConfig, pairs: Sequence[Pair]) -> Facts:
    sides = [pair.source for pair in pairs], [pair.target for pair in pairs]
    size, lowercase = config.vocabulary_size, config.lowercase
    both = zip(config.sides, sides, strict=True)
    return Facts(*(text.train(kind, side, size, lowercase) for kind, side in both))


def _sources(config: TranslationConfig) -> list[streamed.Source]:
    """The pairs for training, validation and test, each read anew by every call."""
    if config.data == "multi30k":
        assert config.data_dir is not None
        names = ("train", "val", "test_2016_flickr")
        read = functools.partial(text_files.read_split, config.data_dir)
        return [functools.partial(read, name, config.languages) for name in names]
    if config.data == "files":
        given = (config.train_files, config.validation_files, config.test_files)
        return [functools.partial(text_files.iterate_pairs, *paths) for paths in given]
    return list(_from_tfds(config))


def _most(config: TranslationConfig) -> Most:
    """As large batches as the flags say."""
    devices = strategy.replicas()
    least = devices * (config.max_length + 1)
    if 0 < config.tokens_per_batch < least:
        raise UserError(
            "--tokens-per-batch must hold a sentence of --max-length and its end for each of the "
            f"{devices} devices, {least} tokens. Received: {config.tokens_per_batch}"
        )
    return Most(config.batch_size, config.tokens_per_batch, devices)


def _from_dates(config: TranslationConfig) -> Splits:
    try:
        from applications.translation import dates
    except ImportError as error:
        raise UserError(
            f'--data dates needs pip install "keras-attention-layers[applications]". ({error})'
        ) from None
    drawn = dates.date_splits(
        config.num_examples, NUM_HELD_OUT_DATES, NUM_HELD_OUT_DATES, seed=config.seed
    )
    return Splits(*([Pair(p.source, p.target, p) for p in pairs] for pairs in drawn))


def _from_cmudict(config: TranslationConfig) -> Splits:
    """Each pronunciation is a pair to train on; all of a word are right where it is judged."""
    assert config.data_dir is not None
    words, left_out = cmudict.read(config.data_dir)
    console.say(
        f"cmudict: {len(words)} words of the letters a to z; {left_out} with other signs are left "
        "out"
    )
    train, *judged = cmudict.split(words)
    return Splits(
        [Pair(word.letters, phones) for word in train for phones in word.pronunciations],
        *([Pair(word, said[0], others=said[1:]) for word, said in part] for part in judged),
    )


def _from_tfds(config: TranslationConfig) -> Iterator[streamed.Source]:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(
            f'--data tfds: needs pip install "keras-attention-layers[data]". ({error})'
        ) from None
    name, splits = config.data.removeprefix("tfds:"), ["train", "validation", "test"]
    try:
        loaded = tfds.load(name, split=splits, data_dir=config.data_dir)
    except (ValueError, tfds.core.registered.DatasetNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{config.data}: expected the splits {splits}. {reason}") from None
    for dataset in loaded:
        spec = dataset.element_spec
        if not (isinstance(spec, dict) and set(config.languages) <= set(spec)):
            found = ", ".join(spec) if isinstance(spec, dict) else spec
            raise DataError(
                f"{config.data}: expected the languages {', '.join(config.languages)}. "
                f"Found: {found}"
            )
        yield functools.partial(_pairs, dataset, config.languages)


def _pairs(dataset: tf.data.Dataset, languages: tuple[str, str]) -> Iterator[tuple[str, str]]:
    for example in dataset.as_numpy_iterator():
        source, target = (example[language].decode("utf-8") for language in languages)
        yield source, target


def save_facts(facts: Facts, folder: Path) -> None:
    """Writes both tokenizers."""
    facts.source.save(folder, "source")
    facts.target.save(folder, "target")


def load_facts(folder: Path) -> Facts:
    """Reads what `save_facts` wrote."""
    return Facts(text.load(folder, "source"), text.load(folder, "target"))
