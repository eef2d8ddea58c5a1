"""A question about a story, and what a story is while it is told."""

from __future__ import annotations

from typing import NamedTuple


class Example(NamedTuple):
    """A question, with all that was said before it."""

    task: int
    story: tuple[str, ...]  # sentences, the oldest first
    question: str
    answer: str
    supports: tuple[int, ...]  # places in the story of the sentences that the answer follows from


class Story:
    """Sentences and questions in the order in which they are told.

    Args:
        task: The number of the task.
    """

    def __init__(self, task: int):
        self.task = task
        self.sentences: list[str] = []
        self.examples: list[Example] = []

    def tell(self, sentence: str) -> int:
        """Adds a sentence; returns its place."""
        self.sentences.append(sentence)
        return len(self.sentences) - 1

    def ask(self, question: str, answer: str, supports: set[int]) -> None:
        """Adds a question about what has been told so far."""
        self.examples.append(
            Example(self.task, tuple(self.sentences), question, answer, tuple(sorted(supports)))
        )
