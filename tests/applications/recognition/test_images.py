"""Pictures are read from where they are, and what is wrong with a file is said."""

import dataclasses
import gzip
import warnings

import numpy as np
import pytest

from applications.recognition import images
from applications.recognition.config import PRESETS, RecognitionConfig
from applications.training.errors import DataError
from tests.applications.recognition import mnist_files


def mnist(folder):
    return RecognitionConfig(data="mnist", data_dir=folder)


def test_digits_come_with_scikit_learn():
    pytest.importorskip("sklearn")
    splits = images.read(PRESETS["digits"])
    assert [len(part.labels) for part in splits[:3]] == [1295, 143, 359]
    assert splits.train.pixels.shape[1:] == (8, 8, 1) and splits.train.pixels.dtype == np.uint8
    assert splits.train.pixels.max() == 255 and set(splits.test.labels) == set(range(10))
    everything = np.concatenate([part.pixels.reshape(-1, 64) for part in splits[:3]])
    assert everything.sum() == np.round(load_digits() * 255 / 16).sum()


def load_digits():
    from sklearn.datasets import load_digits

    return load_digits().images


@pytest.mark.parametrize("compress", [True, False])
def test_mnist_is_read_from_its_four_files(tmp_path, compress):
    splits = images.read(mnist(mnist_files.write(tmp_path, compress=compress)))
    assert [len(part.labels) for part in splits[:3]] == [36, 4, 20]
    assert splits.train.labels.tolist()[:12] == [*range(10), 0, 1]
    assert splits.validation.labels.tolist() == [6, 7, 8, 9]
    assert splits.test.pixels.shape == (20, 28, 28, 1)
    assert splits.test.pixels[3, 10, 4] == 200 and splits.class_names == tuple("0123456789")


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("train-images-idx3-ubyte", None, "expected train-images-idx3-ubyte.gz, or train-images"),
        ("train-labels-idx1-ubyte", lambda c: gzip.compress(c)[:-9], "cannot be read"),
        ("t10k-images-idx3-ubyte", lambda c: b"no gzip", "cannot be read: Not a gzipped file"),
        ("t10k-images-idx3-ubyte", lambda c: gzip.compress(c[:-5]), "expected 20 records. The fil"),
        ("t10k-labels-idx1-ubyte", lambda c: gzip.compress(b"xx"), "expected an IDX file of byte"),
        (
            "t10k-labels-idx1-ubyte",
            lambda c: gzip.compress(c[:7] + b"\x03abc"),
            "expected 20 labels. Found: 3",
        ),
        (
            "t10k-labels-idx1-ubyte",
            lambda c: gzip.compress(c[:-1] + b"\x0b"),
            "expected labels from 0 to 9. Found: 11",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, name, spoil, words):
    path = mnist_files.write(tmp_path) / f"{name}.gz"
    if spoil is None:
        path.unlink()
    else:
        path.write_bytes(spoil(gzip.decompress(path.read_bytes())))
    with pytest.raises(DataError, match=words) as caught:
        images.read(mnist(tmp_path))
    assert str(tmp_path) in str(caught.value) and name in str(caught.value)


def test_a_tfds_set_is_read():
    tfds = pytest.importorskip("tensorflow_datasets")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TFDS warns of its own mock data
        with tfds.testing.mock_data(num_examples=10):
            splits = images.read(RecognitionConfig(data="tfds:cifar10"))
            with pytest.raises(DataError, match="tfds:caltech101: expected an `image` of one size"):
                images.read(RecognitionConfig(data="tfds:caltech101"))
    assert [len(part.labels) for part in splits[:3]] == [9, 1, 10]
    assert splits.train.pixels.shape == (9, 32, 32, 3) and len(splits.class_names) == 10


def test_an_unknown_tfds_set_is_named():
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(DataError, match="tfds:no_such_set"):
        images.read(RecognitionConfig(data="tfds:no_such_set"))


def test_presets_are_complete():
    for name, preset in PRESETS.items():
        assert dataclasses.replace(preset) == preset and name in str(preset.run_dir)
