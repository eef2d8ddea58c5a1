"""How sequences become batches: those for training drawn anew in every epoch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.algorithmic.config import AlgorithmicConfig
from applications.algorithmic.languages import SMALLEST, Language
from applications.algorithmic.problems import LANGUAGES, PROBLEMS, VECTORS
from applications.algorithmic.sequences import Sequences
from applications.algorithmic.vectors import VectorProblem
from applications.training import console, files
from applications.training.data import ahead
from applications.training.task import Datasets

MIXED = "mixed"  # the name of the test on the sizes of training
WORDS = 10  # of a test stream
LARGEST = 60  # word to test on
BATCH_SIZE = 100  # for all but training
AT_ONCE = 16  # batches, as each time that Python is asked for some costs what one trains in
EASIEST = 3  # the largest size in the first epoch of a language


class Facts(NamedTuple):
    """What the model must know of the data."""

    num_inputs: int
    num_outputs: int
    alphabet: str  # "" where vectors are seen and told


class Test(NamedTuple):
    """Test sequences: of vectors all of a size, or of those of training; of words, one a size."""

    name: str
    sizes: list[str]  # of each sequence of words
    sequences: Sequences


class Examples(NamedTuple):
    """The held-out sequences as evaluation needs them, alike for every run on the same problem."""

    validation: Sequences
    tests: list[Test]


def datasets(config: AlgorithmicConfig, epoch: tf.Variable) -> Datasets:
    """Draws the held-out sequences; those for training follow, batch by batch."""
    problem = PROBLEMS[config.problem]
    facts = Facts(problem.num_inputs, problem.num_outputs, problem.alphabet)
    validation = draw(config, config.held_out, np.random.default_rng(1))
    tests = tests_of(config)
    steps, count = validation.inputs.shape[1], sum(len(each.sequences.lengths) for each in tests)
    console.say(
        f"{config.problem}: sizes to {config.max_size}, {steps} steps, "
        f"{config.updates * config.batch_size} sequences an epoch for training, "
        f"{config.held_out} for validation, {count} for test"
    )
    batches, examples = _in_order(validation), Examples(validation, tests)
    return Datasets(
        _training(config, epoch, facts), batches, _in_order(tests[0].sequences), facts, examples
    )


def save_facts(facts: Facts, folder: Path) -> None:
    """Writes the facts as JSON."""
    files.write_text(folder / "facts.json", json.dumps(facts._asdict()) + "\n")


def load_facts(folder: Path) -> Facts:
    """Reads what `save_facts` wrote."""
    return Facts(**json.loads((folder / "facts.json").read_text(encoding="utf-8")))


def draw(
    config: AlgorithmicConfig, count: int, rng: np.random.Generator, epoch: int | None = None
) -> Sequences:
    """Sequences of all sizes of training, all padded alike; of an epoch, where that matters."""
    if config.problem in LANGUAGES:
        easy = config.max_size if epoch is None else EASIEST + epoch
        largest = min(easy, config.max_size)
        return LANGUAGES[config.problem].draw(largest, count, config.stream, rng)
    problem = VECTORS[config.problem]
    sizes = problem.sizes(config.max_size)
    steps = int(problem.steps(sizes).max())
    return problem.draw(sizes[rng.integers(0, len(sizes), count)], steps, rng)


def tests_of(config: AlgorithmicConfig) -> list[Test]:
    """The test sequences; of vectors, those of the sizes of training come first."""
    problem = PROBLEMS[config.problem]
    rng = np.random.default_rng(2)
    if isinstance(problem, Language):
        sizes = np.arange(SMALLEST, LARGEST + 1)
        drawn = problem.draw_tests(sizes, WORDS, rng)
        return [Test("words", [str(size) for size in sizes], drawn)]
    tests = [Test(MIXED, [], draw(config, config.held_out, rng))]
    for size in problem.test_sizes(config.max_size):
        tests.append(_of_size(problem, size, config.held_out, rng))
    return tests


def _of_size(
    problem: VectorProblem, size: tuple[int, ...], count: int, rng: np.random.Generator
) -> Test:
    sizes = np.tile(size, (count, 1))
    drawn = problem.draw(sizes, int(problem.steps(sizes[:1])[0]), rng)
    return Test("x".join(map(str, size)), [], drawn)


def _training(config: AlgorithmicConfig, epoch: tf.Variable, facts: Facts) -> tf.data.Dataset:
    """Full batches, which only seed and epoch decide."""

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        now = int(epoch.numpy())
        rng = np.random.default_rng([config.seed, now])
        for start in range(0, config.updates, AT_ONCE):
            count = min(AT_ONCE, config.updates - start)
            drawn = draw(config, count * config.batch_size, rng, now)
            inputs, targets, _ = (each.reshape(count, -1, *each.shape[1:]) for each in drawn)
            yield inputs, targets

    first = draw(config, 1, np.random.default_rng(0), 0)
    signature = tuple(
        tf.TensorSpec((None, config.batch_size, *each.shape[1:]), tf.as_dtype(each.dtype))
        for each in (first.inputs, first.targets)
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature).unbatch()
    return ahead(dataset, config.updates)


def _in_order(sequences: Sequences) -> tf.data.Dataset:
    whole = tf.data.Dataset.from_tensor_slices((sequences.inputs, sequences.targets))
    return ahead(whole.batch(BATCH_SIZE))
