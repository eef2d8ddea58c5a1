"""Cloze questions: a passage about entities, and a query that leaves one of them out.

An entity is one word that begins with `@`, such as `@Anna` or `@Peter_Rabbit`. The names are for
people: a model sees numbered markers in their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

PLACEHOLDER = "@placeholder"


class Cloze(NamedTuple):
    """A question."""

    passage: str
    query: str  # with the placeholder wherever the answer stood
    answer: str  # as it stands in the passage


def is_entity(word: str) -> bool:
    """Whether a word stands for an entity."""
    return word.startswith("@") and word != PLACEHOLDER and len(word) > 1


def questions(passage: Sequence[str], query: Sequence[str]) -> Iterator[Cloze]:
    """Leaves out one entity of the query after another, of those that the passage names.

    There are none if the passage names fewer than two.
    """
    named = set(filter(is_entity, passage))
    if len(named) < 2:
        return
    for answer in dict.fromkeys(query):
        if answer in named:
            words = (PLACEHOLDER if word == answer else word for word in query)
            yield Cloze(" ".join(passage), " ".join(words), answer)
