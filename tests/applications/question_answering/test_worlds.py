"""Generated stories answer their questions, and by the sentences they say."""

import itertools
from collections import Counter

import pytest

from applications.question_answering import worlds
from applications.question_answering.config import STORY_TASKS
from tests.applications.question_answering import reader


def examples(task, count=300, seed="a"):
    stories = itertools.chain.from_iterable(worlds.stories(task, seed))
    return list(itertools.islice(stories, count))


@pytest.mark.parametrize("task", STORY_TASKS)
def test_the_answer_follows_from_the_story(task):
    for each in examples(task):
        assert reader.answer(each.story, each.question) == each.answer, each


@pytest.mark.parametrize("task", STORY_TASKS)
def test_supporting_sentences_are_enough_and_none_is_too_many(task):
    for each in examples(task):
        needed = [each.story[place] for place in each.supports]
        assert reader.answer(needed, each.question) == each.answer, each
        for place in range(len(needed)):
            fewer = needed[:place] + needed[place + 1 :]
            assert reader.answer(fewer, each.question) is None, each


@pytest.mark.parametrize("task", STORY_TASKS)
def test_stories_follow_from_the_seed(task):
    assert examples(task, 50) == examples(task, 50)
    assert examples(task, 50) != examples(task, 50, "b")


@pytest.mark.parametrize(
    ("task", "supports", "answers"), [(1, 1, 6), (2, 2, 6), (3, 3, 6), (6, 1, 2), (15, 2, 4)]
)
def test_a_task_is_of_its_kind(task, supports, answers):
    found = examples(task, 1000)
    assert {len(each.supports) for each in found} == {supports}
    counts = Counter(each.answer for each in found)
    assert len(counts) == answers
    assert max(counts.values()) < 1.4 * len(found) / answers  # no answer is a good guess
    assert max(len(each.story) for each in found) <= 50 or task == 3


def test_a_question_comes_after_what_was_told_before_and_stories_grow():
    (first, second, *_), _ = itertools.islice(worlds.stories(2, "a"), 2)
    assert second.story[: len(first.story)] == first.story
    assert len(second.story) > len(first.story)
