"""Stories and questions as arrays of words: one code path for training and for serving.

Shapes: B questions, M sentences of a story, of J words, ids of words, 0 for none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.question_answering.stories import Example
from applications.training import text

MARKS = r"[\p{P}\p{S}]+"
ENDS = r"[.!?]+(\s|$)|\n"  # of sentences


class Encoder(tf.Module):
    """Cuts stories into sentences and these into words, and looks the words up.

    Case and marks count for nothing, and neither does a word that was never seen in training.

    Args:
        tokenizer: The words.
        memory_size: M; of a longer story the last sentences are kept.
        num_words: J; of a longer sentence the first words are kept.
    """

    def __init__(self, tokenizer: text.VocabularyTokenizer, memory_size: int, num_words: int):
        super().__init__()
        self.tokenizer, self.memory_size, self.num_words = tokenizer, memory_size, num_words

    def words(self, sentences: tf.Tensor) -> tf.Tensor:
        """Sentences (N,) to ids (N, J)."""
        ids = self.tokenizer.encode(unmarked(sentences))
        dense = ids.to_tensor(text.PAD, shape=(None, self.num_words))
        return tf.where(dense == text.UNKNOWN, text.PAD, dense)

    def sentences(self, stories: tf.Tensor) -> tf.Tensor:
        """Stories (B,) to their last sentences (B, M), the oldest first, then empty strings."""
        cut = tf.strings.split(tf.strings.regex_replace(stories, ENDS, "\n"), "\n")
        cut = cut.with_flat_values(tf.strings.strip(cut.flat_values))
        told = tf.ragged.boolean_mask(cut, cut != "")
        return told[:, -self.memory_size :].to_tensor("", shape=(None, self.memory_size))

    def stories(self, sentences: tf.Tensor) -> tf.Tensor:
        """Sentences (B, M) to ids (B, M, J)."""
        ids = self.words(tf.reshape(sentences, (-1,)))
        return tf.reshape(ids, (-1, self.memory_size, self.num_words))

    def unknown(self, strings: tf.Tensor) -> tf.Tensor:
        """The words of strings (B,) that were never seen, with spaces between them: (B,)."""
        words = self.tokenizer.split(unmarked(strings))
        ids = self.tokenizer.encode(unmarked(strings))
        never = tf.ragged.boolean_mask(words, ids == text.UNKNOWN)
        return tf.strings.reduce_join(never, axis=-1, separator=" ")


class Encoded(NamedTuple):
    """Questions as arrays; a sentence that occurs in several stories is kept once."""

    sentences: np.ndarray  # (S, J) int32; the first is empty
    stories: np.ndarray  # (N, M) int32, rows of `sentences`
    questions: np.ndarray  # (N, J) int32
    answers: np.ndarray  # (N,) int32, ids; UNKNOWN for one that was never seen in training
    supports: np.ndarray  # (N, M) bool, the sentences that the answer follows from
    supports_kept: np.ndarray  # (N,) bool, whether the memory holds them all, and there are any
    tasks: np.ndarray  # (N,) int32

    def at(self, places: np.ndarray | slice) -> Encoded:
        """The questions at these places."""
        return Encoded(self.sentences, *(each[places] for each in self[1:]))

    @property
    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        """What the model takes: stories (N, M, J) and questions (N, J)."""
        return self.sentences[self.stories], self.questions


def vocabulary(examples: Sequence[Example]) -> text.VocabularyTokenizer:
    """All words of the examples; an answer of several words is one more word.

    The tokenizer cuts no text into such words, as they have a mark or a space in them.
    """
    strings = _once(part for each in examples for part in (*each.story, each.question))
    unlimited = 2**31
    marked = unmarked(tf.constant(strings)).numpy().tolist()
    found = text.VocabularyTokenizer.train("words", marked, unlimited, lowercase=True).vocabulary
    answers = sorted({normal(each.answer) for each in examples} - set(found))
    return text.VocabularyTokenizer("words", [*found, *answers], lowercase=True)


def unmarked(strings: tf.Tensor) -> tf.Tensor:
    """Strings with spaces for all marks."""
    strings = text.clean(strings, lowercase=False)  # valid UTF-8, as the pattern needs it
    return tf.strings.regex_replace(strings, MARKS, " ")


def normal(answer: str) -> str:
    """An answer as the vocabulary has it."""
    return answer.strip().lower()


def encode(examples: Sequence[Example], encoder: Encoder) -> Encoded:
    """Examples as arrays."""
    size = encoder.memory_size
    told = ["", *_once(sentence for each in examples for sentence in each.story[-size:])]
    row_of = {sentence: row for row, sentence in enumerate(told)}
    id_of = {word: at for at, word in enumerate(encoder.tokenizer.vocabulary, len(text.SPECIAL))}
    stories = np.zeros((len(examples), size), np.int32)
    supports = np.zeros((len(examples), size), bool)
    kept = np.zeros(len(examples), bool)
    for number, each in enumerate(examples):
        rows = [row_of[sentence] for sentence in each.story[-size:]]
        stories[number, : len(rows)] = rows
        places = np.array(each.supports, int) - (len(each.story) - len(rows))
        supports[number, places[places >= 0]] = True
        kept[number] = len(places) > 0 and bool((places >= 0).all())
    questions = _once(each.question for each in examples)
    rows_of_questions = encoder.words(tf.constant(questions)).numpy()
    row_of_question = {question: row for row, question in enumerate(questions)}
    return Encoded(
        encoder.words(tf.constant(told)).numpy(),
        stories,
        rows_of_questions[[row_of_question[each.question] for each in examples]],
        np.array([id_of.get(normal(each.answer), text.UNKNOWN) for each in examples], np.int32),
        supports,
        kept,
        np.array([each.task for each in examples], np.int32),
    )


def num_words(examples: Sequence[Example]) -> int:
    """Words of the longest sentence or question."""
    strings = _once(part for each in examples for part in (*each.story, each.question))
    return int(tf.reduce_max(tf.strings.split(unmarked(tf.constant(strings))).row_lengths()))


def _once(strings) -> list[str]:
    """Each string once, in the order of first sight."""
    return list(dict.fromkeys(strings))
