"""Generated passages can be read by whoever knows the wordings, and by them alone."""

import itertools
import re

from applications.reading import worlds
from applications.reading.cloze import PLACEHOLDER, is_entity

WHO = {"a": r"(?P<a>@\w+)", "b": r"(?P<b>@\w+)", "thing": r"(?P<thing>\w+)"}
PATTERNS = [
    (kind, re.compile(form.format(**WHO)))
    for kind, forms in enumerate(worlds.EVENTS)
    for form in forms
]


def some(seed, count):
    return list(itertools.islice(worlds.questions(seed), count))


def understood(sentence):
    """The one event that a sentence tells: kind, thing, and who is a and b."""
    (found,) = [
        (kind, match["thing"], match["a"], match["b"])
        for kind, pattern in PATTERNS
        if (match := pattern.fullmatch(sentence))
    ]
    return found


def test_the_answer_follows_from_the_passage():
    for question in some("x", 300):
        told = [understood(each) for each in question.passage.removesuffix(" .").split(" . ")]
        assert len({event[:2] for event in told}) == len(told) == worlds.NUM_EVENTS
        kind, thing, *asked = understood(question.query.removesuffix(" ."))
        (event,) = [each for each in told if each[:2] == (kind, thing)]
        assert asked.count(PLACEHOLDER) == 1
        assert question.answer == event[2 + asked.index(PLACEHOLDER)]
        assert set(asked) - {PLACEHOLDER} == set(event[2:]) - {question.answer}


def test_the_query_repeats_no_sentence_and_things_come_up_twice():
    for question in some("y", 100):
        whole = question.query.replace(PLACEHOLDER, question.answer)
        assert whole not in question.passage
        things = [word for word in question.passage.split() if word in worlds.THINGS]
        assert all(things.count(each) == 2 for each in things)
        people = set(filter(is_entity, question.passage.split()))
        assert 2 <= len(people) <= 6


def test_questions_follow_from_the_seed():
    assert some("1", 5) == some("1", 5)
    assert not set(some("1", 50)) & set(some("2", 50))
