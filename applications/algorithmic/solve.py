"""Sequences in, answers and what the machine did out: one graph for evaluation and for serving."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.algorithmic.config import AlgorithmicConfig
from applications.algorithmic.data import BATCH_SIZE, Facts
from applications.algorithmic.languages import SMALLEST
from applications.algorithmic.model import Machine, rounded
from applications.algorithmic.problems import LANGUAGES, VECTORS
from applications.algorithmic.sequences import Sequences
from applications.training.errors import UserError
from applications.training.lengths import ladder
from applications.training.task import Exported
from export import Signature
from keras_attention import NTMCell, StackCell

LENGTHS, TEXT = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.string)


class Found(NamedTuple):
    """What was told at every step, and what the machine did: see `Performed`."""

    logits: np.ndarray  # (N, T, K)
    trace: np.ndarray


class Solve(tf.Module):
    """The whole road from sequences, or text, to answers.

    Args:
        machine: A trained machine.
        facts: What it knows of its data.

    `vectors` and `text` return a dict of all that is told at each step, and of what the machine did
    there: `read_weights` and `write_weights` (B, T, heads, N) of an NTM, `actions` (B, T, S, 2 or
    3) of S stacks, how much each was pushed, popped and, if it may be, kept. All is 0, or the empty
    string, after the end of a sequence.
    """

    def __init__(self, machine: Machine, facts: Facts):
        super().__init__()
        self.machine, self.facts = machine, facts
        self.sequence = tf.TensorSpec((None, None, facts.num_inputs), tf.float32)
        steps = tf.TensorSpec((None, None), tf.int32) if facts.alphabet else self.sequence
        self._run = tf.function(machine.perform, input_signature=[steps], autograph=False)

    def vectors(self, sequence: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """Sequences (B, T, D), of lengths (B,): `probabilities` (B, T, K) that a bit is 1."""
        checks = [
            tf.debugging.assert_positive(lengths, "`lengths` must be at least 1."),
            tf.debugging.assert_less_equal(
                lengths,
                tf.shape(sequence)[1],
                "`lengths` must be at most the number of steps of `sequence`.",
            ),
        ]
        with tf.control_dependencies(checks):
            logits, trace = self.machine.perform(tf.identity(sequence))
        told = {"probabilities": tf.sigmoid(logits), **self._done(trace)}
        return {name: _until(lengths, each) for name, each in told.items()}

    def text(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Texts (B,) of symbols: `next` (B, T), the most probable symbol after each of them,

        `probabilities` (B, T, K) of all symbols, in the alphabet's order, and `lengths` (B,).
        """
        lengths = tf.strings.length(text)
        tokens = tf.strings.bytes_split(text).to_tensor("")
        tokens = tf.pad(tokens, [[0, 0], [0, tf.cast(tf.shape(tokens)[1] == 0, tf.int32)]])
        known = tokens[..., None] == tf.constant(list(self.facts.alphabet))
        check = tf.debugging.Assert(
            tf.reduce_all(tf.reduce_any(known, axis=-1) | (tokens == "")),
            [f"`text` must be of the symbols {self.facts.alphabet} only."],
        )
        with tf.control_dependencies([check]):
            symbols = tf.argmax(tf.cast(known, tf.int32), axis=-1, output_type=tf.int32)
        logits, trace = self.machine.perform(symbols)
        told = {"probabilities": tf.nn.softmax(logits), **self._done(trace)}
        told = {name: _until(lengths, each) for name, each in told.items()}
        chosen = tf.gather(tf.constant(list(self.facts.alphabet)), tf.argmax(logits, axis=-1))
        real = tf.sequence_mask(lengths, tf.shape(tokens)[1])
        return {"next": tf.where(real, chosen, ""), "lengths": lengths, **told}

    def all(self, sequences: Sequences) -> Found:
        """Solves any number of sequences."""
        starts = range(0, len(sequences.lengths), BATCH_SIZE)
        batches = [self._run(sequences.inputs[start : start + BATCH_SIZE]) for start in starts]
        return Found(*(np.concatenate(each) for each in zip(*batches, strict=True)))

    def _done(self, trace: tf.Tensor) -> dict[str, tf.Tensor]:
        cell = self.machine.cell
        if isinstance(cell, NTMCell):
            reads = cell.num_reads
            return {"read_weights": trace[:, :, :reads], "write_weights": trace[:, :, reads:]}
        return {"actions": trace} if isinstance(cell, StackCell) else {}


def serving(machine: Machine, facts: Facts, config: AlgorithmicConfig) -> Solve:
    """What answers whoever asks: stacks are rounded, if the run says so."""
    return Solve(rounded(machine) if config.rounding else machine, facts)


def signatures(machine: Machine, facts: Facts, config: AlgorithmicConfig) -> Exported:
    """What a server offers: sequences or texts in, and all that `Solve` returns out."""
    solve = serving(machine, facts, config)
    rng = np.random.default_rng(0)
    if facts.alphabet:
        language = LANGUAGES[config.problem]
        sizes = (np.array([size]) for size in ladder(config.max_size, SMALLEST))
        words = [
            "".join(language.alphabet[symbol] for symbol in language.words(size, rng)[0])
            for size in sizes
        ]
        signature = Signature(
            lambda text: solve.text(text),
            inputs={"text": TEXT},
            examples=[*({"text": [word]} for word in words), {"text": [*words[:2], ""]}],
        )
        return Exported({"serving_default": signature}, resources=[solve])
    problem = VECTORS[config.problem]
    known = problem.sizes(config.max_size)
    rungs = (known[(known == rung).all(axis=1)] for rung in ladder(config.max_size))
    examples = []
    for rows in (*filter(len, rungs), np.resize(known, (3, known.shape[1]))):
        drawn = problem.draw(rows, int(problem.steps(rows).max()), rng)
        examples.append({"sequence": drawn.inputs, "lengths": drawn.lengths})
    signature = Signature(
        lambda sequence, lengths: solve.vectors(sequence, lengths),
        inputs={"sequence": solve.sequence, "lengths": LENGTHS},
        examples=examples,
    )
    return Exported({"serving_default": signature}, resources=[solve])


def portable(machine: Machine, facts: Facts, config: AlgorithmicConfig) -> Exported:
    """What other runtimes are given: `Solve.vectors` without lengths, so without their check."""
    if facts.alphabet:
        raise UserError(
            f"algorithmic is exported for TensorFlow Serving only where the problem is a language, "
            f"as {config.problem} is: Keras' argmax, which rounds stacks, has no form in ONNX, and "
            "LiteRT has no operation for its steps."
        )
    solve, problem = serving(machine, facts, config), VECTORS[config.problem]

    def tell(sequence: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, trace = machine.perform(tf.identity(sequence))
        return {"probabilities": tf.sigmoid(logits), **solve._done(trace)}

    rng, sizes = np.random.default_rng(0), problem.sizes(config.max_size)[:1]
    examples = [
        {"sequence": problem.draw(rows, int(problem.steps(rows).max()), rng).inputs}
        for rows in (sizes, np.repeat(sizes, 3, axis=0))
    ]
    signature = Signature(tell, inputs={"sequence": solve.sequence}, examples=examples)
    return Exported({"serving_default": signature}, resources=[machine])


def answer(solve: Solve, config: AlgorithmicConfig, line: str) -> str:
    """The answer to one line of text; a `ValueError` where it is not of the problem's form."""
    if config.problem in LANGUAGES:
        alphabet = LANGUAGES[config.problem].alphabet
        if not line or set(line) - set(alphabet):
            raise ValueError(line)
        symbols = np.array([[alphabet.index(symbol) for symbol in line]], np.int32)
        length = np.array([len(line)], np.int32)
        told = solve.all(Sequences(symbols, symbols, length)).logits[0].argmax(axis=-1)
        return "".join(alphabet[symbol] for symbol in told)
    problem = VECTORS[config.problem]
    shown = problem.read(line)
    sequences = problem.arrange(shown, int(problem.steps(shown.sizes)[0]))
    asked = sequences.asked[0].any(axis=-1)
    return problem.tell((solve.all(sequences).logits[0, asked] > 0).astype(int))


def _until(lengths: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Values (B, T, …), and 0 after the end of each sequence."""
    real = tf.sequence_mask(lengths, tf.shape(values)[1], values.dtype)
    return values * tf.reshape(real, [*tf.unstack(tf.shape(real)), *[1] * (len(values.shape) - 2)])
