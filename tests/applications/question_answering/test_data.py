"""Stories become batches."""

import dataclasses

import numpy as np
import pytest

from applications.question_answering import data
from applications.question_answering.config import QuestionAnsweringConfig
from applications.question_answering.stories import Story
from applications.training.config import refuse_without_effect
from applications.training.data import epoch_counter
from applications.training.errors import DataError, UserError
from tests.applications.question_answering import babi_files

CONFIG = QuestionAnsweringConfig(num_questions=60, batch_size=8, tasks=(1, 15), memory_size=6)


def read(config=CONFIG, epoch=None):
    return data.datasets(config, epoch_counter() if epoch is None else epoch)


def batches(dataset):
    return [
        np.concatenate([inputs["story"], inputs["question"][:, None]], axis=1)
        for inputs, _ in dataset.as_numpy_iterator()
    ]


def test_batches_hold_questions_with_their_stories_and_answers():
    found = read()
    facts = found.facts
    # Of 60 questions each: 5 about a story of task 1, 4 about one of task 15.
    assert found.train.cardinality() == (50 + 52) // 8
    stories, questions = found.examples.train.inputs
    known = {
        (story.tobytes(), question.tobytes()): answer
        for story, question, answer in zip(
            stories, questions, found.examples.train.answers, strict=True
        )
    }
    for inputs, answers in found.train.as_numpy_iterator():
        assert inputs["story"].shape == (8, 6, facts.num_words)
        for story, question, answer in zip(
            inputs["story"], inputs["question"], answers, strict=True
        ):
            assert known[story.tobytes(), question.tobytes()] == answer
    stories, _ = found.examples.test.inputs
    tested = np.concatenate([inputs["story"] for inputs, _ in found.test.as_numpy_iterator()])
    np.testing.assert_array_equal(tested, stories)
    assert found.examples.test.tasks.tolist() == [1] * 40 + [15] * 40
    assert sum(len(answers) for _, answers in found.validation) == 10 + 8


def test_draws_follow_from_seed_and_epoch_alone():
    epoch, other = epoch_counter(), epoch_counter()
    train, again = (read(epoch=each).train for each in (epoch, other))
    first = batches(train)
    epoch.assign(1)
    second = batches(train)
    other.assign(1)
    np.testing.assert_array_equal(second, batches(again))
    assert (np.array(first) != np.array(second)).any()


def test_no_test_story_is_in_the_training_data_and_tests_are_the_same_for_every_seed():
    def texts(config, split):
        found = [data._stories(config)[split][task] for task in config.task_numbers]
        return [(each.story, each.question) for part in found for each in part]

    config = dataclasses.replace(CONFIG, num_questions=400, tasks=())
    other = dataclasses.replace(config, seed=2)
    train, test = texts(config, 0), texts(config, 1)
    assert len(train) == 5 * 400 and len(test) == 5 * 40
    assert not set(train) & set(test)
    assert texts(other, 1) == test and texts(other, 0) != train
    assert texts(config, 0) == train


def test_a_story_of_the_test_is_told_anew(monkeypatch):
    told = data.worlds.stories(1, data.TEST_SEED)
    tests = [next(told), next(told)]
    others = [next(told), next(told)]
    monkeypatch.setattr(data.worlds, "stories", lambda task, seed: iter(tests + others))
    monkeypatch.setattr(data, "NUM_TEST_QUESTIONS", 10)
    config = dataclasses.replace(CONFIG, num_questions=10, tasks=(1,))
    train, test = data._stories(config)
    assert test[1] == tests[0] + tests[1] and train[1] == others[0] + others[1]


def test_facts_are_written_and_read(tmp_path):
    facts = read().facts
    data.save_facts(facts, tmp_path)
    again = data.load_facts(tmp_path)
    assert again[1:] == facts[1:]
    assert again.tokenizer.vocabulary == facts.tokenizer.vocabulary
    assert again.answer_ids == facts.answer_ids and len(set(again.answer_ids)) == 10


def test_babi_is_read_from_its_folder(tmp_path):
    folder = babi_files.write(tmp_path, tasks=(1, 2), variant="en-10k", stories=10)
    config = QuestionAnsweringConfig(
        data="babi", data_dir=folder, variant="en-10k", tasks=(2, 1), batch_size=4
    )
    found = read(config)
    assert found.facts.memory_size == 3 and found.facts.num_words == 6
    assert found.facts.answers == ("bathroom", "milk,football", "office")
    assert found.train.cardinality() == 2 * 27 // 4 and len(found.examples.told) == 60
    with pytest.raises(DataError, match=r"expected qa3_.*Those that are here: --tasks 1 2$"):
        read(dataclasses.replace(config, tasks=()))


def test_no_story_is_on_both_sides_of_the_validation():
    stories = [[], [], [], []]
    for number, story in enumerate(stories):
        told = Story(task=1)
        for question in range(5):
            told.tell(f"Thing {number} went there.")
            told.ask(f"Where is it? {question}", "there", {0})
        story += told.examples
    for count in (2, 3, 4):
        examples = [example for story in stories[:count] for example in story]
        assert data.held_out_from(examples) == 5 * (count - 1)
    with pytest.raises(UserError, match="at least two stories"):
        data.held_out_from(stories[0])


def test_too_little_data_is_refused():
    with pytest.raises(UserError, match="--batch-size 128 is more than the 102 questions"):
        read(dataclasses.replace(CONFIG, batch_size=128))
    with pytest.raises(UserError, match="A task needs at least 10 questions .* Received: 9"):
        read(dataclasses.replace(CONFIG, num_questions=9))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "babi"}, "--data babi needs --data-dir"),
        ({"data_dir": "x"}, "--data-dir is for --data babi; stories need none. Received: x"),
        ({"tasks": (1, 4)}, "--tasks of --data stories must be some of 1 2 3 6 15.*Received: 1 4"),
        ({"tasks": (1, 1)}, "each once. Received: 1 1"),
        ({"data": "babi", "data_dir": "x", "tasks": (21,)}, "must be some of 1 2 3 .* 20, each"),
        ({"variant": "en-10k"}, "--variant needs --data babi, not stories. Received: en-10k"),
        ({"data": "babi", "data_dir": "x", "num_questions": 5}, "--num-questions needs --data st"),
        ({"num_hops": 0}, "--num-hops must be at least 1. Received: 0"),
        ({"attention": "none", "num_hops": 2}, "--num-hops needs --attention softmax or uniform"),
        ({"noise": 1.5}, r"--noise must be in \[0, 1\]. Received: 1.5"),
        ({"patience": 3}, "--patience is not for question_answering.*Received: 3"),
        ({"restarts": 0}, "--restarts must be at least 1"),
        ({"restarts": 7}, "a multiple of their number, 7. Received: --epochs 60"),
        ({"restarts": 3}, r"--linear-start must be .* less than the 20 epochs .*Received: 20"),
        ({"restarts": 2, "average_epochs": 3}, "there are --restarts. Received: 3 and 2"),
        ({"linear_start": -1}, "--linear-start must be at least 0"),
        ({"linear_start": None, "attention": "none"}, "--linear-start None needs --attention so"),
    ],
)
def test_flags_that_cannot_be(changes, words):
    with pytest.raises(UserError, match=words):
        refuse_without_effect(QuestionAnsweringConfig(**changes), QuestionAnsweringConfig())
