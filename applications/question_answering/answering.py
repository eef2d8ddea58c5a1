"""Stories and questions in, answers and weights out: one graph for evaluation and for serving."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.question_answering.config import QuestionAnsweringExport
from applications.question_answering.data import BATCH_SIZE, Facts
from applications.question_answering.encoding import Encoded
from applications.question_answering.model import MemoryNetwork
from applications.training.task import Exported
from export import Signature


class Found(NamedTuple):
    """The answers to questions, as arrays."""

    answers: np.ndarray  # (N,), ids of words
    weights: np.ndarray  # (N, hops, M)


class Answer(tf.Module):
    """The whole road from stories and questions to answers, as one function of strings.

    A story's sentences end in a full stop, an exclamation or question mark, or at the line's end.
    Of more than M the last are read, of a sentence longer than any in training the first words.
    A word that was never seen counts for nothing, and is told. A story without sentences is
    answered from the question alone.

    Args:
        model: A trained memory network.
        facts: What it knows of its data.
        options: What to return; the defaults of the export unless given.

    Call arguments:
        story: Strings (B,), of any bytes.
        question: Strings (B,).

    Returns:
        A dict, with the N most probable answers, the best first, K hops and at most M sentences:
        `answers` (B, N), `scores` (B, N), the probability of each, `unknown_words` (B,), with
        spaces between them, and, unless nothing is read, `sentences` (B, M), the oldest first,
        `num_sentences` (B,), and `weights` (B, K, M).
    """

    def __init__(
        self,
        model: MemoryNetwork,
        facts: Facts,
        options: QuestionAnsweringExport | None = None,
    ):
        super().__init__()
        self.model, self.facts = model, facts
        self.options = options or QuestionAnsweringExport()
        self.encoder = facts.encoder()
        self.run = self._compiled(self.__call__, tf.string, (), ())
        words = (facts.num_words,)
        self._run = self._compiled(self._answer, tf.int32, (facts.memory_size, *words), words)

    def __call__(self, story: tf.Tensor, question: tf.Tensor) -> dict[str, tf.Tensor]:
        sentences = self.encoder.sentences(story)
        stories, questions = self.encoder.stories(sentences), self.encoder.words(question)
        probabilities, weights = self._answer(stories, questions)
        count = min(self.options.num_answers, len(self.facts.answers))
        scores, places = tf.math.top_k(probabilities, count)
        outputs = {
            "answers": tf.gather(tf.constant(self.facts.answers), places),
            "scores": scores,
            "unknown_words": self.encoder.unknown(
                tf.strings.join([story, question], separator="\n")
            ),
        }
        if self.model.attention == "none":
            return outputs
        told = tf.reduce_sum(tf.cast(sentences != "", tf.int32), axis=1)
        return {
            **outputs,
            "sentences": sentences,
            "num_sentences": told,
            "weights": weights,
        }

    def all(self, encoded: Encoded) -> Found:
        """Answers any number of questions that are arrays already."""
        starts = range(0, len(encoded.answers), BATCH_SIZE)
        batches = [self._run(*encoded.at(slice(s, s + BATCH_SIZE)).inputs) for s in starts]
        scores, weights = (np.concatenate(each) for each in zip(*batches, strict=True))
        return Found(np.array(self.facts.answer_ids)[scores.argmax(axis=1)], weights)

    def _answer(self, stories: tf.Tensor, questions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The probability of each answer that was seen in training, and the weights."""
        found = self.model.answer(stories, questions)
        known = tf.gather(found.logits, self.facts.answer_ids, axis=1)
        return tf.nn.softmax(known), found.weights

    @staticmethod
    def _compiled(function, dtype, story: tuple[int, ...], question: tuple[int, ...]):
        signature = [tf.TensorSpec((None, *shape), dtype) for shape in (story, question)]
        return tf.function(function, input_signature=signature, autograph=False)


def signatures(model: MemoryNetwork, facts: Facts, options: QuestionAnsweringExport) -> Exported:
    """What a server offers: stories and questions in, and all that `Answer` returns out."""
    answer = Answer(model, facts, options)
    strings = tf.TensorSpec((None,), tf.string)
    signature = Signature(
        lambda story, question: answer(story, question),
        inputs={"story": strings, "question": strings},
        examples=[
            {"story": stories, "question": [facts.question] * len(stories)}
            for stories in ([facts.story], [facts.story, "", ""])
        ],
    )
    return Exported({"serving_default": signature}, resources=[answer])


def portable(model: MemoryNetwork, facts: Facts) -> Exported:
    """What other runtimes are given: ids in, and the probability of each answer out."""
    answer = Answer(model, facts)

    def scores(story: tf.Tensor, question: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities, weights = answer._answer(story, question)
        found = {"scores": probabilities}
        return found if model.attention == "none" else {**found, "weights": weights}

    encoder = facts.encoder()
    stories = encoder.stories(encoder.sentences(tf.constant([facts.story, ""])))
    questions = encoder.words(tf.constant([facts.question] * 2))
    signature = Signature(
        scores,
        inputs={
            "story": tf.TensorSpec((None, facts.memory_size, facts.num_words), tf.int32),
            "question": tf.TensorSpec((None, facts.num_words), tf.int32),
        },
        examples=[{"story": stories[:count], "question": questions[:count]} for count in (1, 2)],
    )
    return Exported({"serving_default": signature}, resources=[model])
