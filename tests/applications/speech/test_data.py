"""Recordings become batches."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from applications.speech import data, features, wav
from applications.speech.config import PRESETS, SpeechConfig
from applications.speech.strings import DIGITS
from applications.training import text
from applications.training.data import epoch_counter
from applications.training.errors import UserError
from tests.applications.speech import digit_files

TONES = dataclasses.replace(PRESETS["tones"], num_examples=45, batch_size=4, num_mels=12)
SHORT = dataclasses.replace(TONES, longer=())  # takes less time, and changes nothing else


@pytest.fixture(scope="module")
def digit_strings(tmp_path_factory):
    """A config that reads a small Free Spoken Digit Dataset."""
    folder = digit_files.write(tmp_path_factory.mktemp("fsdd") / "recordings").parent
    return dataclasses.replace(SHORT, data="digit_strings", data_dir=folder)


@pytest.fixture(scope="module")
def tones():
    """What `datasets` makes of `TONES`, and its epoch."""
    epoch = epoch_counter()
    return data.datasets(TONES, epoch), epoch


@pytest.fixture
def files(tmp_path):
    """A config that reads recordings of files, the same for everything."""
    lines = []
    for number in range(9):
        wav.write(tmp_path / f"{number}.wav", np.full(400 + 80 * number, 0.1), 8000)
        lines.append(f"{number}.wav\t{'ab' * (number + 1)}\n")
    path = tmp_path / "all.tsv"
    path.write_text("".join(lines), encoding="utf-8")
    kinds = ("train_files", "validation_files", "test_files")
    return SpeechConfig(data="files", batch_size=4, **dict.fromkeys(kinds, (path,)))


def batches(dataset):
    return [
        ({name: each.numpy() for name, each in inputs.items()}, labels.numpy(), weights.numpy())
        for inputs, labels, weights in dataset
    ]


def said(facts, labels):
    return [line.decode() for line in facts.tokenizer.decode(labels).numpy()]


def test_a_batch_holds_what_it_should(tones):
    read = tones[0]
    inputs, labels, weights = batches(read.validation)[0]
    part = read.examples.validation[:4]
    assert inputs["audio_lengths"].tolist() == [len(each.audio) for each in part]
    for row, recording in zip(inputs["audio"], part, strict=True):
        np.testing.assert_array_equal(row[: len(recording.audio)], recording.audio)
        assert not row[len(recording.audio) :].any()
    assert said(read.facts, labels) == [recording.text for recording in part]
    counts = [len(recording.text.split()) + 1 for recording in part]
    assert weights.sum(axis=1).tolist() == counts and labels.shape[1] == max(counts)
    np.testing.assert_array_equal(weights > 0, labels != text.PAD)
    assert [row[count - 1] for row, count in zip(labels, counts, strict=True)] == [text.END] * 4
    assert (inputs["transcript"][:, 0] == text.START).all()
    told = np.where(labels == text.END, text.PAD, labels)[:, :-1]
    np.testing.assert_array_equal(inputs["transcript"][:, 1:], told)
    assert inputs["audio"].dtype == weights.dtype == np.float32
    assert inputs["audio_lengths"].dtype == labels.dtype == np.int32


def test_what_goes_on_teaches_no_end(tones):
    config = dataclasses.replace(SHORT, going_on=0.5)
    read = data.datasets(config, epoch_counter())
    read_again = data.datasets(config, epoch_counter())
    goes_on = []
    for (inputs, labels, weights), (again, *_) in zip(
        batches(read.train), batches(read_again.train), strict=True
    ):
        np.testing.assert_array_equal(inputs["goes_on"], again["goes_on"])
        counted = (labels != text.PAD) & ~((labels == text.END) & inputs["goes_on"][:, None])
        np.testing.assert_array_equal(weights > 0, counted)
        goes_on.extend(inputs["goes_on"])
    assert 0 < sum(goes_on) < len(goes_on)
    for part in (tones[0].train, read.validation, read.test):
        assert not any(inputs["goes_on"].any() for inputs, *_ in batches(part))


def test_held_out_parts_hold_every_string_in_order(tones):
    read = tones[0]
    for dataset, part in ((read.validation, read.examples.validation), (read.test, read[4].test)):
        found = list(itertools.chain(*(said(read.facts, labels) for _, labels, _ in dataset)))
        assert found == [recording.text for recording in part]
        assert dataset.cardinality() == -(-data.NUM_HELD_OUT // 4)


def test_longer_strings_are_tested_on_too(tones):
    longer = tones[0].examples.longer
    assert list(longer) == [5, 10]
    for factor, (validation, test) in longer.items():
        assert len(validation) == len(test) == data.NUM_LONGER
        assert {each.text for each in validation}.isdisjoint(each.text for each in test)
        for recording in (*validation, *test):
            assert 3 * factor <= len(recording.text.split()) <= 8 * factor
            assert len(recording.spans) == len(recording.text.split())


def test_training_strings_are_made_anew_and_follow_from_seed_and_epoch_alone(tones):
    read, epoch = tones
    first = batches(read.train)
    epoch.assign(1)
    second = batches(read.train)
    again_epoch = epoch_counter()
    again_epoch.assign(1)
    again = batches(data.datasets(SHORT, again_epoch).train)
    for ours, theirs in zip(second, again, strict=True):
        np.testing.assert_array_equal(ours[0]["audio"], theirs[0]["audio"])
        np.testing.assert_array_equal(ours[1], theirs[1])
    one, other = ({tuple(row) for b in each for row in b[1].tolist()} for each in (first, second))
    assert len(one & other) < 5
    epoch.assign(0)


def test_held_out_strings_are_the_same_for_every_seed(tones):
    other = data.datasets(dataclasses.replace(SHORT, seed=2), epoch_counter())
    for ours, theirs in zip(tones[0].examples.test, other.examples.test, strict=True):
        np.testing.assert_array_equal(ours.audio, theirs.audio)
    test, validation = ([each.text for each in part] for part in other.examples[1::-1])
    assert test != validation
    ours, theirs = (next(iter(each.train))[0]["audio"] for each in (tones[0], other))
    assert ours.shape != theirs.shape or (ours.numpy() != theirs.numpy()).any()


def test_training_batches_are_full_and_of_similar_length(tones):
    read = batches(tones[0].train)
    assert len(read) == tones[0].train.cardinality() == 45 // 4
    shares = [inputs["audio_lengths"].sum() / inputs["audio"].size for inputs, _, _ in read]
    assert all(len(labels) == 4 for _, labels, _ in read) and np.mean(shares) > 0.85


def test_facts_and_amounts_of_tones(tones):
    facts, amounts = tones[0].facts, tones[0].amounts
    assert sorted(facts.tokenizer.vocabulary) == sorted(DIGITS)
    assert facts.heard[:3] == (8000, 12, True)
    assert facts.heard.mean.shape == facts.heard.std.shape == (36,)
    assert amounts["examples"] == 45 and 45 < amounts["seconds"] < 45 * 6


def test_features_of_training_have_mean_0_and_deviation_1(tones):
    read = tones[0]
    found = []
    for inputs, _, _ in read.train:
        rows, frames = features.extract(inputs["audio"], inputs["audio_lengths"], read.facts.heard)
        found.append(tf.boolean_mask(rows, tf.sequence_mask(frames)).numpy())
    found = np.concatenate(found)
    assert np.abs(found.mean(axis=0)).max() < 0.3 and np.abs(found.std(axis=0) - 1).max() < 0.3


@pytest.mark.parametrize("tokens", ["words", "characters"])
def test_facts_are_written_and_read(tmp_path, files, tokens):
    config = dataclasses.replace(files, tokens=tokens, deltas=False)
    facts = data.datasets(config, epoch_counter()).facts
    data.save_facts(facts, tmp_path)
    read = data.load_facts(tmp_path)
    assert read.tokenizer.vocabulary == facts.tokenizer.vocabulary
    assert read.heard[:3] == facts.heard[:3] == (8000, 40, False)
    np.testing.assert_array_equal(read.heard.mean, facts.heard.mean)
    np.testing.assert_array_equal(read.heard.std, facts.heard.std)
    assert read.heard.mean.dtype == np.float32


def test_digit_strings_are_of_the_part_that_they_should_be(digit_strings):
    read = data.datasets(dataclasses.replace(digit_strings, noise=0.0), epoch_counter())
    for part, indices in ((read.examples.test, (0, 4)), (read.examples.validation, (5, 9))):
        for recording in part[:3]:
            for word, (start, end) in zip(recording.text.split(), recording.spans, strict=True):
                sound = recording.audio[round(start * 8000) : round(end * 8000)]
                assert any(
                    np.allclose(
                        digit_files.recording(DIGITS.index(word), who, at), sound, atol=1e-4
                    )
                    for who in digit_files.SPEAKERS
                    for at in indices
                )


def test_files_become_batches_of_similar_length(files):
    read = data.datasets(files, epoch_counter())
    assert sorted(read.facts.tokenizer.vocabulary) == ["a", "b"]
    found = batches(read.train)
    assert len(found) == 2 and read.amounts["examples"] == 9 and not read.examples.longer
    for inputs, labels, _ in found:
        lengths = np.sort(inputs["audio_lengths"])
        assert np.diff(lengths).tolist() == [80, 80, 80]
        of_text = [400 + 80 * (len(line) // 2 - 1) for line in said(read.facts, labels)]
        assert inputs["audio_lengths"].tolist() == of_text


def test_recordings_that_are_too_long_are_counted(files, capsys):
    data.datasets(dataclasses.replace(files, max_seconds=0.1), epoch_counter())
    out = capsys.readouterr().out
    assert "files: 6 recordings for training, 0.00 hours, 3 longer than 0.1 s left out" in out
    assert "9 for validation, 9 for test; 120 features, a vocabulary of 6" in out


def test_more_batch_than_data_is_refused(files):
    with pytest.raises(UserError, match="--batch-size 64 is more than the 9 recordings for train"):
        data.datasets(dataclasses.replace(files, batch_size=64), epoch_counter())


@pytest.mark.skipif(
    not (Path(__file__).parents[4] / "shared/data/fsdd").is_dir(),
    reason="needs ../shared/data/fsdd",
)
def test_the_real_recordings_become_strings():
    folder = Path(__file__).parents[4] / "shared/data/fsdd"
    config = dataclasses.replace(
        PRESETS["digit_strings"], data_dir=folder, num_examples=32, longer=()
    )
    read = data.datasets(config, epoch_counter())
    inputs, _, _ = next(iter(read.train))
    assert 0.1 < np.abs(inputs["audio"]).max() <= 1.0
    assert read.facts.tokenizer.size == 14
