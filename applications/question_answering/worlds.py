"""Stories of our own, in the manner of tasks 1, 2, 3, 6 and 15 of bAbI.

In the world of tasks 1, 2, 3 and 6, people walk from room to room, and take and drop objects; in
that of task 15 there are animals, of kinds that are afraid of each other. A question is asked only
where what was told answers it, and the sentences it follows from are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from applications.question_answering.stories import Example, Story

PEOPLE = ("Anna", "Boris", "Clara", "Dmitri")
ROOMS = ("kitchen", "garden", "cellar", "attic", "library", "garage")
OBJECTS = ("lamp", "book", "apple")
WALKS = ("went to", "walked to", "ran to", "returned to")
TAKES = ("took", "picked up", "grabbed")
DROPS = ("dropped", "put down", "left")
KINDS = {"wolf": "wolves", "mouse": "mice", "cat": "cats", "sheep": "sheep"}
ANIMALS = ("Gertrude", "Bruno", "Winnie", "Jolly", "Emil", "Lotte")
NUM_ASKED = {1: 5, 2: 5, 3: 3, 6: 5}  # questions of a story


class Visit(NamedTuple):
    """That somebody came into a room, and the place of the sentence that tells it."""

    room: str
    told: int


class Way(NamedTuple):
    """That an object was carried from one room to another, by whoever took it last before."""

    taken: int  # the place of the sentence that tells it
    start: Visit  # of the carrier
    end: Visit


class World:
    """People, objects and rooms, and what has been told of them.

    Only people whose room was told take or drop anything, so where an object is and was since it
    was first taken follows from the story.

    Args:
        story: What happens is told to it.
        rng: Decides what happens.
    """

    def __init__(self, story: Story, rng: Random):
        self.story, self.rng = story, rng
        self.people: dict[str, Visit] = {}
        self.rooms = {thing: rng.choice(ROOMS) for thing in OBJECTS}  # of what nobody holds
        self.holders: dict[str, str] = {}
        self.visits: dict[str, Visit] = {}  # of whoever took or carried an object last
        self.ways: dict[str, Way] = {}  # the last of each object
        self.taken: dict[str, int] = {}  # where it is told that somebody took it last
        self.touched: dict[str, int] = {}  # … that somebody took or dropped it last

    def walk(self) -> None:
        """Somebody goes to another room, with all that they hold."""
        person = self.rng.choice(PEOPLE)
        start = self.people.get(person)
        room = self.rng.choice([room for room in ROOMS if start is None or room != start.room])
        end = Visit(room, self.story.tell(f"{person} {self.rng.choice(WALKS)} the {room}."))
        self.people[person] = end
        for thing, holder in self.holders.items():
            if holder == person and start is not None:
                self.visits[thing] = end
                self.ways[thing] = Way(self.taken[thing], start, end)

    def act(self) -> None:
        """Somebody takes or drops something if that can be, or goes somewhere."""
        takes = [
            (person, thing)
            for person, visit in self.people.items()
            for thing, room in self.rooms.items()
            if room == visit.room
        ]
        drops = [(person, thing) for thing, person in self.holders.items()]
        if takes and self.rng.random() < 0.5:
            self._take(*self.rng.choice(takes))
        elif drops and self.rng.random() < 0.2:
            self._drop(*self.rng.choice(drops))
        else:
            self.walk()

    def _take(self, person: str, thing: str) -> None:
        told = self.story.tell(f"{person} {self.rng.choice(TAKES)} the {thing}.")
        self.taken[thing] = self.touched[thing] = told
        self.holders[thing] = person
        self.visits[thing] = self.people[person]
        del self.rooms[thing]

    def _drop(self, person: str, thing: str) -> None:
        self.touched[thing] = self.story.tell(f"{person} {self.rng.choice(DROPS)} the {thing}.")
        del self.holders[thing]
        self.rooms[thing] = self.people[person].room

    def ask_person(self) -> bool:
        """Where is Anna? She is where she went last."""
        person = self.rng.choice(sorted(self.people))
        visit = self.people[person]
        self.story.ask(f"Where is {person}?", visit.room, {visit.told})
        return True

    def ask_whether(self) -> bool:
        """Is Anna in the kitchen?"""
        person = self.rng.choice(sorted(self.people))
        visit, answer = self.people[person], self.rng.choice(("yes", "no"))
        others = [room for room in ROOMS if room != visit.room]
        room = visit.room if answer == "yes" else self.rng.choice(others)
        self.story.ask(f"Is {person} in the {room}?", answer, {visit.told})
        return True

    def ask_object(self) -> bool:
        """Where is the lamp? Where whoever touched it last was, or has it now."""
        if not self.visits:
            return False
        thing = self.rng.choice(sorted(self.visits))
        visit = self.visits[thing]
        self.story.ask(f"Where is the {thing}?", visit.room, {self.touched[thing], visit.told})
        return True

    def ask_before(self) -> bool:
        """Where was the lamp before the kitchen, in which it is now?"""
        if not self.ways:
            return False
        thing = self.rng.choice(sorted(self.ways))
        taken, start, end = self.ways[thing]
        question = f"Where was the {thing} before the {end.room}?"
        self.story.ask(question, start.room, {taken, start.told, end.told})
        return True


def stories(task: int, seed: str) -> Iterator[list[Example]]:
    """Endless stories, as the questions about each; they follow from task and seed."""
    rng = Random(f"{seed}/{task}")  # a string is hashed alike by every Python
    while True:
        story = Story(task)
        if task == 15:
            _tell_of_animals(story, rng)
        else:
            _tell_of_people(story, rng)
        yield story.examples


def _tell_of_people(story: Story, rng: Random) -> None:
    world = World(story, rng)
    asks: dict[int, Callable[[], bool]] = {
        1: world.ask_person,
        2: world.ask_object,
        3: world.ask_before,
        6: world.ask_whether,
    }
    happens = world.walk if story.task == 1 else world.act
    asked = 0
    while asked < NUM_ASKED[story.task]:
        for _ in range(rng.randint(2, 4)):
            happens()
        asked += asks[story.task]()


def _tell_of_animals(story: Story, rng: Random) -> None:
    fears = {kind: rng.choice([each for each in KINDS if each != kind]) for kind in KINDS}
    kinds = dict(zip(rng.sample(ANIMALS, len(KINDS)), rng.sample(list(KINDS), 4), strict=True))
    told: dict[str, int] = {}
    names = [*fears, *kinds]
    rng.shuffle(names)
    for name in names:
        if name in fears:
            text = f"{KINDS[name].capitalize()} are afraid of {KINDS[fears[name]]}."
        else:
            text = f"{name} is a {kinds[name]}."
        told[name] = story.tell(text)
    for animal in rng.sample(list(kinds), len(kinds)):
        kind = kinds[animal]
        story.ask(f"What is {animal} afraid of?", fears[kind], {told[animal], told[kind]})
