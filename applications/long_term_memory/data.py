"""How sequences become batches: those for training drawn anew in every epoch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.long_term_memory import problems
from applications.long_term_memory.config import LongTermMemoryConfig
from applications.long_term_memory.problems import ORDERS, Sequences
from applications.training import console, files
from applications.training.data import ahead
from applications.training.task import Datasets

_NUMBERS = 2**17  # steps of sequences that are drawn at once: 1 MiB


class Facts(NamedTuple):
    """What the model must know of the data."""

    max_length: int  # steps of the longest sequence
    answers: tuple[str, ...]  # that it chooses from; () where the answer is a number


class Examples(NamedTuple):
    """The held-out sequences in batches, alike for every run on the same problem."""

    validation: list[Sequences]
    test: list[Sequences]


def datasets(config: LongTermMemoryConfig, epoch: tf.Variable) -> Datasets:
    """Draws the held-out sequences; those for training follow, batch by batch."""
    validation, test = (_held_out(config, seed) for seed in (1, 2))
    facts = Facts(config.longest, ORDERS if config.problem == "order" else ())
    console.say(
        f"{config.problem}: sequences of {config.length} to {config.longest} steps, "
        f"{config.updates * config.batch_size} an epoch for training, "
        f"{config.held_out} for validation, {config.held_out} for test"
    )
    return Datasets(
        _training(config, epoch),
        _in_order(validation, config),
        _in_order(test, config),
        facts,
        Examples(validation, test),
    )


def save_facts(facts: Facts, folder: Path) -> None:
    """Writes the facts as JSON."""
    files.write_text(folder / "facts.json", json.dumps(facts._asdict()) + "\n")


def load_facts(folder: Path) -> Facts:
    """Reads what `save_facts` wrote."""
    values = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return Facts(values["max_length"], tuple(values["answers"]))


def _held_out(config: LongTermMemoryConfig, seed: int) -> list[Sequences]:
    rng = np.random.default_rng(seed)
    if config.max_length:  # all lengths alike
        lengths = np.linspace(config.length, config.max_length, config.held_out).astype(int)
    else:
        lengths = _lengths(config, config.held_out, rng)
    batches = np.split(lengths, range(config.batch_size, len(lengths), config.batch_size))
    return [problems.draw(config.problem, each, config.longest, rng) for each in batches]


def _training(config: LongTermMemoryConfig, epoch: tf.Variable) -> tf.data.Dataset:
    """Full batches, which only seed and epoch decide."""
    # Python is asked for several small batches at a time, as each time costs what one trains in.
    at_once = max(1, _NUMBERS // (config.batch_size * config.longest))

    def batches() -> Iterator[Sequences]:
        rng = np.random.default_rng([config.seed, int(epoch.numpy())])
        for start in range(0, config.updates, at_once):
            count = min(at_once, config.updates - start)
            lengths = _lengths(config, count * config.batch_size, rng)
            drawn = problems.draw(config.problem, lengths, config.longest, rng)
            yield Sequences(*(each.reshape(count, -1, *each.shape[1:]) for each in drawn))

    return ahead(_from(batches, config, (None, config.batch_size)).unbatch(), config.updates)


def _lengths(config: LongTermMemoryConfig, count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(config.length, config.longest + 1, count)


def _in_order(batches: Sequence[Sequences], config: LongTermMemoryConfig) -> tf.data.Dataset:
    return ahead(_from(lambda: batches, config, (None,)), len(batches))


def _from(
    batches: Callable[[], Iterable[Sequences]], config: LongTermMemoryConfig, axes: tuple
) -> tf.data.Dataset:
    """Inputs and answers, with these axes before those of a sequence."""
    answer = tf.int32 if config.problem == "order" else tf.float32
    inputs = {
        "sequence": tf.TensorSpec((*axes, config.longest, 2), tf.float32),
        "lengths": tf.TensorSpec(axes, tf.int32),
    }
    return tf.data.Dataset.from_generator(
        lambda: ((each.inputs, each.answers) for each in batches()),
        output_signature=(inputs, tf.TensorSpec((*axes, 1), answer)),
    )
