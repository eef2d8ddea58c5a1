"""Answers that need no training, from where the entities stand.

Each takes one question as ids: a passage (P,), a query (Q,), and the first id of a marker. Entities
that score alike are told apart by which appears first.

Reference: Hermann et al., 2015, https://arxiv.org/abs/1506.03340 (sections 3 and 4).
"""

from __future__ import annotations

import numpy as np

from applications.reading.encoding import FIRST_WORD

FARTHEST = 8  # words that a word of the query can be off, the paper's m
PLACEHOLDER_ID = FIRST_WORD  # the first word of every vocabulary


def most_frequent(passage: np.ndarray, query: np.ndarray, first_entity: int) -> int:
    """The entity that the passage names most often."""
    del query
    return int(np.argmax(np.bincount(_entities(passage, first_entity))))


def exclusive_frequency(passage: np.ndarray, query: np.ndarray, first_entity: int) -> int:
    """The same, of those that the query does not name; of all, if it names all."""
    named = _entities(passage, first_entity)
    others = named[~np.isin(named, _entities(query, first_entity))]
    return int(np.argmax(np.bincount(others if len(others) else named)))


def word_distance(passage: np.ndarray, query: np.ndarray, first_entity: int) -> int:
    """The entity around which the passage is most like the query around the placeholder.

    The placeholder is laid over every mention in turn. Each other word of the query is then as far
    off as the nearest place of the same word in the passage, and 8 at most; the mention with the
    least sum wins.
    """
    mentions = np.flatnonzero(passage >= first_entity)
    asked = np.flatnonzero(query == PLACEHOLDER_ID)
    placeholder = int(asked[0]) if len(asked) else 0
    distance = np.zeros(len(mentions))
    for place, word in enumerate(query):
        if word == PLACEHOLDER_ID:
            continue
        same = np.flatnonzero(passage == word)
        off = np.full(len(mentions), FARTHEST)
        if len(same):
            expected = mentions + (place - placeholder)
            off = np.minimum(np.abs(expected[:, None] - same).min(axis=1), FARTHEST)
        distance += off
    return int(passage[mentions[np.argmin(distance)]] - first_entity)


def chance(passage: np.ndarray, first_entity: int) -> float:
    """How probable it is to hit the answer among the passage's entities unseen."""
    return 1.0 / len(np.unique(_entities(passage, first_entity)))


def _entities(ids: np.ndarray, first_entity: int) -> np.ndarray:
    return ids[ids >= first_entity] - first_entity
