"""Passages of our own: people who give, sell, lend and teach, and queries in other words.

A passage tells four things that happened between some of six people, each in one of several
wordings. The query tells one of them again in another wording, with one of the two people left out.
Things come up twice in a passage, in different kinds of events, so the answer follows only from who
did what.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from applications.reading.cloze import PLACEHOLDER, Cloze
from applications.reading.config import GENERATED_ENTITIES

NUM_EVENTS = 4
PEOPLE = tuple(
    "Anna Boris Clara Dmitri Elena Farid Greta Hassan Irene Jonas Karim Lena Marco Nadia Omar "
    "Petra Quentin Rosa Stefan Tara".split()
)
THINGS = tuple(
    "lamp clock violin boat carpet ladder kettle mirror saddle camera basket hammer tent sword "
    "piano bicycle".split()
)
# What a did and b had done, in wordings any of which may stand for any other of its row.
EVENTS = (
    (
        "{a} gave the {thing} to {b}",
        "{b} was given the {thing} by {a}",
        "{b} received the {thing} as a present from {a}",
        "the {thing} was a present from {a} to {b}",
    ),
    (
        "{a} sold the {thing} to {b}",
        "{b} bought the {thing} from {a}",
        "{b} paid {a} for the {thing}",
        "the {thing} was sold to {b} by {a}",
    ),
    (
        "{a} lent the {thing} to {b}",
        "{b} borrowed the {thing} from {a}",
        "the {thing} is on loan to {b} from {a}",
        "{a} let {b} use the {thing}",
    ),
    (
        "{a} stole the {thing} from {b}",
        "{b} was robbed of the {thing} by {a}",
        "{a} took the {thing} while {b} was asleep",
        "the {thing} of {b} was stolen by {a}",
    ),
    (
        "{a} repaired the {thing} for {b}",
        "{b} had the {thing} mended by {a}",
        "the {thing} of {b} was mended by {a}",
        "{a} made the {thing} of {b} work again",
    ),
    (
        "{a} wrote to {b} about the {thing}",
        "{b} got a letter about the {thing} from {a}",
        "a letter from {a} told {b} about the {thing}",
        "{b} read what {a} had written about the {thing}",
    ),
)


def questions(seed: str) -> Iterator[Cloze]:
    """Endless questions, each about a passage of its own; they follow from the seed."""
    rng = Random(seed)  # a string is hashed alike by every Python
    while True:
        yield _question(rng)


def _question(rng: Random) -> Cloze:
    people = [f"@{name}" for name in rng.sample(PEOPLE, GENERATED_ENTITIES)]
    things = rng.sample(THINGS, NUM_EVENTS // 2)
    # Of a thing no kind of event is told twice, so kind and thing say which event is meant.
    happened = [(thing, kind) for thing in things for kind in rng.sample(range(len(EVENTS)), 2)]
    rng.shuffle(happened)
    asked = rng.randrange(NUM_EVENTS)
    sentences = []
    for place, (thing, kind) in enumerate(happened):
        a, b = rng.sample(people, 2)
        told, again = rng.sample(EVENTS[kind], 2)
        sentences.append(told.format(a=a, b=b, thing=thing) + " .")
        if place == asked:
            answer = rng.choice((a, b))
            query = again.format(a=a, b=b, thing=thing).replace(answer, PLACEHOLDER) + " ."
    return Cloze(" ".join(sentences), query, answer)
