"""Sentence pairs as ids, and how they become batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from applications.training import bucketing, text
from applications.training.data import ahead

if TYPE_CHECKING:
    from applications.translation.data import Facts, Pair

POOL = 20  # batches sorted by length together, as in Bahdanau et al. (appendix B.2)


class Most(NamedTuple):
    """How large batches may be."""

    sentences: int
    tokens: int = 0  # of either side, with padding; 0: any number
    multiple: int = 1  # of which the size of a batch for training must be one: devices share it


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

    def but(self, other: Encoded, max_length: int) -> Encoded:
        """The same pairs, those that are longer here than `max_length` as they are in `other`."""
        are_long = [length > max_length for length in self.lengths()]
        sides = ((self.sources, other.sources), (self.targets, other.targets))
        return Encoded(
            *(
                [
                    theirs if is_long else own
                    for own, theirs, is_long in zip(*side, are_long, strict=True)
                ]
                for side in sides
            )
        )

    def lengths(self) -> list[int]:
        """Of the longer side of each pair, with its end."""
        pairs = zip(self.sources, self.targets, strict=True)
        return [max(len(source), len(target) + 1) for source, target in pairs]

    def shuffled(
        self,
        most: Most,
        seed: int,
        epoch: tf.Variable,
        anew: Callable[[int], Encoded] | None = None,
    ) -> tf.data.Dataset:
        """Full batches of pairs of similar length, in an order that only seed and epoch decide.

        `anew` gives the same pairs as an epoch is to see them, if not always as they are here.
        """

        def of_epoch(at: int) -> tuple[np.random.Generator, Encoded]:
            return np.random.default_rng([seed, at]), self if anew is None else anew(at)

        if most.tokens:
            return self._of_tokens(most, epoch, of_epoch, is_fixed=anew is None)

        def batches() -> Iterator[tuple]:
            rng, now = of_epoch(int(epoch.numpy()))
            yield from now.in_batches(most, rng)

        return dataset_of(batches, len(self) // most.sentences)

    def _of_tokens(
        self,
        most: Most,
        epoch: tf.Variable,
        of_epoch: Callable[[int], tuple[np.random.Generator, Encoded]],
        is_fixed: bool,
    ) -> tf.data.Dataset:
        """Batches of `most.tokens`: so many in every epoch, whatever its lengths."""

        def sized(at: int) -> tuple[np.random.Generator, Encoded, np.ndarray, list[int]]:
            rng, now = of_epoch(at)
            now = now if is_fixed else now.but(self, most.tokens // most.multiple)
            return rng, now, *now._cut(most, rng)

        count = len(sized(0)[-1])
        count += 0 if is_fixed else math.ceil(bucketing.SPARE * count)

        def batches() -> Iterator[tuple]:
            rng, now, order, sizes = sized(int(epoch.numpy()))
            for batch in bucketing.batches(sizes, count, rng, most.multiple):
                yield now._batch(order[batch])

        return dataset_of(batches, count)

    def in_batches(self, most: Most, rng: np.random.Generator) -> Iterator[tuple]:
        """All pairs in full batches of similar length, in a random order, but for the remainder."""
        if most.tokens:
            order, sizes = self._cut(most, rng)
            batches = [order[each] for each in bucketing.batches(sizes, len(sizes), rng)]
        else:
            batches = self._of_sentences(most.sentences, rng)
        for batch in batches:
            yield self._batch(batch)

    def _cut(self, most: Most, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
        """The places of all pairs by length, and the sizes of batches of `most.tokens` of them."""
        order = self._by_length(rng.permutation(len(self)))
        lengths = np.array(self.lengths())[order].tolist()
        return order, bucketing.cut(lengths, most.tokens, most.sentences, most.multiple)

    def _of_sentences(self, size: int, rng: np.random.Generator) -> list[np.ndarray]:
        order = rng.permutation(len(self))
        order = order[: len(order) // size * size]
        pools = np.split(order, range(POOL * size, len(order), POOL * size))
        sorted_order = np.concatenate([self._by_length(pool) for pool in pools])
        return list(rng.permutation(sorted_order.reshape(-1, size)))

    def in_order(self, most: Most) -> tf.data.Dataset:
        """All pairs as they stand, the last batch as it comes."""
        tokens = most.tokens or sum(self.lengths()) * most.sentences
        sizes = bucketing.cut(self.lengths(), tokens, most.sentences)
        ends = np.cumsum(sizes).tolist()

        def batches() -> Iterator[tuple]:
            for size, end in zip(sizes, ends, strict=True):
                yield self._batch(range(end - size, end))

        return dataset_of(batches, len(sizes))

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


def dataset_of(batches, num_batches: int) -> tf.data.Dataset:
    """Batches, as a generator yields them, as a data set that says how many they are."""
    ids = tf.TensorSpec((None, None), tf.int32)
    inputs = {
        "source": ids,
        "source_lengths": tf.TensorSpec((None,), tf.int32),
        "target": ids,
    }
    signature = (inputs, ids, tf.TensorSpec((None, None), tf.float32))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return ahead(dataset, num_batches)


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
