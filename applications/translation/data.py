"""Sentence pairs: where they come from, and how they become batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from applications.training import console, text, text_files
from applications.training.errors import DataError, UserError
from applications.training.task import Datasets
from applications.translation.config import TranslationConfig

if TYPE_CHECKING:
    from applications.translation.dates import DatePair

NUM_HELD_OUT_DATES = 1000
POOL = 20  # batches sorted by length together, as in Bahdanau et al. (appendix B.2)


class Pair(NamedTuple):
    """A sentence, its translation, and what is known about them."""

    source: str
    target: str
    truth: DatePair | None = None  # with the alignment, where it is known


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
    splits = read(config)
    facts = Facts(
        *(
            text.train(config.tokens, sentences, config.vocabulary_size, config.lowercase)
            for sentences in (
                [pair.source for pair in splits.train],
                [pair.target for pair in splits.train],
            )
        )
    )
    train, validation, test = (Encoded.of(pairs, facts) for pairs in splits)
    short = train.up_to(config.max_length)
    console.say(
        f"{config.data}: {len(train)} training pairs, of which {len(train) - len(short)} longer "
        f"than {config.max_length} tokens are left out; {len(validation)} for validation, "
        f"{len(test)} for test; vocabularies of {facts.source.size} and {facts.target.size}"
    )
    if len(short) < config.batch_size:
        raise UserError(
            f"--batch-size {config.batch_size} is more than the {len(short)} training pairs."
        )
    kept = [splits.train[index] for index in short]

    def anew(at: int) -> Encoded:
        return Encoded.sampled(kept, facts, config.subword_dropout, seed=[config.seed, at])

    return Datasets(
        train.only(short).shuffled(
            config.batch_size, config.seed, epoch, anew if config.subword_dropout else None
        ),
        validation.in_order(config.batch_size),
        test.in_order(config.batch_size),
        facts,
        splits,
    )


def read(config: TranslationConfig) -> Splits:
    """The pairs that `config.data` names."""
    if config.data == "dates":
        return _from_dates(config)
    if config.data == "multi30k":
        assert config.data_dir is not None
        names = ("train", "val", "test_2016_flickr")
        splits = [text_files.read_split(config.data_dir, n, config.languages) for n in names]
    elif config.data == "files":
        given = (config.train_files, config.validation_files, config.test_files)
        splits = [text_files.read_pairs(*paths) for paths in given]
    else:
        splits = list(_from_tfds(config))
    return Splits(*([Pair(*pair) for pair in pairs] for pairs in splits))


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


def _from_tfds(config: TranslationConfig) -> Iterator[list[tuple[str, str]]]:
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
        yield [
            tuple(example[language].decode("utf-8") for language in config.languages)
            for example in dataset.as_numpy_iterator()
        ]


@dataclass(frozen=True)
class Encoded:
    """Pairs as ids: a list of arrays for each side, the target without its start and end."""

    sources: list[np.ndarray]  # each ends with END, so that none is empty
    targets: list[np.ndarray]

    @classmethod
    def of(cls, pairs: Sequence[Pair], facts: Facts) -> Encoded:
        """Tokenizes both sides."""
        sources = _ids(facts.source, [pair.source for pair in pairs])
        targets = _ids(facts.target, [pair.target for pair in pairs])
        return cls([np.append(ids, text.END) for ids in sources], targets)

    @classmethod
    def sampled(
        cls, pairs: Sequence[Pair], facts: Facts, dropout: float, seed: Sequence[int]
    ) -> Encoded:
        """Cuts both sides into other subwords for every seed: see `SubwordTokenizer.sample`."""
        assert isinstance(facts.source, text.SubwordTokenizer)
        assert isinstance(facts.target, text.SubwordTokenizer)
        one, other = (int(each) for each in np.random.SeedSequence(seed).generate_state(2))
        sources = facts.source.sample([pair.source for pair in pairs], dropout, one)
        targets = facts.target.sample([pair.target for pair in pairs], dropout, other)
        return cls(
            [np.array([*ids, text.END], np.int32) for ids in sources],
            [np.array(ids, np.int32) for ids in targets],
        )

    def __len__(self) -> int:
        return len(self.sources)

    def up_to(self, max_length: int) -> list[int]:
        """The places of the pairs of which neither side is longer."""
        lengths = (max(map(len, pair)) for pair in zip(self.sources, self.targets, strict=True))
        return [index for index, length in enumerate(lengths) if length <= max_length]

    def only(self, places: Sequence[int]) -> Encoded:
        """The pairs at these places."""
        return Encoded([self.sources[i] for i in places], [self.targets[i] for i in places])

    def shuffled(
        self,
        batch_size: int,
        seed: int,
        epoch: tf.Variable,
        anew: Callable[[int], Encoded] | None = None,
    ) -> tf.data.Dataset:
        """Full batches of pairs of similar length, in an order that only seed and epoch decide.

        `anew` gives the same pairs as an epoch is to see them, if not always as they are here.
        """

        def batches() -> Iterator[tuple]:
            at = int(epoch.numpy())
            rng, now = np.random.default_rng([seed, at]), self if anew is None else anew(at)
            order = rng.permutation(len(now))
            order = order[: len(order) // batch_size * batch_size]
            pools = np.split(order, range(POOL * batch_size, len(order), POOL * batch_size))
            sorted_order = np.concatenate([now._by_length(pool) for pool in pools])
            for batch in rng.permutation(sorted_order.reshape(-1, batch_size)):
                yield now._batch(batch)

        return self._dataset(batches, len(self) // batch_size)

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """All pairs as they stand, the last batch as it comes."""
        starts = range(0, len(self.sources), batch_size)

        def batches() -> Iterator[tuple]:
            for start in starts:
                yield self._batch(range(start, min(start + batch_size, len(self.sources))))

        return self._dataset(batches, len(starts))

    def _by_length(self, indices: np.ndarray) -> np.ndarray:
        lengths = [(len(self.targets[i]), len(self.sources[i])) for i in indices]
        return indices[sorted(range(len(indices)), key=lengths.__getitem__)]

    def _batch(self, indices: Sequence[int] | np.ndarray) -> tuple:
        sources = [self.sources[i] for i in indices]
        targets = [self.targets[i] for i in indices]
        labels = _padded([np.append(ids, text.END) for ids in targets])
        inputs = {
            "source": _padded(sources),
            "source_lengths": np.array([len(ids) for ids in sources], np.int32),
            "target": _padded([np.insert(ids, 0, text.START) for ids in targets]),
        }
        lengths = np.array([len(ids) + 1 for ids in targets])
        weights = np.arange(labels.shape[1]) < lengths[:, None]
        return inputs, labels, weights.astype(np.float32)

    @staticmethod
    def _dataset(batches, num_batches: int) -> tf.data.Dataset:
        ids = tf.TensorSpec((None, None), tf.int32)
        inputs = {
            "source": ids,
            "source_lengths": tf.TensorSpec((None,), tf.int32),
            "target": ids,
        }
        signature = (inputs, ids, tf.TensorSpec((None, None), tf.float32))
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(num_batches))
        dataset = dataset.prefetch(4)
        # There is nothing to tune, and the thread that tunes can hold up an epoch's end by seconds.
        options = tf.data.Options()
        options.autotune.enabled = False
        return dataset.with_options(options)


def save_facts(facts: Facts, folder: Path) -> None:
    """Writes both tokenizers."""
    facts.source.save(folder, "source")
    facts.target.save(folder, "target")


def load_facts(folder: Path) -> Facts:
    """Reads what `save_facts` wrote."""
    return Facts(text.load(folder, "source"), text.load(folder, "target"))


def _ids(tokenizer: text.Tokenizer, sentences: Sequence[str]) -> list[np.ndarray]:
    encoded: list[np.ndarray] = []
    for start in range(0, len(sentences), 4096):
        ragged = tokenizer.encode(tf.constant(sentences[start : start + 4096]))
        rows = np.split(ragged.flat_values.numpy(), ragged.row_splits.numpy()[1:-1])
        encoded.extend(row.astype(np.int32) for row in rows)
    return encoded


def _padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    padded = np.full((len(rows), max(len(row) for row in rows)), text.PAD, np.int32)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return padded
