"""WAV files with transcripts, and TensorFlow Datasets."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from applications.speech import sources, wav
from applications.training.errors import DataError


def sound(number, length=800):
    return np.full(length, number / 16, np.float32)


@pytest.fixture
def tsvs(tmp_path):
    """Three TSVs, each of recordings in a folder beside it; number 3 is longer than the others."""
    (tmp_path / "clips").mkdir()
    found = []
    for part, numbers in (("train", range(6)), ("dev", (6,)), ("test", (8, 7))):
        lines = []
        for number in numbers:
            length = 1601 if number == 3 else 800 + number
            wav.write(tmp_path / "clips" / f"{number}.wav", sound(number, length), 8000)
            lines.append(f"clips/{number}.wav\tword {number}\n")
        path = tmp_path / f"{part}.tsv"
        path.write_text("".join(lines), encoding="utf-8")
        found.append((path,))
    return found


def texts(recordings):
    return [recording.text for recording in recordings]


def test_files_are_read(tsvs):
    train, validation, test, longer = sources.files(tsvs, 8000, 10.0, seed=1)
    assert texts(validation) == ["word 6"] and texts(test) == ["word 8", "word 7"] and not longer
    np.testing.assert_array_equal(test[0].audio, sound(8, 808))
    assert test[0].spans is None
    assert train.count == 6 and train.left_out == 0
    assert train.seconds == (5 * 800 + 0 + 1 + 2 + 4 + 5 + 1601) / 8000
    for recording in train.of_epoch(0):
        assert (recording.audio == int(recording.text[-1]) / 16).all()


def test_long_recordings_are_not_trained_on(tsvs):
    train = sources.files(tsvs, 8000, max_seconds=0.2, seed=1).train
    assert (train.count, train.left_out) == (5, 1)
    assert "word 3" not in texts(train.of_epoch(0)) and "word 3" not in train.texts


def test_every_epoch_has_an_order_of_its_own(tsvs):
    orders = [
        texts(sources.files(tsvs, 8000, 10.0, seed).train.of_epoch(epoch))
        for seed, epoch in ((1, 0), (1, 1), (2, 0), (1, 1))
    ]
    assert orders[1] == orders[3] and sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1] and orders[0] != orders[2]


def test_several_tsvs_are_one_part(tsvs):
    (train,), dev, test = tsvs
    joined = sources.files([(train, *dev), dev, test], 8000, 10.0, seed=1).train
    assert joined.count == 7


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("clips/1.wav word", r"dev\.tsv:2: expected WAV file, tab, transcript. Found: 'clips/1"),
        ("clips/1.wav\ta\tb", r"dev\.tsv:2: expected WAV file, tab, transcript"),
        ("clips/1.wav\t ", r"dev\.tsv:2: expected WAV file, tab, transcript"),
        ("clips/99.wav\tword", r"99\.wav: cannot be read: No such file"),
        ("fast.wav\tword", r"fast\.wav: expected 8000 samples a second. Found: 16000"),
    ],
)
def test_a_bad_line_is_told(tsvs, line, words):
    path = tsvs[1][0]
    wav.write(path.parent / "fast.wav", sound(1), 16_000)
    path.write_text(f"clips/6.wav\tword\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=words):
        sources.files(tsvs, 8000, 10.0, seed=1)


@pytest.mark.parametrize("name", ["librispeech", "speech_commands"])
def test_tfds_sets_are_read_as_they_are_declared(name):
    tfds = pytest.importorskip("tensorflow_datasets")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TFDS warns of its own mock data
        with tfds.testing.mock_data(num_examples=3):
            found = sources.tfds(name, None, 16_000, 1e9)
            with pytest.raises(DataError, match=f"{name}: expected 8000 samples a second. Found"):
                sources.tfds(name, None, 8000, 1e9)
    assert found.train.count == len(found.validation) == len(found.test) == 3
    first = found.test[0]
    assert first.audio.dtype == np.float32 and first.audio.ndim == 1 and first.text
    assert np.abs(first.audio).max() <= 1.0
    assert texts(found.train.of_epoch(0)) == texts(found.train.of_epoch(1)) == found.train.texts


def loads(monkeypatch, audio, names=None, **values):
    """Has TFDS load these examples, as every part."""
    tfds = pytest.importorskip("tensorflow_datasets")
    import tensorflow as tf

    def generate():
        for number, samples in enumerate(audio):
            yield {"audio": samples, **{key: each[number] for key, each in values.items()}}

    rest = {
        key: tf.TensorSpec((), tf.as_dtype(np.array(each).dtype)) for key, each in values.items()
    }
    signature = {"audio": tf.TensorSpec((None, *audio[0].shape[1:]), audio[0].dtype), **rest}
    part = tf.data.Dataset.from_generator(generate, output_signature=signature)
    features = {"audio": SimpleNamespace(sample_rate=None), **dict.fromkeys(values)}
    if names:
        features["label"] = SimpleNamespace(names=names)
    splits = []

    def load(name, split, data_dir, with_info):
        splits.append(split)
        return [part] * 3, SimpleNamespace(features=features)

    monkeypatch.setattr(tfds, "load", load)
    return splits


def test_samples_and_labels_of_tfds_become_recordings(monkeypatch):
    audio = [np.array([16384, -32768], np.int16), np.array([1, 2, 3, 4], np.int16)]
    loads(monkeypatch, audio, ["yes", "_silence_"], label=[1, 0])
    train, validation, _, _ = sources.tfds("any", None, 8000, max_seconds=3 / 8000)
    assert validation[0].audio.tolist() == [0.5, -1.0]
    assert texts(validation) == ["silence", "yes"]
    assert train.texts == texts(train.of_epoch(0)) == ["silence"]
    assert (train.count, train.left_out, train.seconds) == (1, 1, 2 / 8000)


def test_librispeech_is_trained_on_whole_and_tested_on_clean(monkeypatch):
    splits = loads(monkeypatch, [np.zeros(9, "f")], text=[b"A WORD"])
    assert sources.tfds("librispeech/default:2.1.1", None, 8000, 1.0).train.texts == ["A WORD"]
    sources.tfds("any", None, 8000, 1.0)
    train, *held_out = splits[0]
    assert train.split("+") == ["train_clean100", "train_clean360", "train_other500"]
    assert held_out == ["dev_clean", "test_clean"] and splits[1] == ["train", "validation", "test"]


def test_channels_of_tfds_are_averaged_and_numbers_are_words(monkeypatch):
    loads(monkeypatch, [np.array([[0.5, 0.0], [1.0, -1.0]], np.float32)], label=[7])
    (recording,) = sources.tfds("any", None, 8000, 1.0).test
    assert recording.audio.tolist() == [0.25, 0.0] and recording.text == "7"


def test_what_tfds_lacks_is_told(monkeypatch):
    loads(monkeypatch, [np.zeros(1, "f")], genre=[1])
    with pytest.raises(DataError, match="any: expected speech or audio, and text or label. Found"):
        sources.tfds("any", None, 8000, 1.0)


def test_an_unknown_tfds_set_is_named():
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(DataError, match="tfds:no_such_set: expected the splits"):
        sources.tfds("no_such_set", None, 8000, 1.0)
