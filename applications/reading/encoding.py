"""Passages and queries as arrays of ids: one code path for training and for serving.

Shapes: B questions, P words of a passage, Q of a query, E markers of entities. Ids: 0 for padding,
1 for a word that is not known, then the words, then the markers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.reading.cloze import PLACEHOLDER, Cloze
from applications.training import text

PAD, UNKNOWN, FIRST_WORD = range(3)
ENTITY = r"@[\p{L}\p{N}_]+"
PARTS = rf"({ENTITY}|[\p{{P}}\p{{S}}])"  # what is a word by itself
BATCH_SIZE = 1000  # questions encoded at a time


class Ids(NamedTuple):
    """What a model reads, and what to tell of it."""

    passage: tf.Tensor  # (B, P) int32
    query: tf.Tensor  # (B, Q) int32
    tokens: tf.Tensor  # (B, P) strings, the passage's words
    names: tf.Tensor  # (B, E) strings, the entity that each marker stands for, or ""
    num_entities: tf.Tensor  # (B,), of passage and query together, also more than E


class Encoder(tf.Module):
    """Cuts passages and queries into words, looks these up, and numbers the entities.

    A word that begins with `@` is an entity, but for `@placeholder`. Entities are numbered as they
    first appear, in the passage and then in the query: the first becomes marker 0. Those past the
    last marker become the unknown word. Case counts for entities only; a mark is a word.

    Args:
        vocabulary: The words, the placeholder among them.
        num_entities: E.
        max_length: Most words of a passage or a query; of longer ones the first are kept.

    Call arguments:
        passages: Strings (B,), of any bytes.
        queries: Strings (B,).

    Returns:
        `Ids`.
    """

    def __init__(self, vocabulary: Sequence[str], num_entities: int, max_length: int):
        super().__init__()
        self.num_entities, self.max_length = num_entities, max_length
        self.first_entity = FIRST_WORD + len(vocabulary)
        keys = tf.constant(list(vocabulary), tf.string)
        ids = tf.range(FIRST_WORD, self.first_entity)
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, ids), default_value=UNKNOWN
        )

    def __call__(self, passages: tf.Tensor, queries: tf.Tensor) -> Ids:
        passage, query = (words(each)[:, : self.max_length] for each in (passages, queries))
        both = tf.concat([passage, query], axis=1)
        ids, names, num_entities = self._look_up(both)
        place = tf.ragged.range(both.row_lengths()).flat_values
        length = tf.gather(passage.row_lengths(), both.value_rowids())
        in_passage = both.with_flat_values(place < length)
        return Ids(
            _dense(tf.ragged.boolean_mask(ids, in_passage), PAD),
            _dense(tf.ragged.boolean_mask(ids, ~in_passage), PAD),
            _dense(passage, ""),
            names,
            num_entities,
        )

    def _look_up(self, both: tf.RaggedTensor):
        """Ids of words, with the names of the markers and how many entities there are."""
        flat = both.flat_values
        is_entity = tf.strings.regex_full_match(flat, ENTITY) & (flat != PLACEHOLDER)
        places = tf.where(is_entity)
        entities = tf.gather_nd(flat, places)
        rows = tf.gather_nd(both.value_rowids(), places)
        # Rows come one after another, and so do their entities in the order of first appearance.
        once, which = tf.unique(tf.strings.join([tf.strings.as_string(rows), entities]))
        row_of_each = tf.math.unsorted_segment_min(rows, which, tf.size(once))
        num_rows = both.nrows(tf.int32)
        counts = tf.math.unsorted_segment_sum(tf.ones_like(row_of_each), row_of_each, num_rows)
        numbers = which - tf.cast(tf.gather(tf.cumsum(counts, exclusive=True), rows), tf.int32)
        markers = tf.where(numbers < self.num_entities, self.first_entity + numbers, UNKNOWN)
        known = self._table.lookup(tf.strings.lower(flat, encoding="utf-8"))
        ids = both.with_flat_values(tf.tensor_scatter_nd_update(known, places, markers))
        names = tf.strings.regex_replace(once, "^[0-9]+", "")
        names = tf.RaggedTensor.from_row_lengths(names, counts)
        return ids, names.to_tensor("", shape=(None, self.num_entities)), tf.cast(counts, tf.int32)


class Encoded(NamedTuple):
    """Questions as arrays, with entities numbered as they first appear."""

    passages: list[np.ndarray]  # N of ids
    queries: list[np.ndarray]
    answers: np.ndarray  # (N,) int32, numbers of markers

    def only(self, places: Sequence[int] | np.ndarray) -> Encoded:
        """The questions at these places."""
        return Encoded(
            [self.passages[at] for at in places],
            [self.queries[at] for at in places],
            self.answers[places],
        )

    def batch(self, places: Sequence[int] | np.ndarray) -> tuple[np.ndarray, ...]:
        """The questions at these places: passages (B, P), queries (B, Q) and answers (B,)."""
        return (
            padded([self.passages[at] for at in places]),
            padded([self.queries[at] for at in places]),
            self.answers[places],
        )


def encode(questions: Sequence[Cloze], encoder: Encoder) -> tuple[Encoded, list[int]]:
    """Questions as arrays, and which of them: those with a marker for every entity.

    Those are left out too whose answer is named only past the end of what is read.
    """
    run = tf.function(encoder, input_signature=[tf.TensorSpec((None,), tf.string)] * 2)
    passages, queries, answers, kept = [], [], [], []
    for start in range(0, len(questions), BATCH_SIZE):
        some = questions[start : start + BATCH_SIZE]
        ids = run([each.passage for each in some], [each.query for each in some])
        ids = Ids(*(each.numpy() for each in ids))
        for row, question in enumerate(some):
            passage = ids.passage[row][ids.passage[row] != PAD]
            found = np.flatnonzero(ids.names[row] == question.answer.encode("utf-8"))
            is_named = len(found) and encoder.first_entity + found[0] in passage
            if is_named and ids.num_entities[row] <= encoder.num_entities:
                passages.append(passage)
                queries.append(ids.query[row][ids.query[row] != PAD])
                answers.append(found[0])
                kept.append(start + row)
    return Encoded(passages, queries, np.array(answers, np.int32)), kept


def permute(
    ids: Sequence[np.ndarray], answers: np.ndarray, encoder: Encoder, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Deals the markers of every question anew.

    Args:
        ids: Arrays with a row for each question, which share their entities.
        answers: Numbers of markers (B,).
        encoder: Tells markers from words.
        rng: Decides.

    Returns:
        The arrays and the answers, with other markers.
    """
    first, count = encoder.first_entity, encoder.num_entities
    deal = rng.permuted(np.tile(np.arange(count, dtype=np.int32), (len(answers), 1)), axis=1)
    dealt = []
    for each in ids:
        rows, columns = np.nonzero(each >= first)
        each = each.copy()
        each[rows, columns] = first + deal[rows, each[rows, columns] - first]
        dealt.append(each)
    return (*dealt, deal[np.arange(len(answers)), answers])


def vocabulary(questions: Sequence[Cloze], size: int) -> tuple[str, ...]:
    """The most frequent words of questions, but none that occurs once; and the placeholder."""
    counts: Counter[bytes] = Counter()
    for start in range(0, len(questions), BATCH_SIZE):
        some = questions[start : start + BATCH_SIZE]
        strings = tf.constant([part for each in some for part in (each.passage, each.query)])
        flat = tf.strings.lower(words(strings).flat_values, encoding="utf-8")
        counts.update(flat.numpy().tolist())
    # Ties are broken by spelling, so that a vocabulary depends on nothing but the text.
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    frequent = [
        word.decode("utf-8")
        for word in ranked
        if counts[word] > 1 and not (word.startswith(b"@") and len(word) > 1)
    ]
    return (PLACEHOLDER, *frequent[: size - 1])


def words(strings: tf.Tensor) -> tf.RaggedTensor:
    """Strings (B,) to words (B, ragged)."""
    strings = text.clean(strings, lowercase=False)  # valid UTF-8, as the pattern needs it
    return tf.strings.split(tf.strings.regex_replace(strings, PARTS, r" \1 "))


def padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of ids, of which some may be shorter, as one array."""
    array = np.full((len(rows), max([1, *map(len, rows)])), PAD, np.int32)
    for number, row in enumerate(rows):
        array[number, : len(row)] = row
    return array


def _dense(ragged: tf.RaggedTensor, padding) -> tf.Tensor:
    """As wide as the longest row, and one column at least, so that there is something to read."""
    dense = ragged.to_tensor(padding)
    missing = tf.maximum(1 - tf.shape(dense)[1], 0)
    return tf.pad(dense, [[0, 0], [0, missing]], constant_values=padding)
