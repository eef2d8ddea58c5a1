"""Recordings of single digits become strings, and none is in two parts."""

import functools
from pathlib import Path

import numpy as np
import pytest

from applications.speech import recordings, wav
from applications.speech.strings import DIGITS, Strings
from applications.training.errors import DataError
from tests.applications.speech import digit_files

FSDD = Path(__file__).parents[4] / "shared" / "data" / "fsdd"
QUIET = Strings(shortest=2, longest=5, gap=0.1, noise=0.0, sample_rate=8000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small data set, as it lies after cloning."""
    return digit_files.write(tmp_path_factory.mktemp("fsdd") / "recordings").parent


def indices(voices):
    """Which recordings a part holds: (speaker, digit, index)."""
    return {
        (speaker, digit, index)
        for speaker, voice in voices.items()
        for digit, sounds in enumerate(voice)
        for index in digit_files.INDICES
        for sound in sounds
        if np.allclose(sound, digit_files.recording(digit, speaker, index), atol=1e-4)
    }


def all_of(speakers, among):
    return {(speaker, digit, at) for speaker in speakers for digit in range(10) for at in among}


def test_official_parts(folder):
    train, validation, test = recordings.read(folder, "", 8000)
    assert indices(train) == all_of(digit_files.SPEAKERS, (10, 49))
    assert indices(validation) == all_of(digit_files.SPEAKERS, (5, 9))
    assert indices(test) == all_of(digit_files.SPEAKERS, (0, 4))


def test_a_held_out_speaker_is_heard_in_test_alone(folder):
    train, validation, test = recordings.read(folder / "recordings", "bert", 8000)
    assert indices(train) == all_of(["anna"], (0, 4, 10, 49))
    assert indices(validation) == all_of(["anna"], (5, 9))
    assert indices(test) == all_of(["bert"], digit_files.INDICES)


def test_a_string_is_of_recordings_of_one_speaker_where_its_spans_are(folder):
    voices = recordings.read(folder, "", 8000).train
    speaker = functools.partial(recordings.speaker, voices=voices)
    seen = set()
    for string in QUIET.draw(20, speaker, [0, 1, 0]):
        said = set()
        for word, (start, end) in zip(string.text.split(), string.spans, strict=True):
            sound = string.audio[round(start * 8000) : round(end * 8000)]
            digit = DIGITS.index(word)
            said |= {
                (who, index)
                for who, voice in voices.items()
                for index, each in enumerate(voice[digit])
                if np.array_equal(each, sound)
            }
        assert len({who for who, _ in said}) == 1
        seen |= said
    assert seen == {(who, index) for who in digit_files.SPEAKERS for index in (0, 1)}


def small(tmp_path):
    return digit_files.write(tmp_path / "small")


def test_a_name_of_another_form_is_told(tmp_path):
    folder = small(tmp_path)
    (folder / "seven_anna_1.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"seven_anna_1.wav: expected a name like 7_jackson_32"):
        recordings.read(folder, "", 8000)


def test_another_rate_is_told(tmp_path):
    folder = small(tmp_path)
    wav.write(folder / "3_anna_5.wav", np.zeros(9), 16_000)
    with pytest.raises(DataError, match="3_anna_5.wav: expected 8000 samples a second. Found: 16"):
        recordings.read(folder, "", 8000)


def test_a_missing_digit_is_told(tmp_path):
    folder = small(tmp_path)
    for index in (5, 9):
        (folder / f"7_bert_{index}.wav").unlink()
    words = "small: expected all ten digits of bert for validation. Missing: 7"
    with pytest.raises(DataError, match=words):
        recordings.read(folder, "", 8000)
    assert recordings.read(folder, "bert", 8000).test["bert"][7]


def test_missing_recordings_and_speakers_are_told(tmp_path):
    with pytest.raises(DataError, match="nowhere: expected WAV files like 7_jackson_32.wav here"):
        recordings.read(tmp_path / "nowhere", "", 8000)
    folder = small(tmp_path)
    with pytest.raises(DataError, match="of carl and of others. Found those of: anna, bert"):
        recordings.read(folder, "carl", 8000)
    for path in folder.glob("*_4?.wav"):
        path.unlink()
    for path in folder.glob("*_10.wav"):
        path.unlink()
    with pytest.raises(DataError, match="small: expected recordings for train, found none"):
        recordings.read(folder, "", 8000)


@pytest.mark.skipif(not FSDD.is_dir(), reason="needs ../shared/data/fsdd")
def test_the_real_recordings_are_read():
    train, validation, test = recordings.read(FSDD, "theo", 8000)
    assert sorted(train) == sorted(validation) == "george jackson lucas nicolas yweweler".split()
    assert list(test) == ["theo"]
    counts = [
        sum(len(sounds) for voice in part.values() for sounds in voice)
        for part in (train, validation, test)
    ]
    assert counts == [2250, 250, 500]
