"""Passages and queries in, answers and weights out: one graph for evaluation and for serving."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.reading.config import ReadingExport
from applications.reading.data import Facts
from applications.reading.encoding import PAD, Encoded, words
from applications.reading.model import Reader
from applications.training.lengths import ladder
from applications.training.task import Exported
from export import Signature

BATCH_SIZE = 100


class Found(NamedTuple):
    """The answers to questions, as arrays."""

    answers: np.ndarray  # (N,), numbers of markers
    weights: list[np.ndarray]  # N of (P,), each as long as its passage


class Answer(tf.Module):
    """The whole road from passages and queries to answers, as one function of strings.

    Entities are words that begin with `@`, in passage and query alike, and `@placeholder` in the
    query stands for the one that is asked for: see `Encoder`. A passage that names none has no
    answer.

    Args:
        model: A trained reader.
        facts: What it knows of its data.
        options: What to return; the defaults of the export unless given.

    Call arguments:
        passage: Strings (B,), of any bytes.
        query: Strings (B,).

    Returns:
        A dict, with the N most probable answers, the best first, and P words of the longest
        passage: `answers` (B, N), entities of the passage as they stand there, "" where there are
        no more; `scores` (B, N), the probability of each; `tokens` (B, P), `num_tokens` (B,), and
        `weights` (B, P).
    """

    def __init__(self, model: Reader, facts: Facts, options: ReadingExport | None = None):
        super().__init__()
        self.model, self.options = model, options or ReadingExport()
        self.encoder = facts.encoder()
        self.run = self._compiled(self.__call__, tf.TensorSpec((None,), tf.string))
        self._run = self._compiled(self._read, tf.TensorSpec((None, None), tf.int32))

    def __call__(self, passage: tf.Tensor, query: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = self.encoder(passage, query)
        probabilities, weights = self._read(ids.passage, ids.query)
        count = min(self.options.num_answers, self.encoder.num_entities)
        scores, places = tf.math.top_k(probabilities, count)
        answers = tf.gather(ids.names, places, batch_dims=1)
        return {
            "answers": tf.where(scores > 0.0, answers, ""),
            "scores": scores,
            "tokens": ids.tokens,
            "num_tokens": tf.reduce_sum(tf.cast(ids.passage != PAD, tf.int32), axis=1),
            "weights": weights,
        }

    def all(self, encoded: Encoded) -> Found:
        """Answers any number of questions that are arrays already."""
        answers: list[np.ndarray] = []
        weights: list[np.ndarray] = []
        total = len(encoded.answers)
        for start in range(0, total, BATCH_SIZE):
            places = range(start, min(start + BATCH_SIZE, total))
            passages, queries, _ = encoded.batch(places)
            probabilities, read = self._run(tf.constant(passages), tf.constant(queries))
            answers.append(probabilities.numpy().argmax(axis=1))
            lengths = (len(encoded.passages[at]) for at in places)
            weights.extend(row[:n] for row, n in zip(read.numpy(), lengths, strict=True))
        return Found(np.concatenate(answers), weights)

    def _read(self, passage: tf.Tensor, query: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The probability of each entity, 0 of one that is not in the passage, and the weights."""
        reading = self.model.read(passage, query)
        probabilities = tf.nn.softmax(reading.logits)
        return tf.where(reading.candidates, probabilities, 0.0), reading.weights

    @staticmethod
    def _compiled(function, spec: tf.TensorSpec):
        return tf.function(function, input_signature=[spec] * 2, autograph=False)


def signatures(model: Reader, facts: Facts, options: ReadingExport) -> Exported:
    """What a server offers: passages and queries in, and all that `Answer` returns out."""
    answer = Answer(model, facts, options)
    strings = tf.TensorSpec((None,), tf.string)
    signature = Signature(
        lambda passage, query: answer(passage, query),
        inputs={"passage": strings, "query": strings},
        examples=[
            {"passage": passages, "query": [facts.query] * len(passages)}
            for passages in _examples(facts)
        ],
    )
    return Exported({"serving_default": signature}, resources=[answer])


def portable(model: Reader, facts: Facts) -> Exported:
    """What other runtimes are given: ids in, and the probability of each entity out."""
    answer = Answer(model, facts)

    def scores(passage: tf.Tensor, query: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities, weights = answer._read(passage, query)
        return {"scores": probabilities, "weights": weights}

    passages, query = [facts.passage, "@a @b ."], [facts.query] * 2
    ids = facts.encoder()(tf.constant(passages), tf.constant(query))
    spec = tf.TensorSpec((None, None), tf.int32)
    signature = Signature(
        scores,
        inputs={"passage": spec, "query": spec},
        examples=[{"passage": ids.passage[:n], "query": ids.query[:n]} for n in (1, 2)],
    )
    return Exported({"serving_default": signature}, resources=[model])


def _examples(facts: Facts) -> Iterator[list[str]]:
    """Passages to warm a server up with: one of each length, and a mixture with empty ones."""
    found = words(tf.constant([facts.passage])).flat_values.numpy().tolist()
    for length in ladder(facts.max_length):
        cycle = itertools.islice(itertools.cycle(found), length)
        yield [b" ".join(cycle).decode("utf-8")]
    yield [facts.passage, "", ""]
