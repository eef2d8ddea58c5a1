"""Sequences of vectors are what their problem says, and lines are read as they are meant."""

import numpy as np
import pytest

from applications.algorithmic.problems import VECTORS
from tests.applications.algorithmic import oracles

CHECKS = {
    "copy": oracles.copied,
    "repeat_copy": oracles.repeated,
    "associative_recall": oracles.recalled,
    "priority_sort": oracles.sorted_,
}
LINES = {
    "copy": ("01100101 11110000", "01100101 11110000"),
    "repeat_copy": ("2 01100101 11110000", "01100101 11110000 01100101 11110000"),
    "associative_recall": (
        "011001 111100 000001, 101010 000111 110011, 000000 000001 000010 ? 101010 000111 110011",
        "000000 000001 000010",
    ),
    "priority_sort": ("-0.5 01100101, 1 11110000, 0.25 10101010", "11110000 10101010"),
}


def drawn(name, max_size=7, count=60, seed=0, steps=99):
    problem = VECTORS[name]
    sizes = problem.sizes(max_size)
    rng = np.random.default_rng(seed)
    sizes = sizes[rng.integers(0, len(sizes), count)]
    return sizes, problem.draw(sizes, steps, rng)


@pytest.mark.parametrize("name", VECTORS)
def test_every_sequence_is_one_of_the_problem(name):
    sizes, sequences = drawn(name)
    for size, inputs, targets, length in zip(sizes, *sequences, strict=True):
        found = CHECKS[name](inputs.tolist(), targets.tolist())
        assert np.array_equal(np.atleast_1d(found), size)
        assert length == np.flatnonzero((targets >= 0).any(axis=1)).max() + 1
        assert not inputs[length:].any()


@pytest.mark.parametrize("name", VECTORS)
def test_nothing_is_shown_while_it_is_asked_and_bits_are_fair(name):
    _, sequences = drawn(name, count=400)
    asked = sequences.asked.any(axis=-1)
    assert not sequences.inputs[asked].any()
    bits = sequences.targets[sequences.asked[..., :6].all(axis=-1)][:, :6]
    assert abs(bits.mean() - 0.5) < 0.05


@pytest.mark.parametrize("name", VECTORS)
def test_padding_changes_nothing_but_the_length(name):
    _, short = drawn(name, steps=80)
    _, long = drawn(name, steps=90)
    for less, more in zip(short[:2], long[:2], strict=True):
        np.testing.assert_array_equal(less, more[:, :80])
    np.testing.assert_array_equal(short.lengths, long.lengths)


@pytest.mark.parametrize("name", VECTORS)
def test_sizes_of_training_and_test(name):
    problem = VECTORS[name]
    sizes = problem.sizes(8)
    tests = problem.test_sizes(8)
    assert tests[0] == tuple(sizes.max(axis=0))
    assert len({tuple(size) for size in sizes.tolist()}) == len(sizes)
    for size in tests:
        sequences = problem.draw(np.array([size]), int(problem.steps(np.array([size]))[0]),
                                 np.random.default_rng(0))  # fmt: skip
        CHECKS[name](sequences.inputs[0].tolist(), sequences.targets[0].tolist())
    if name == "copy":
        assert VECTORS["copy"].test_sizes(20) == [(20,), (40,), (80,), (120,)]
    if name == "priority_sort":
        assert VECTORS[name].draw(np.array([[20]]), 37, np.random.default_rng(0)).lengths == [37]


@pytest.mark.parametrize("name", VECTORS)
def test_a_line_is_read_and_its_answer_told(name):
    problem = VECTORS[name]
    line, answer = LINES[name]
    shown = problem.read(line)
    sequences = problem.arrange(shown, int(problem.steps(shown.sizes)[0]))
    CHECKS[name](sequences.inputs[0].tolist(), sequences.targets[0].tolist())
    asked = sequences.targets[0][sequences.asked[0].any(axis=-1)].astype(int)
    assert problem.tell(asked) == answer


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("copy", ""),
        ("copy", "0110010"),
        ("copy", "01100102"),
        ("repeat_copy", "01100101"),
        ("repeat_copy", "0 01100101"),
        ("repeat_copy", "x 01100101"),
        ("repeat_copy", "2"),
        ("associative_recall", "011001 111100 000001"),
        ("associative_recall", "011001 111100 000001 ? 011001 111100 000001"),
        ("associative_recall", "011001 111100, 101010 000111 ? 011001 111100"),
        ("associative_recall", "011001 111100 000001, 101010 000111 110011 ? 000000 111100 000001"),
        ("priority_sort", "01100101"),
        ("priority_sort", "2.0 01100101"),
        ("priority_sort", "nan 01100101"),
        ("priority_sort", "0.5 01100101 11110000"),
    ],
)
def test_a_line_that_cannot_be_read(name, line):
    with pytest.raises(ValueError):
        VECTORS[name].read(line)


def test_the_end_that_repeat_copy_tells_ends_its_answer():
    bits = np.eye(9, dtype=int)[[0, 1, 8, 2]]
    assert VECTORS["repeat_copy"].tell(bits) == "10000000 01000000"
    assert VECTORS["repeat_copy"].tell(bits[:2]) == "10000000 01000000"
