"""Sequences in, answers and weights out: one graph for evaluation and for serving."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from applications.long_term_memory import problems
from applications.long_term_memory.config import SHORTEST, LongTermMemoryConfig
from applications.long_term_memory.data import Facts
from applications.long_term_memory.model import LongTermMemory, Recalled
from applications.long_term_memory.problems import Sequences
from applications.training.lengths import ladder
from applications.training.task import Exported
from export import Signature

MIXED = [SHORTEST, SHORTEST + 1, SHORTEST + 3]  # lengths of a batch
SEQUENCE, LENGTHS = tf.TensorSpec((None, None, 2), tf.float32), tf.TensorSpec((None,), tf.int32)


class Recall(tf.Module):
    """The whole road from sequences to answers.

    Args:
        model: A trained model.
        facts: What it knows of its data.
        in_blocks: Whether a long batch is read in blocks: see `read_in_blocks`.

    Call arguments:
        sequence: Tensor of shape (B, T, 2), float32.
        lengths: Tensor of shape (B,), int32, from 1 to T; what comes after is left out.

    Returns:
        A dict: `value` (B,), the number; or, where there are answers to choose from, `answer` (B,),
        the name of the most probable one, and `scores` (B, K), the probability of each; and
        `weights` (B, T).
    """

    def __init__(self, model: LongTermMemory, facts: Facts, in_blocks: bool = True):
        super().__init__()
        self.model, self.facts, self.in_blocks = model, facts, in_blocks
        self._run = tf.function(self._recall, input_signature=[SEQUENCE, LENGTHS], autograph=False)

    def __call__(self, sequence: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        length = tf.shape(sequence)[1]
        checks = [
            tf.debugging.assert_positive(lengths, "`lengths` must be at least 1."),
            tf.debugging.assert_less_equal(
                lengths, length, "`lengths` must be at most the number of steps of `sequence`."
            ),
        ]
        with tf.control_dependencies(checks):
            found = self.numbers(sequence, lengths)
        if not self.facts.answers:
            return found
        names = tf.constant(self.facts.answers)
        return {"answer": tf.gather(names, tf.argmax(found["scores"], axis=-1)), **found}

    def numbers(self, sequence: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same without the name of the answer, and with no look at the lengths."""
        answers, weights = self._recall(sequence, lengths)
        if not self.facts.answers:
            return {"value": answers[:, 0], "weights": weights}
        return {"scores": tf.nn.softmax(answers), "weights": weights}

    def all(self, batches: Iterable[Sequences]) -> list[Recalled]:
        """Recalls every batch."""
        found = (self._run(each.sequence, each.lengths) for each in batches)
        return [Recalled(*(each.numpy() for each in batch)) for batch in found]

    def _recall(self, sequence: tf.Tensor, lengths: tf.Tensor) -> Recalled:
        length = tf.shape(sequence)[1]
        sequence *= tf.expand_dims(tf.sequence_mask(lengths, length, sequence.dtype), 2)
        if not self.model.mask:  # It has learned with padding to this length.
            missing = tf.maximum(self.facts.max_length - length, 0)
            sequence = tf.pad(sequence, [[0, 0], [0, missing], [0, 0]])
        answers, weights = self.model.recall(sequence, lengths, self.in_blocks)
        return Recalled(answers, weights[:, :length])


def signatures(model: LongTermMemory, facts: Facts, config: LongTermMemoryConfig) -> Exported:
    """What a server offers: sequences in, and all that `Recall` returns out."""
    recall = Recall(model, facts)
    rows = [[length] for length in ladder(facts.max_length, SHORTEST)]
    signature = Signature(
        lambda sequence, lengths: recall(sequence, lengths),
        inputs={"sequence": SEQUENCE, "lengths": LENGTHS},
        examples=_examples(config, *rows, MIXED),
    )
    return Exported({"serving_default": signature}, resources=[recall])


def portable(model: LongTermMemory, facts: Facts, config: LongTermMemoryConfig) -> Exported:
    """What other runtimes are given: the same without strings, checks and loops."""
    signature = Signature(
        Recall(model, facts, in_blocks=False).numbers,
        inputs={"sequence": SEQUENCE, "lengths": LENGTHS},
        examples=_examples(config, [SHORTEST], MIXED),
    )
    return Exported({"serving_default": signature}, resources=[model])


def _examples(config: LongTermMemoryConfig, *rows: list[int]) -> list[dict[str, np.ndarray]]:
    """A batch for each list of lengths."""
    rng = np.random.default_rng(0)
    return [problems.draw(config.problem, np.array(row), max(row), rng).inputs for row in rows]
