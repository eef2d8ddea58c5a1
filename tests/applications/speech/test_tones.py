"""Strings of telephone tones say what their transcripts say, when their spans say."""

import functools

import numpy as np

from applications.speech import tones
from applications.speech.strings import DIGITS, Strings

RATE = 8000
KEYPAD = ("1 2 3", "4 5 6", "7 8 9", "* 0 #")
QUIET = Strings(shortest=3, longest=7, gap=0.2, noise=0.0, sample_rate=RATE)


def draw(count, how=QUIET, seed=(0, 1, 0)):
    speaker = functools.partial(tones.speaker, sample_rate=how.sample_rate)
    return list(how.draw(count, speaker, seed))


def heard(sound):
    """The key of a keypad whose two tones are the loudest."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 8192))
    frequencies = np.fft.rfftfreq(8192, 1 / RATE)

    def nearest(low, high, among):
        band = np.where((frequencies > low) & (frequencies < high), spectrum, 0)
        return int(np.abs(np.log(np.array(among) / frequencies[band.argmax()])).argmin())

    row = nearest(650, 1000, (697, 770, 852, 941))
    return KEYPAD[row].split()[nearest(1150, 1550, (1209, 1336, 1477))]


def cut(recording):
    """The samples of every span."""
    for start, end in recording.spans:
        yield recording.audio[round(start * RATE) : round(end * RATE)]


def test_every_span_sounds_as_the_key_of_its_word():
    for recording in draw(20):
        keys = [str(DIGITS.index(word)) for word in recording.text.split()]
        assert [heard(sound) for sound in cut(recording)] == keys


def test_all_sound_is_within_the_spans():
    for recording in draw(10):
        rest = recording.audio.copy()
        for start, end in recording.spans:
            assert start < end
            rest[round(start * RATE) : round(end * RATE)] = 0
        assert not rest.any() and recording.audio.any()
        edges = np.array(recording.spans).ravel()
        assert (np.diff(edges) >= 0).all() and edges[-1] <= len(recording.audio) / RATE
        gaps = np.diff([0, *edges, len(recording.audio) / RATE])[::2]
        assert gaps.max() <= 0.2 + 1 / RATE


def test_alike_digits_of_a_string_sound_alike_but_for_their_duration():
    recording = next(each for each in draw(50) if len(set(each.text.split())) < 3)
    sounds = {}
    for word, sound in zip(recording.text.split(), cut(recording), strict=True):
        sounds.setdefault(word, []).append(np.abs(np.fft.rfft(sound[200:1000])))
    alike = next(each for each in sounds.values() if len(each) > 1)
    assert np.corrcoef(alike[0], alike[1])[0, 1] > 0.98
    (one, *_), (other, *_) = list(sounds.values())[:2]
    assert np.corrcoef(one, other)[0, 1] < 0.8


def test_strings_are_of_every_length_and_every_digit():
    drawn = draw(300)
    assert {len(each.text.split()) for each in drawn} == {3, 4, 5, 6, 7}
    assert {word for each in drawn for word in each.text.split()} == set(DIGITS)
    assert all(len(each.spans) == len(each.text.split()) for each in drawn)


def test_strings_follow_from_the_seed_alone():
    for ours, theirs in zip(draw(3), draw(5), strict=False):
        np.testing.assert_array_equal(ours.audio, theirs.audio)
        assert ours[1:] == theirs[1:]
    assert draw(3)[0].text != draw(3, seed=(0, 1, 1))[0].text


def test_longer_strings_have_so_many_times_the_digits():
    lengths = {len(each.text.split()) for each in draw(60, QUIET.times(5))}
    assert min(lengths) >= 15 and max(lengths) <= 35 and len(lengths) > 5


def test_noise_is_as_loud_as_it_is_told():
    (noisy,), (quiet,) = draw(1, Strings(3, 7, 0.2, 0.1, RATE)), draw(1)
    signal = np.concatenate(list(cut(quiet))).std()
    np.testing.assert_allclose((noisy.audio - quiet.audio).std(), 0.1 * signal, rtol=0.05)
    assert noisy[1:] == quiet[1:]


def test_nothing_is_louder_than_1():
    drawn = draw(5, Strings(3, 7, 0.2, 3.0, RATE))
    assert {each.audio.dtype for each in drawn} == {np.dtype(np.float32)}
    assert max(np.abs(each.audio).max() for each in drawn) == 1.0


def test_a_low_rate_holds_no_overtone_that_it_could_not():
    recording = draw(1, Strings(3, 3, 0.0, 0.0, 4000))[0]
    spectrum = np.abs(np.fft.rfft(recording.audio)) ** 2
    below = np.fft.rfftfreq(len(recording.audio), 1 / 4000) < 600
    assert spectrum[below].sum() < 0.01 * spectrum.sum()  # where it would be mirrored to
