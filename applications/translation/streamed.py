"""Training pairs that are read as they are needed, of data larger than memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from applications.training.errors import UserError
from applications.translation.config import TranslationConfig
from applications.translation.encoded import Encoded, Most, dataset_of

if TYPE_CHECKING:
    from applications.translation.data import Facts

Source = Callable[[], Iterable[tuple[str, str]]]


def shuffled(
    source: Source, facts: Facts, config: TranslationConfig, most: Most, epoch: tf.Variable
) -> tf.data.Dataset:
    """`config.steps_per_epoch` batches an epoch, which seed and epoch alone decide.

    Epoch e begins after `e * steps_per_epoch * batch_size` pairs, and again at the first one after
    the last. So many pairs as `config.stream` says are held at a time: those short enough become
    full batches of similar length, in a random order, and what is left is dropped.
    """

    def batches() -> Iterator[tuple]:
        at = int(epoch.numpy())
        first = at * config.steps_per_epoch * config.batch_size
        pools = _pools(source, first, config.stream)
        yield from itertools.islice(_batches(pools, at), config.steps_per_epoch)

    def _batches(pools: Iterator[list], at: int) -> Iterator[tuple]:
        fruitless = 0  # pools in a row
        for number, pairs in enumerate(pools):
            seed = [config.seed, at, number]
            pool = Encoded.of(pairs, facts)
            short = pool.up_to(config.max_length)
            pool = pool.only(short)
            if config.subword_dropout:
                kept = [pairs[index] for index in short]
                again = Encoded.sampled(kept, facts, config.subword_dropout, seed)
                pool = again.but(pool, config.max_length)
            found = False
            for batch in pool.in_batches(most, np.random.default_rng(seed)):
                found = True
                yield batch
            fruitless = 0 if found else fruitless + 1
            if fruitless == 3:
                raise UserError(
                    f"--stream {config.stream} pairs at a time hold no batch of "
                    f"{config.batch_size} that are no longer than --max-length "
                    f"{config.max_length}."
                )

    return dataset_of(batches, config.steps_per_epoch)


def _pools(source: Source, first: int, size: int) -> Iterator[list]:
    """Pairs from the one at `first` on, so many at a time, without end."""
    from applications.translation.data import Pair

    endless = itertools.chain.from_iterable(source() for _ in itertools.count())
    pairs = itertools.islice(endless, first, None)
    while True:
        yield [Pair(*pair) for pair in itertools.islice(pairs, size)]
