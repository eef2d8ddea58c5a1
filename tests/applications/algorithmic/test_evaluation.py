"""Words that are told right are counted, and stacks are measured."""

import numpy as np
import pytest

from applications.algorithmic import data, evaluation, figures
from applications.algorithmic.data import WORDS
from applications.algorithmic.problems import LANGUAGES


@pytest.mark.parametrize("name", ["anbn", "anbmcnm", "memorization"])
def test_a_word_is_right_if_all_of_it_is_that_follows(name):
    language = LANGUAGES[name]
    test = language.draw_tests(np.array([3, 5]), WORDS, np.random.default_rng(0))
    logits = np.eye(len(language.alphabet))[np.maximum(test.targets, 0)]
    assert evaluation.right_words(logits, test).tolist() == [100.0, 100.0]
    length = test.lengths[1] // WORDS
    free, asked = (
        [at for at in np.flatnonzero(where) if length <= at < 2 * length]
        for where in (~test.asked[1], test.asked[1])
    )
    logits[1, free] = 1.0 - logits[1, free]
    assert evaluation.right_words(logits, test).tolist() == [100.0, 100.0]
    logits[1, asked[-2:]] = 1.0 - logits[1, asked[-2:]]
    assert evaluation.right_words(logits, test).tolist() == [100.0, 90.0]
    logits[0, test.lengths[0] - 1] = 1.0 - logits[0, test.lengths[0] - 1]
    first = 90.0 if language.next_is_known else 100.0
    assert evaluation.right_words(logits, test).tolist() == [first, 90.0]


def test_the_depth_of_a_stack_is_pushes_less_pops_and_never_below_the_bottom():
    moves = "+-++0--0---++"  # of one stack; the other does the reverse
    one = np.array([{"+": [1, 0, 0], "-": [0, 1, 0], "0": [0, 0, 1]}[move] for move in moves])
    depth, expected = 0, []
    for move in moves:
        depth = max(0, depth + {"+": 1, "-": -1, "0": 0}[move])
        expected.append(depth)
    found = figures.depths(np.stack([one, one[:, [1, 0, 2]]], axis=1))
    assert found.shape == (len(moves), 2)
    assert found[:, 0].tolist() == expected and found[:2, 1].tolist() == [0, 1]


def test_panels_stand_under_each_other_over_the_same_steps():
    pytest.importorskip("matplotlib")
    panels = [
        figures.Panel("some", np.zeros((2, 5))),
        figures.Panel("moves", np.full((40, 5), -0.5), -1.0),
    ]
    figure = figures.stacked(panels, list("abcde"))
    some, moves = figure.axes[:2]
    assert some.get_position().y0 > moves.get_position().y1
    assert [label.get_text() for label in some.get_xticklabels()] == list("abcde")
    assert moves.get_title(loc="left") == "moves" and moves.images[0].get_clim() == (-1.0, 1.0)


def test_a_stream_holds_whole_words():
    assert data.WORDS == 10
    test = LANGUAGES["anb2n"].draw_tests(np.array([4]), WORDS, np.random.default_rng(0))
    assert test.lengths.tolist() == [120]
