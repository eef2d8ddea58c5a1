"""Answers questions about generated stories from their words alone; knows no simulator."""

from __future__ import annotations

import re

ONE_OF = {"wolves": "wolf", "mice": "mouse", "cats": "cat", "sheep": "sheep"}


def answer(sentences, question):
    """The answer that follows from the sentences, or `None`."""
    asked = question.rstrip("?").split()
    if question.startswith("What is"):
        return _fear(sentences, asked[2])
    if question.startswith("Where was"):
        trail = _trail(sentences, asked[3])
        return trail[-2] if len(trail) > 1 and trail[-1] == asked[-1] else None
    if question.startswith("Is"):
        room = _room(sentences, asked[1])
        return room and ("yes" if room == asked[-1] else "no")
    if asked[2] == "the":
        trail = _trail(sentences, asked[3])
        return trail[-1] if trail else None
    return _room(sentences, asked[2])


def _went(sentence):
    return re.fullmatch(r"(\w+) (?:went|walked|ran|returned) to the (\w+)\.", sentence)


def _room(sentences, person):
    rooms = [found[2] for each in sentences if (found := _went(each)) and found[1] == person]
    return rooms[-1] if rooms else None


def _trail(sentences, thing):
    """The rooms in which the thing is known to have been, one after another."""
    holder, rooms = None, []
    for at, sentence in enumerate(sentences):
        went = _went(sentence)
        if went and went[1] == holder:
            rooms.append(went[2])
        touched = re.fullmatch(rf"(\w+) (.*) the {thing}\.", sentence)
        if touched:
            rooms.append(_room(sentences[:at], touched[1]))
            holder = None if touched[2] in ("dropped", "put down", "left") else touched[1]
    rooms = [room for room in rooms if room]
    return [room for at, room in enumerate(rooms) if at == 0 or room != rooms[at - 1]]


def _fear(sentences, name):
    kinds = [each.split() for each in sentences if f"{name} is a " in each]
    for words in kinds:
        for sentence in sentences:
            who, _, whom = sentence.lower().rstrip(".").partition(" are afraid of ")
            if whom and ONE_OF[who] == words[-1].rstrip("."):
                return ONE_OF[whom]
    return None
