"""Features are those of the textbook, whatever a batch is padded to and a stream is cut into."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import export
from applications.speech import features
from applications.speech.strings import Recording

RNG = np.random.default_rng(7)
MELS = 13


def facts(deltas=True, sample_rate=8000):
    size = MELS * (3 if deltas else 1)
    mean, std = np.linspace(-3, 2, size, dtype=np.float32), np.linspace(1, 2, size).astype("f")
    return SimpleNamespace(
        sample_rate=sample_rate, num_mels=MELS, deltas=deltas, mean=mean, std=std
    )


def noise(*lengths):
    """Recordings of these lengths, padded with what must not be heard, and the lengths."""
    audio = RNG.uniform(-0.5, 0.5, (len(lengths), max(lengths))).astype(np.float32)
    return audio, np.array(lengths, np.int32)


def mel(frequency):
    return 1127 * np.log(1 + frequency / 700)


@functools.cache
def filters(sample_rate, fft_length, num_mels):
    """Triangles that are evenly spaced in mels from 20 Hz to half the sample rate."""
    corners = np.linspace(mel(20), mel(sample_rate / 2), num_mels + 2)
    bank = np.zeros((fft_length // 2 + 1, num_mels))
    for at in range(1, fft_length // 2 + 1):  # not the mean of the samples
        place = mel(at * sample_rate / fft_length)
        for band in range(num_mels):
            low, centre, high = corners[band : band + 3]
            rise, fall = (place - low) / (centre - low), (high - place) / (high - centre)
            bank[at, band] = max(0, min(rise, fall))
    return bank


def energies(sound, sample_rate=8000):
    """Log-mel energies, window by window."""
    window, step = sample_rate // 40, sample_rate // 100
    fft_length = {200: 256, 400: 512}[window]
    sound = np.append(sound, np.zeros(max(0, window - len(sound))))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    rows = []
    for start in range(0, len(sound) - window + 1, step):
        power = np.abs(np.fft.rfft(sound[start : start + window] * hann, fft_length)) ** 2
        rows.append(np.log(np.maximum(power @ filters(sample_rate, fft_length, MELS), 1e-6)))
    return np.array(rows)


def slopes(rows):
    """Regression over two frames on either side; the first and last frames go on for ever."""
    wide = np.concatenate([rows[:1], rows[:1], rows, rows[-1:], rows[-1:]])
    count = len(rows)
    return np.array(
        [(wide[t + 3] - wide[t + 1] + 2 * (wide[t + 4] - wide[t])) / 10 for t in range(count)]
    )


@pytest.mark.parametrize("sample_rate", [8000, 16_000])
def test_features_are_those_of_an_oracle(sample_rate):
    audio, lengths = noise(3000, 5001, 100, 401)
    told = facts(sample_rate=sample_rate)
    found, frames = features.extract(audio, lengths, told)
    for sound, length, row, count in zip(audio, lengths, found.numpy(), frames, strict=True):
        rows = energies(sound[:length], sample_rate)
        expected = np.concatenate([rows, slopes(rows), slopes(slopes(rows))], axis=1)
        assert count == len(rows)
        np.testing.assert_allclose(row[:count], (expected - told.mean) / told.std, atol=1e-4)
        assert not row[count:].any()
    assert found.dtype == tf.float32 and frames.dtype == tf.int32


def test_without_deltas_there_are_energies_alone():
    audio, lengths = noise(2000)
    plain = features.raw(audio, lengths, 8000, MELS, deltas=False)[0]
    whole = features.raw(audio, lengths, 8000, MELS, deltas=True)[0]
    np.testing.assert_array_equal(plain, whole[..., :MELS])


@pytest.mark.parametrize("deltas", [False, True])
def test_padding_further_changes_nothing(deltas):
    audio, lengths = noise(900, 1700, 30)
    short, frames = features.extract(audio, lengths, facts(deltas))
    wide = np.pad(audio, [(0, 0), (0, 777)], constant_values=0.9)
    long, again = features.extract(wide, lengths, facts(deltas))
    np.testing.assert_array_equal(frames, again)
    np.testing.assert_allclose(long[:, : short.shape[1]], short, atol=1e-5)
    assert not long[:, short.shape[1] :].numpy().any()


def test_silence_is_finite_and_even():
    found, frames = features.raw(
        np.zeros((2, 800), "f"), np.int32([800, 0]), 8000, MELS, deltas=True
    )
    np.testing.assert_allclose(found[..., :MELS], np.log(1e-6), rtol=1e-6)
    assert not found[..., MELS:].numpy().any() and frames.numpy().tolist() == [8, 1]


def test_a_tone_that_fades_evenly_has_an_even_slope():
    times = np.arange(8000) / 8000
    tone = np.sin(2 * np.pi * 500 * times) * np.exp(-3 * times)
    rows = features.raw(tone[None].astype("f"), np.int32([8000]), 8000, MELS, deltas=True)[0][0]
    loudest = int(rows[10, :MELS].numpy().argmax())
    fall = rows[5:-5, MELS + loudest].numpy()  # 3 nepers a second, of energy twice as many
    np.testing.assert_allclose(fall, -2 * 3 * 0.01, rtol=0.05)


@pytest.mark.parametrize("sizes", [[1, 79, 80, 81, 400, 7, 900], [31] * 50, [1548]])
def test_pieces_of_a_stream_give_the_frames_of_the_whole(sizes):
    audio, lengths = noise(1548, 1548)
    told = facts(deltas=False)
    whole, frames = features.extract(audio, lengths, told)
    piece = tf.function(
        lambda audio: features.piece(audio, told),
        input_signature=[tf.TensorSpec((None, None), tf.float32)],
    )
    rest, found, start = np.zeros((2, 0), np.float32), [], 0
    for size in sizes:
        new = np.concatenate([rest, audio[:, start : start + size]], axis=1)
        rows, rest = piece(new)
        found.append(rows)
        start += size
    assert start >= 1548 and rest.shape[1] < 200 and frames[0] == whole.shape[1]
    np.testing.assert_allclose(np.concatenate(found, axis=1), whole, atol=1e-5)


def test_a_frame_depends_on_nothing_after_its_window():
    audio, lengths = noise(2000)
    changed = audio.copy()
    changed[:, 10 * 80 + 200 :] *= -0.3
    told = facts(deltas=False)
    one, other = (features.extract(each, lengths, told)[0][0] for each in (audio, changed))
    np.testing.assert_array_equal(one[:11], other[:11])
    assert (one[11:14].numpy() != other[11:14].numpy()).any(axis=1).all()


def test_a_stream_has_no_deltas():
    with pytest.raises(ValueError, match="A stream has no deltas. Received: heard.deltas=True"):
        features.piece(np.zeros((1, 400), np.float32), facts())


def test_statistics_are_over_all_real_frames(monkeypatch):
    monkeypatch.setattr(features, "AT_ONCE", 2)
    audio, lengths = noise(900, 3000, 500, 1700, 150)
    part = [Recording(row[:n], "") for row, n in zip(audio, lengths, strict=True)]
    mean, std = features.statistics(part, 8000, MELS, True)
    rows = [energies(each.audio) for each in part]
    rows = [np.concatenate([r, slopes(r), slopes(slopes(r))], axis=1) for r in rows]
    np.testing.assert_allclose(mean, np.concatenate(rows).mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(std, np.concatenate(rows).std(axis=0), rtol=1e-3)
    assert mean.dtype == std.dtype == np.float32


def test_what_never_changes_is_not_divided_by_nothing():
    _, std = features.statistics([Recording(np.zeros(800, "f"), "")], 8000, MELS, True)
    np.testing.assert_allclose(std, features.NARROWEST)


def test_a_stock_server_can_run_them(tmp_path):
    """In a SavedModel, of core operations, with batches and recordings of any size."""
    told = facts()

    class Model(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec((None, None), tf.float32, "audio"),
                tf.TensorSpec((None,), tf.int32, "lengths"),
            ]
        )
        def serve(self, audio, lengths):
            found, frames = features.extract(audio, lengths, told)
            return {"features": found, "frames": frames}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "1"), signatures={"serving_default": model.serve})
    problems = [problem for problem in export.lint(tmp_path / "1") if problem.level == "error"]
    assert not problems
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    for lengths in ([50], [1700, 900]):
        audio, lengths = noise(*lengths)
        expected, frames = features.extract(audio, lengths, told)
        found = served(audio=tf.constant(audio), lengths=tf.constant(lengths))
        np.testing.assert_allclose(found["features"], expected, atol=1e-5)
        np.testing.assert_array_equal(found["frames"], frames)
