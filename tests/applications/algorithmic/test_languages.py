"""Streams are of words of their language, and what is asked follows from what is before it."""

import numpy as np
import pytest

from applications.algorithmic.problems import LANGUAGES
from tests.applications.algorithmic import oracles


def text_of(language, symbols):
    return "".join(language.alphabet[symbol] for symbol in symbols)


@pytest.mark.parametrize("name", LANGUAGES)
def test_streams_are_of_words_of_every_size(name):
    language = LANGUAGES[name]
    drawn = language.draw(5, 40, 60, np.random.default_rng(0))
    sizes = []
    for inputs, targets, length in zip(*drawn, strict=True):
        assert length == len(inputs) == 60
        np.testing.assert_array_equal(inputs[1:], targets[:-1])
        *words, _ = oracles.split(name, text_of(language, inputs))
        sizes += [oracles.size_of(name, word) for word in words]
    assert set(sizes) == {2, 3, 4, 5}
    assert max(np.bincount(sizes)[2:]) < 2.5 * min(np.bincount(sizes)[2:])


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_test_asks_for_what_follows_and_for_nothing_else(name):
    language = LANGUAGES[name]
    drawn = language.draw_tests(np.array([2, 3, 7]), 4, np.random.default_rng(0))
    for size, inputs, targets, length in zip((2, 3, 7), *drawn, strict=True):
        text = text_of(language, inputs[:length])
        words = oracles.split(name, text)
        assert [oracles.size_of(name, word) for word in words] == [size] * 4
        known = oracles.follows(name, [*words, words[0]])
        np.testing.assert_array_equal(targets[:length] >= 0, known[1 : length + 1])
        asked = np.flatnonzero(targets[: length - 1] >= 0)
        assert [targets[at] for at in asked] == [inputs[at + 1] for at in asked]
        assert (targets[length:] == -1).all()
        assert (targets[length - 1] == 0) == language.next_is_known


@pytest.mark.parametrize("name", LANGUAGES)
def test_lengths_are_those_of_words(name):
    language, sizes = LANGUAGES[name], np.array([2, 5, 9])
    symbols, follows = language.words(sizes, np.random.default_rng(0))
    assert len(symbols) == len(follows) == language.lengths(sizes).sum()


@pytest.mark.parametrize(("name", "splits"), [("anbmcnm", 6), ("memorization", 100)])
def test_what_is_free_is_random(name, splits):
    language = LANGUAGES[name]
    symbols, _ = language.words(np.full(400, 7), np.random.default_rng(0))
    words = {tuple(word) for word in symbols.reshape(400, -1).tolist()}
    assert len(words) >= splits
