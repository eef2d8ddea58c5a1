"""How stories become batches: questions drawn with replacement, anew for every epoch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from applications.question_answering import babi, worlds
from applications.question_answering.config import QuestionAnsweringConfig
from applications.question_answering.encoding import (
    Encoded,
    Encoder,
    encode,
    normal,
    num_words,
    vocabulary,
)
from applications.question_answering.stories import Example
from applications.training import console, files, text
from applications.training.data import ahead
from applications.training.errors import DataError, UserError
from applications.training.task import Datasets

NUM_TEST_QUESTIONS = 1000  # of each task of our own
HELD_OUT = 10  # one in so many training questions is to validate on
TEST_SEED = "test"
BATCH_SIZE = 500  # for all but training

Tasks = dict[int, list[Example]]


class Facts(NamedTuple):
    """What the model must know of the data."""

    tokenizer: text.VocabularyTokenizer
    answers: tuple[str, ...]  # all that were seen in training
    memory_size: int
    num_words: int  # of a sentence or question
    story: str  # an example, to warm a server up with
    question: str

    @property
    def answer_ids(self) -> list[int]:
        """The answers as words of the vocabulary."""
        ids = {word: at for at, word in enumerate(self.tokenizer.vocabulary, len(text.SPECIAL))}
        return [ids[answer] for answer in self.answers]

    def encoder(self) -> Encoder:
        """What makes ids of stories and questions."""
        return Encoder(self.tokenizer, self.memory_size, self.num_words)


class Examples(NamedTuple):
    """The questions as evaluation needs them."""

    train: Encoded
    test: Encoded
    told: list[Example]  # those of the test, as text


def datasets(config: QuestionAnsweringConfig, epoch: tf.Variable) -> Datasets:
    """Reads or makes up the stories, and encodes them once."""
    train, test = _babi(config) if config.data == "babi" else _stories(config)
    if (fewest := min(map(len, train.values()))) < HELD_OUT:
        raise UserError(
            f"A task needs at least {HELD_OUT} questions to train on. Received: {fewest}"
        )
    facts = _facts(_joined(train), config.memory_size)
    cut = {task: held_out_from(each) for task, each in train.items()}
    told = _joined(test)
    learned, held_out, asked = (
        encode(part, facts.encoder())
        for part in (
            _joined({task: each[: cut[task]] for task, each in train.items()}),
            _joined({task: each[cut[task] :] for task, each in train.items()}),
            told,
        )
    )
    count = len(learned.answers)
    console.say(
        f"{config.data}: {count} questions for training, {len(held_out.answers)} for validation, "
        f"{len(told)} for test; {len(facts.tokenizer.vocabulary)} words, {len(facts.answers)} "
        f"answers, at most {facts.memory_size} sentences"
    )
    if config.restarts > 1:
        console.say(f"{config.restarts} trainings of {config.epochs_each} epochs each")
    if count < config.batch_size:
        raise UserError(f"--batch-size {config.batch_size} is more than the {count} questions.")
    return Datasets(
        _drawn(learned, config, epoch),
        _in_order(held_out),
        _in_order(asked),
        facts,
        Examples(learned, asked, told),
    )


def save_facts(facts: Facts, folder: Path) -> None:
    """Writes the facts: the words, and the rest as JSON."""
    facts.tokenizer.save(folder, "words")
    others = {name: value for name, value in facts._asdict().items() if name != "tokenizer"}
    files.write_text(folder / "facts.json", json.dumps(others, ensure_ascii=False) + "\n")


def load_facts(folder: Path) -> Facts:
    """Reads what `save_facts` wrote."""
    values = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    tokenizer = text.load(folder, "words")
    assert isinstance(tokenizer, text.VocabularyTokenizer)
    return Facts(tokenizer, **{**values, "answers": tuple(values["answers"])})


def _babi(config: QuestionAnsweringConfig) -> tuple[Tasks, Tasks]:
    assert config.data_dir is not None
    folder = config.data_dir / config.variant
    train = babi.read(folder, config.task_numbers, "train")
    return train, babi.read(folder, config.task_numbers, "test")


def _stories(config: QuestionAnsweringConfig) -> tuple[Tasks, Tasks]:
    """Those to train on follow from the seed; those of the test are the same for every seed."""
    train, test = Tasks(), Tasks()
    for task in config.task_numbers:
        tests = worlds.stories(task, TEST_SEED)
        test[task] = _first(tests, NUM_TEST_QUESTIONS)
        known = {_text(each) for each in test[task]}
        others = (
            story
            for story in worlds.stories(task, str(config.seed))
            if known.isdisjoint(map(_text, story))
        )
        train[task] = _first(others, config.num_questions)
    return train, test


def _first(stories, count: int) -> list[Example]:
    return list(itertools.islice(itertools.chain.from_iterable(stories), count))


def _text(example: Example) -> tuple[str, ...]:
    return (*example.story, example.question)


def _joined(tasks: Tasks) -> list[Example]:
    return [example for examples in tasks.values() for example in examples]


def held_out_from(examples: Sequence[Example]) -> int:
    """Where the questions of a task to validate on begin: near its last tenth, with a story."""
    begins = [
        at
        for at in range(1, len(examples))
        if examples[at].story[: len(examples[at - 1].story)] != examples[at - 1].story
    ]
    if not begins:
        raise UserError(
            f"Task {examples[0].task}: expected at least two stories, one of them to validate on. "
            f"Received: {len(examples)} questions about one."
        )
    last_tenth = len(examples) - len(examples) // HELD_OUT
    return max((at for at in begins if at <= last_tenth), default=begins[0])


def _facts(examples: Sequence[Example], memory_size: int) -> Facts:
    tokenizer = vocabulary(examples)
    answers = sorted({normal(each.answer) for each in examples})
    longest = max(len(each.story) for each in examples)
    if longest == 0:
        raise DataError("The stories have no sentences.")
    return Facts(
        tokenizer,
        tuple(answers),
        min(memory_size, longest),
        num_words(examples),
        "\n".join(examples[0].story),
        examples[0].question,
    )


def _drawn(
    encoded: Encoded, config: QuestionAnsweringConfig, epoch: tf.Variable
) -> tf.data.Dataset:
    """Full batches of questions drawn with replacement, as seed and epoch decide."""
    count = len(encoded.answers)
    num_batches = count // config.batch_size
    shape = (num_batches, config.batch_size)
    seed = config.seed % 2**31  # TensorFlow's seeds are signed

    def one_epoch(_: tf.Tensor) -> tf.data.Dataset:
        seeds = tf.stack([tf.cast(seed, tf.int64), epoch])
        places = tf.random.stateless_uniform(shape, seeds, 0, count, tf.int32)
        return tf.data.Dataset.from_tensor_slices(places)

    drawn = tf.data.Dataset.from_tensors(0).flat_map(one_epoch)
    drawn = drawn.apply(tf.data.experimental.assert_cardinality(num_batches))
    return ahead(drawn.map(_batch_of(encoded)))


def _in_order(encoded: Encoded) -> tf.data.Dataset:
    places = tf.data.Dataset.range(len(encoded.answers)).batch(BATCH_SIZE)
    return ahead(places.map(_batch_of(encoded)))


def _batch_of(encoded: Encoded):
    """A function of places that gives the questions there: inputs and answers."""
    sentences, stories, questions, answers = (tf.constant(each) for each in encoded[:4])

    def batch(places: tf.Tensor):
        story = tf.gather(sentences, tf.gather(stories, places))
        return {"story": story, "question": tf.gather(questions, places)}, tf.gather(
            answers, places
        )

    return batch
