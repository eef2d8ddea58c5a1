"""Sequences become batches."""

import dataclasses

import numpy as np
import pytest

from applications.long_term_memory import data
from applications.long_term_memory.config import PRESETS, LongTermMemoryConfig
from applications.training.data import epoch_counter
from applications.training.errors import UserError

CONFIG = LongTermMemoryConfig(length=30, batch_size=8, updates=5, held_out=19)
VARIABLE = dataclasses.replace(CONFIG, max_length=200)


def batches(dataset):
    return [
        (inputs["sequence"].numpy(), inputs["lengths"].numpy(), answers.numpy())
        for inputs, answers in dataset
    ]


def test_batches_hold_sequences_of_every_length():
    read = data.datasets(CONFIG, epoch_counter())
    drawn = batches(read.train)
    assert len(drawn) == 5 == read.train.cardinality()
    for sequence, lengths, answers in drawn:
        assert sequence.shape == (8, 33, 2) and answers.shape == (8, 1)
        for steps, length in zip(sequence, lengths, strict=True):
            assert steps[length - 1, 1] == -1.0 and not steps[length:].any()
    everything = np.concatenate([lengths for _, lengths, _ in drawn])
    assert set(everything) == {30, 31, 32, 33}
    assert read.facts == data.Facts(33, ())


def test_a_batch_of_variable_lengths_has_many():
    drawn = batches(data.datasets(dataclasses.replace(VARIABLE, updates=60), epoch_counter()).train)
    assert all(sequence.shape == (8, 200, 2) for sequence, _, _ in drawn)
    assert np.mean([len(set(lengths)) for _, lengths, _ in drawn]) > 7
    everything = np.concatenate([lengths for _, lengths, _ in drawn])
    assert 30 <= everything.min() < 35 and 195 < everything.max() <= 200


def test_held_out_lengths_cover_the_range_evenly():
    read = data.datasets(VARIABLE, epoch_counter())
    lengths = np.concatenate([each.lengths for each in read.examples.test])
    np.testing.assert_array_equal(lengths, np.linspace(30, 200, 19).astype(int))
    assert [len(each.lengths) for each in read.examples.test] == [8, 8, 3]


@pytest.mark.parametrize("config", [CONFIG, VARIABLE, dataclasses.replace(CONFIG, problem="order")])
def test_training_follows_from_seed_and_epoch_alone(config):
    epoch, other = epoch_counter(), epoch_counter()
    train, again = (data.datasets(config, each).train for each in (epoch, other))
    first = batches(train)
    epoch.assign(1)
    second = batches(train)
    other.assign(1)
    for ours, theirs in zip(second, batches(again), strict=True):
        for one, another in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, another)
    seeded = data.datasets(dataclasses.replace(config, seed=2), epoch_counter()).train
    for others in (second, batches(seeded)):
        assert not np.array_equal(first[0][0][:, :22], others[0][0][:, :22])


def test_held_out_sequences_are_the_same_for_every_seed_and_not_each_other():
    one, two = (
        data.datasets(dataclasses.replace(CONFIG, seed=seed), epoch_counter()) for seed in (1, 2)
    )
    for ours, theirs in zip(one.examples.test, two.examples.test, strict=True):
        np.testing.assert_array_equal(ours.sequence, theirs.sequence)
    for part, examples in (("validation", one.examples.validation), ("test", one.examples.test)):
        for (sequence, _, answers), batch in zip(
            batches(getattr(one, part)), examples, strict=True
        ):
            np.testing.assert_array_equal(sequence, batch.sequence)
            np.testing.assert_array_equal(answers, batch.answers)
    validation, test = one.examples
    assert (validation[0].sequence != test[0].sequence).any()


def test_no_number_of_sequences_drawn_at_once_leaves_a_batch_out(monkeypatch):
    monkeypatch.setattr(data, "_NUMBERS", 2 * 8 * 33)  # two batches at once, and one at last
    assert len(batches(data.datasets(CONFIG, epoch_counter()).train)) == 5


def test_facts_are_written_and_read(tmp_path):
    facts = data.datasets(dataclasses.replace(CONFIG, problem="order"), epoch_counter()).facts
    data.save_facts(facts, tmp_path)
    assert data.load_facts(tmp_path) == facts == data.Facts(33, ("XX", "XY", "YX", "YY"))


def test_presets_are_complete():
    for name, preset in PRESETS.items():
        assert dataclasses.replace(preset) == preset and name in str(preset.run_dir)
        assert (preset.batch_size, preset.updates, preset.held_out) == (100, 1000, 1000)
    lengths = {name: preset.longest for name, preset in PRESETS.items()}
    assert lengths["addition_50"] == 55 and lengths["multiplication_10000"] == 11000
    assert lengths["addition_variable"] == 10000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"length": 21}, "--length must be at least 22. Received: 21"),
        ({"units": 0}, "--units must be at least 1. Received: 0"),
        ({"updates": 0}, "--updates must be at least 1. Received: 0"),
        ({"held_out": 0}, "--held-out must be at least 1. Received: 0"),
        ({"max_length": 49}, "--max-length must be 0 or at least --length 50. Received: 49"),
        ({"average_epochs": 2}, "--average-epochs is not for long_term_memory.* Received: 2"),
        ({"data_dir": "here"}, "--data-dir: the sequences are made up"),
    ],
)
def test_flags_that_cannot_be(changes, words):
    with pytest.raises(UserError, match=words):
        LongTermMemoryConfig(**changes)
