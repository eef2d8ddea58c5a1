"""Pictures with captions become batches."""

import dataclasses

import numpy as np
import pytest

from applications.captioning import data
from applications.captioning.config import PRESETS, CaptioningConfig
from applications.training import text
from applications.training.config import refuse_without_effect
from applications.training.data import epoch_counter
from applications.training.errors import UserError
from tests.applications.captioning import photographs


@pytest.fixture
def config(tmp_path):
    """Photographs in Flickr8k's layout, small and read as they are."""
    photographs.flickr8k(tmp_path / "data")
    return CaptioningConfig(
        run_dir=tmp_path / "run",
        data="flickr8k",
        data_dir=tmp_path / "data",
        image_size=16,
        batch_size=5,
    )


def captions(dataset):
    return [inputs["caption"].numpy() for inputs, _, _ in dataset]


def test_a_batch_holds_what_it_should(config):
    read = data.datasets(config, epoch_counter())
    inputs, targets, weights = next(iter(read.validation))
    tokenizer = read.facts.tokenizer
    assert inputs["image"].shape == (5, 16, 16, 3)
    first = read.examples.validation.pictures[0].captions
    decoded = tokenizer.decode(targets["logits"]).numpy().tolist()
    assert [each.decode() for each in decoded[:2]] == list(first)
    np.testing.assert_array_equal(inputs["image"][0], inputs["image"][1])  # one picture, twice
    np.testing.assert_array_equal(inputs["image"][0], read.examples.validation.arrays[0])
    assert (inputs["caption"].numpy()[:, 0] == text.START).all()
    real = targets["logits"].numpy() != text.PAD
    np.testing.assert_array_equal(targets["weights"], real)
    np.testing.assert_array_equal(weights["logits"], real)
    assert weights["weights"].numpy().tolist() == [1.0] * 5
    ends = (targets["logits"].numpy() == text.END).sum(axis=1)
    assert ends.tolist() == [1] * 5
    shifted = np.where(inputs["caption"][:, 1:] == targets["logits"][:, :-1], 1, 0)
    assert (shifted + (targets["logits"].numpy()[:, :-1] == text.END) + ~real[:, :-1] >= 1).all()


def test_captions_are_lower_case_without_punctuation(config):
    known = data.datasets(config, epoch_counter()).examples.known
    assert known == {"a dog runs", "the brown dog running", "two cats sit on a mat"}


def test_training_order_follows_from_seed_and_epoch_alone(config):
    epoch, other = epoch_counter(), epoch_counter()
    train, again = (data.datasets(config, each).train for each in (epoch, other))
    first = captions(train)
    epoch.assign(1), other.assign(1)
    second = captions(train)
    assert len(first) == train.cardinality() == 36 // 5
    for ours, theirs in zip(second, captions(again), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    pairs = zip(first, second, strict=True)
    assert not all(np.array_equal(a, b) for a, b in pairs)


def test_long_captions_are_not_trained_on_and_counted(config, capsys):
    train = data.datasets(dataclasses.replace(config, max_length=4), epoch_counter()).train
    assert max(each.shape[1] for each in captions(train)) <= 5
    out = capsys.readouterr().out
    assert "flickr8k: 18 training pictures, 36 captions, of which 12 longer than 4 words" in out


def test_what_becomes_of_pictures_is_kept_in_the_run_folder(config, capsys):
    first = data.datasets(config, epoch_counter()).examples.test
    assert "reading 3 pictures into" in capsys.readouterr().out
    again = data.datasets(config, epoch_counter()).examples.test
    assert "reading" not in capsys.readouterr().out
    np.testing.assert_array_equal(first.arrays, again.arrays)
    other = data.datasets(dataclasses.replace(config, image_size=24), epoch_counter())
    assert other.examples.test.arrays.shape == (3, 24, 24, 3)


def test_scenes_are_drawn_anew_for_every_epoch():
    pytest.importorskip("sklearn")
    config = dataclasses.replace(PRESETS["scenes"], num_examples=64, batch_size=16)
    epoch = epoch_counter()
    read = data.datasets(config, epoch)

    def images():
        return np.concatenate([inputs["image"] for inputs, _, _ in read.train])

    first = images()
    epoch.assign(1)
    second = images()
    assert first.shape == second.shape == (64, 64, 64, 1)
    assert not np.array_equal(np.sort(first, axis=0), np.sort(second, axis=0))
    epoch.assign(0)
    np.testing.assert_array_equal(images(), first)
    assert len(read.examples.test.pictures) == data.NUM_HELD_OUT_SCENES


def test_scenes_of_validation_and_test_do_not_depend_on_the_seed():
    pytest.importorskip("sklearn")
    config = dataclasses.replace(PRESETS["scenes"], num_examples=64)
    one, other = (
        data.datasets(dataclasses.replace(config, seed=seed), epoch_counter()) for seed in (1, 2)
    )
    np.testing.assert_array_equal(one.examples.test.arrays, other.examples.test.arrays)
    assert captions(one.train)[0].shape != () and one.examples.known != other.examples.known


def test_facts_are_read_as_they_were_written(config, tmp_path):
    facts = data.datasets(config, epoch_counter()).facts
    folder = tmp_path / "facts"
    folder.mkdir()
    data.save_facts(facts, folder)
    again = data.load_facts(folder)
    assert again.tokenizer.size == facts.tokenizer.size
    assert again.pictures.shape == facts.pictures.shape == (16, 16, 3)


def test_more_batch_than_data_is_refused(config):
    with pytest.raises(UserError, match="--batch-size 64 is more than the 36 captions"):
        data.datasets(dataclasses.replace(config, batch_size=64), epoch_counter())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "flickr30k"}, "--data must be scenes, coco, flickr8k or tfds:NAME. Received: f"),
        ({"data": "coco"}, "--data coco needs --data-dir, the folder of its files"),
        ({"encoder": "VGG16"}, "--data scenes needs --encoder cnn, not VGG16"),
        ({"data": "tfds:x", "encoder": "squeezenet"}, "--encoder squeezenet needs --encoder-wei"),
        ({"encoder_weights": "w.h5"}, "--encoder-weights needs a frozen --encoder, not cnn"),
        ({"baseline": "leave_one_out"}, "--baseline leave_one_out needs --samples 2 at least"),
        ({"samples": 0}, "--samples must be at least 1. Received: 0"),
        ({"doubly_stochastic": -1.0}, "--doubly-stochastic must be at least 0. Received: -1.0"),
        ({"samples": 4}, "--samples needs --attention hard, not soft. Received: 4"),
        ({"withhold_mean": 1.5}, r"--withhold-mean must be in \[0, 1\]. Received: 1.5"),
        ({"semi_sampling": 1.0}, r"--semi-sampling must be in \[0, 1\). Received: 1.0"),
    ],
)
def test_flags_that_cannot_be(changes, words):
    with pytest.raises(UserError, match=words):
        refuse_without_effect(CaptioningConfig(**changes), CaptioningConfig())
