"""Pictures become batches."""

import dataclasses

import numpy as np
import pytest

from applications.recognition import data
from applications.recognition.config import RecognitionConfig
from applications.training.config import refuse_without_effect
from applications.training.data import epoch_counter
from applications.training.errors import UserError
from tests.applications.recognition import mnist_files


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A config that reads a small MNIST."""
    folder = mnist_files.write(tmp_path_factory.mktemp("mnist"), train=60)
    return RecognitionConfig(data="mnist", data_dir=folder, canvas=40, clutter=1, batch_size=8)


def batches(dataset):
    return [(images.numpy(), labels.numpy()) for images, labels in dataset]


def test_a_batch_holds_scenes_and_labels(config):
    two = dataclasses.replace(config, canvas=60, num_objects=2, clutter=0)
    read = data.datasets(two, epoch_counter())
    images, labels = next(iter(read.train))
    assert images.shape == (8, 60, 60, 1) and labels.shape == (8, 2)
    assert (images.numpy().max(axis=(1, 2, 3)) == 200).all()
    assert read.facts == data.Facts((60, 60, 1), 2, tuple("0123456789"))


def test_training_order_and_places_follow_from_seed_and_epoch_alone(config):
    epoch, other = epoch_counter(), epoch_counter()
    train, again = (data.datasets(config, each).train for each in (epoch, other))
    first = batches(train)
    epoch.assign(1)
    second = batches(train)
    other.assign(1)
    for ours, theirs in zip(second, batches(again), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
    assert len(first) == train.cardinality() == 54 // 8
    assert any((a[0] != b[0]).any() for a, b in zip(first, second, strict=True))
    seeded = data.datasets(dataclasses.replace(config, seed=2), epoch_counter()).train
    assert any((a[0] != b[0]).any() for a, b in zip(first, batches(seeded), strict=True))


def test_test_scenes_are_the_same_for_every_seed(config):
    one, two = (
        data.datasets(dataclasses.replace(config, seed=seed), epoch_counter()) for seed in (1, 2)
    )
    for ours, theirs in zip(one.examples.test, two.examples.test, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert one.examples.test.labels[:, 0].tolist() == [n % 10 for n in range(20)]
    images = np.concatenate([images for images, _ in batches(one.test)])
    np.testing.assert_array_equal(images, one.examples.test.images)


def test_facts_are_written_and_read(tmp_path):
    facts = data.Facts((60, 60, 3), 2, ("frog", "Käfer"))
    data.save_facts(facts, tmp_path)
    assert data.load_facts(tmp_path) == facts


def test_more_batch_than_data_is_refused(config):
    with pytest.raises(UserError, match="--batch-size 64 is more than the 54 pictures"):
        data.datasets(dataclasses.replace(config, batch_size=64), epoch_counter())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "mnist"}, "--data mnist needs --data-dir"),
        ({"data": "imagenet"}, "--data must be digits, mnist or tfds:NAME. Received: imagenet"),
        ({"num_glimpses": 0}, "--num-glimpses must be at least 1. Received: 0"),
        ({"clutter": -1, "canvas": 60}, "--clutter must be at least 0. Received: -1"),
        ({"location_std": 0.0}, "--location-std must be positive. Received: 0.0"),
        ({"num_glimpses": 3, "attention": "none"}, "--num-glimpses needs --attention learned or"),
        ({"baseline": "none", "attention": "random"}, "--baseline needs --attention learned"),
        ({"dropout": 1.0}, r"--dropout must be in \[0, 1\). Received: 1.0"),
        ({"shift": 1, "canvas": 60}, "--shift is for pictures without a --canvas"),
        ({"average": 1.0}, r"--average must be in \[0, 1\). Received: 1.0"),
        ({"num_objects": 2}, "--clutter and --num-objects need a --canvas"),
    ],
)
def test_flags_that_cannot_be(changes, words):
    with pytest.raises(UserError, match=words):
        refuse_without_effect(RecognitionConfig(**changes), RecognitionConfig())
