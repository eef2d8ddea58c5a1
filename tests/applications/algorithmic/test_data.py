"""Sequences become batches."""

import dataclasses

import numpy as np
import pytest

from applications.algorithmic import data
from applications.algorithmic.config import PRESETS, AlgorithmicConfig
from applications.algorithmic.problems import LANGUAGES, PROBLEMS
from applications.training.config import refuse_without_effect
from applications.training.data import epoch_counter
from applications.training.errors import UserError

VECTORS = AlgorithmicConfig(max_size=4, batch_size=8, updates=19, held_out=30)
STREAMS = AlgorithmicConfig(
    problem="anbncn", model="stack", max_size=9, batch_size=8, updates=5, held_out=30, stream=24
)


def batches(dataset):
    return [(inputs.numpy(), targets.numpy()) for inputs, targets in dataset]


def drawn(config, epochs=(0,)):
    """The training batches of some epochs."""
    epoch = epoch_counter()
    train = data.datasets(config, epoch).train
    found = []
    for number in epochs:
        epoch.assign(number)
        found.append(batches(train))
    return found


@pytest.mark.parametrize("config", [VECTORS, STREAMS], ids=["vectors", "streams"])
def test_training_follows_from_seed_and_epoch_alone(config):
    first, second = drawn(config, (0, 1))
    (again,) = drawn(config, (1,))
    assert len(first) == len(second) == config.updates
    for ours, theirs in zip(second, again, strict=True):
        for one, another in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, another)
    (seeded,) = drawn(dataclasses.replace(config, seed=2))
    for others in (second, seeded):
        assert not np.array_equal(first[0][0], others[0][0])


def test_batches_of_vectors_are_of_all_sizes_and_padded_alike():
    (found,) = drawn(VECTORS)
    assert {inputs.shape for inputs, _ in found} == {(8, 9, 9)}
    assert {targets.shape for _, targets in found} == {(8, 9, 8)}
    sizes = np.concatenate([inputs[..., 8].argmax(axis=1) for inputs, _ in found])
    assert set(sizes) == {1, 2, 3, 4}


def test_words_grow_from_epoch_to_epoch_until_they_are_as_large_as_can_be():
    longest = []
    for epoch in drawn(STREAMS, (0, 3, 6, 20)):
        streams = np.concatenate([inputs for inputs, _ in epoch])
        runs = ["".join(map(str, row)).split("1") for row in streams]
        longest.append(max(len(run.split("2")[-1]) for row in runs for run in row))
    assert longest[0] == 3 and longest[1] <= 6 and 6 < longest[2] <= 9 and longest[3] <= 9


@pytest.mark.parametrize("config", [VECTORS, STREAMS], ids=["vectors", "streams"])
def test_held_out_sequences_are_the_same_for_every_seed_and_not_each_other(config):
    one, two = (
        data.datasets(dataclasses.replace(config, seed=seed), epoch_counter()) for seed in (1, 2)
    )
    for ours, theirs in zip(one.examples.tests, two.examples.tests, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.sequences.inputs, theirs.sequences.inputs)
    validation, tests = one.examples
    ((inputs, targets),) = batches(one.validation)
    np.testing.assert_array_equal(inputs, validation.inputs)
    np.testing.assert_array_equal(targets, validation.targets)
    assert not np.array_equal(validation.inputs, tests[0].sequences.inputs)


def test_tests_are_of_the_sizes_of_training_and_of_larger_ones():
    tests = data.datasets(VECTORS, epoch_counter()).examples.tests
    assert [test.name for test in tests] == ["mixed", "4", "8", "16", "24"]
    assert [set(test.sequences.lengths) for test in tests[1:]] == [{9}, {17}, {33}, {49}]
    (test,) = data.datasets(STREAMS, epoch_counter()).examples.tests
    assert test.sizes == ["2", "3", "4", "5", "6"]
    assert test.sequences.lengths.tolist() == [30 * size for size in range(2, 7)]


def test_facts_are_written_and_read(tmp_path):
    facts = data.datasets(STREAMS, epoch_counter()).facts
    data.save_facts(facts, tmp_path)
    assert data.load_facts(tmp_path) == facts == data.Facts(3, 3, "abc")


def test_every_problem_has_a_preset_and_a_control():
    assert set(PRESETS) == {f"{name}{end}" for name in PROBLEMS for end in ("", "_lstm")}
    assert next(iter(PRESETS)) == "copy"
    for name, preset in PRESETS.items():
        assert dataclasses.replace(preset) == preset and name == preset.run_dir.name
        problem = name.removesuffix("_lstm")
        machine = "stack" if problem in LANGUAGES else "ntm"
        assert preset.problem == problem
        assert preset.model == ("lstm" if name.endswith("_lstm") else machine)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_size": 1}, "--max-size must be at least 2. Received: 1"),
        ({"slots": 2}, "--slots must be at least 3. Received: 2"),
        ({"heads": 0}, "--heads must be at least 1. Received: 0"),
        ({"depth": 1, "model": "stack"}, "--depth must be at least 2. Received: 1"),
        ({"stacks": 3}, "--stacks needs --model stack, not ntm. Received: 3"),
        ({"rounding": False}, "--rounding needs --model stack, not ntm. Received: False"),
        ({"heads": 2, "model": "lstm"}, "--heads needs --model ntm, not lstm. Received: 2"),
        ({"layers": 2}, "--layers needs --model lstm, not ntm. Received: 2"),
        ({"stream": 50}, "--stream is for languages, and copy is none. Received: 50"),
        ({"data_dir": "here"}, "--data-dir: the sequences are made up"),
    ],
)
def test_flags_that_cannot_be(changes, words):
    with pytest.raises(UserError, match=words):
        refuse_without_effect(AlgorithmicConfig(**changes), AlgorithmicConfig())
