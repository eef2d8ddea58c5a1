"""Words as numbers: the same for training and for serving."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from applications.question_answering import encoding, worlds
from applications.question_answering.encoding import Encoder
from applications.question_answering.stories import Example
from applications.training import text


@pytest.fixture(scope="module")
def examples():
    stories = itertools.chain.from_iterable(
        itertools.islice(worlds.stories(task, "a"), 20) for task in (1, 2, 15)
    )
    return list(itertools.chain.from_iterable(stories))


def encoder_of(examples, memory_size=9):
    return Encoder(encoding.vocabulary(examples), memory_size, encoding.num_words(examples))


def test_a_served_story_is_encoded_as_in_training(examples):
    encoder = encoder_of(examples)
    stories, questions = encoding.encode(examples, encoder).inputs
    for separator in (" ", "\n"):
        told = encoder.sentences(tf.constant([separator.join(each.story) for each in examples]))
        np.testing.assert_array_equal(encoder.stories(told), stories)
    asked = encoder.words(tf.constant([each.question for each in examples]))
    np.testing.assert_array_equal(asked, questions)


def test_arrays_say_what_the_examples_say(examples):
    encoder = encoder_of(examples)
    encoded = encoding.encode(examples, encoder)
    stories, questions = encoded.inputs
    words = ["", "", "", "", *encoder.tokenizer.vocabulary]

    def spelt(ids):
        return " ".join(words[each] for each in ids).strip()

    for row, each in enumerate(examples):
        last = each.story[-9:]
        expected = [sentence.lower().rstrip(".") for sentence in last]
        assert [spelt(ids) for ids in stories[row]] == expected + [""] * (9 - len(last))
        assert spelt(questions[row]) == each.question.lower().rstrip("?")
        assert words[encoded.answers[row]] == each.answer
        cut = len(each.story) - len(last)
        supports = [place - cut for place in each.supports if place >= cut]
        assert np.flatnonzero(encoded.supports[row]).tolist() == supports
        assert encoded.supports_kept[row] == (len(supports) == len(each.supports))
    assert encoded.supports_kept.any() and not encoded.supports_kept.all()


def test_an_answer_of_several_words_is_one_word_that_no_text_has():
    examples = [
        Example(8, ("Mary took milk.",), "What?", "Milk,football", (0,)),
        Example(8, ("Mary took milk.",), "What?", "milk", (0,)),
        Example(8, ("Mary took milk.",), "What?", "in the cellar", ()),
    ]
    encoder = encoder_of(examples)
    vocabulary = encoder.tokenizer.vocabulary
    assert vocabulary[-2:] == ["in the cellar", "milk,football"] and vocabulary.count("milk") == 1
    encoded = encoding.encode(examples, encoder)
    assert len(set(encoded.answers.tolist())) == 3
    assert encoded.supports_kept.tolist() == [True, True, False]
    ids = encoder.words(tf.constant(["milk,football in the cellar"])).numpy()
    assert ids[0].tolist()[:1] == [encoded.answers[1]] and not ids[0, 1:].any()


def test_what_was_never_seen_is_nothing_and_is_told(examples):
    encoder = encoder_of(examples)
    known = encoding.encode(examples[:1], encoder)
    unseen = encoding.encode([examples[0]._replace(answer="nowhere")], encoder)
    assert unseen.answers[0] == text.UNKNOWN != known.answers[0]
    strings = tf.constant(["Anna went to the Kino. Émile!", "where is ANNA?", "", b"\xff \xf0"])
    ids = encoder.words(strings).numpy()
    assert (ids[0] > 0).tolist()[:5] == [True, True, True, True, False]
    assert not ids[2].any() and not ids[3].any()
    told = [each.decode() for each in encoder.unknown(strings).numpy()]
    assert told[:3] == ["kino émile", "", ""]


@pytest.mark.parametrize(
    ("story", "sentences"),
    [
        ("A b. C d.", ["A b.", "C d."]),
        ("A b.C d", ["A b.C d"]),
        ("A b!\r\nC d?\n\n  E f  ", ["A b", "C d", "E f"]),
        ("A. B. C. D. E", ["C", "D", "E"]),
        (" \n. ", []),
        ("", []),
    ],
)
def test_a_story_is_cut_into_its_last_sentences(examples, story, sentences):
    cut = encoder_of(examples, 3).sentences(tf.constant([story, "x"])).numpy()
    expected = [each.rstrip(".").encode() for each in sentences]
    assert cut[0].tolist() == expected + [b""] * (3 - len(expected))
    assert cut[1].tolist() == [b"x", b"", b""]
