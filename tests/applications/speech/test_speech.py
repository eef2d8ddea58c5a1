"""The whole road on little data: train, look, export, serve, stream, and mistakes on the way."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from applications import cli
from applications.speech import evaluation, wav
from applications.speech.config import SpeechConfig, SpeechExport
from applications.speech.recognize import Recognize, Transcript
from applications.speech.streaming import Listener
from applications.speech.strings import Recording, Span
from applications.speech.train import TASK
from applications.training import run
from export import Client, DevServer, ServingError, check_parity

SMALL = [
    *["--num-examples", "32", "--batch-size", "16", "--units", "8", "--embedding-units", "8"],
    *["--num-mels", "12", "--epochs", "1", "--shortest", "2", "--longest", "3", "--average", "0.5"],
    *["--longer", "2", "--beam-width", "2"],
]
OPTIONS = ["--max-length", "7", "--num-transcripts", "2", "--beam-width", "3"]
EXPORT = {"max_length": 7, "num_transcripts": 2, "beam_width": 3}
STREAMED = [
    *["--attention", "mocha", "--no-bidirectional", "--no-deltas"],
    *["--stacked-frames", "2", "--encoder-layers", "3"],
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder of a recognizer that can listen to a stream, made by the command line."""
    folder = tmp_path_factory.mktemp("speech") / "run"
    assert cli.main(["train", "speech", "--run-dir", str(folder), *SMALL, *STREAMED]) == 0
    return folder


@pytest.fixture(scope="module")
def loaded(trained):
    return run.load(TASK, trained)


@pytest.fixture(scope="module")
def recordings(loaded):
    return [each.audio for each in run.load_datasets(loaded).examples.test[:5]]


@pytest.fixture(scope="module")
def exported(trained):
    exports = trained.parent / "exports"
    assert cli.main(["export", str(trained), "--to", str(exports), *OPTIONS]) == 0
    return exports


@pytest.fixture(scope="module")
def server(exported):
    with DevServer(exported, grpc_port=0, rest_port=0) as running:
        yield running


def ask(monkeypatch, path):
    """Standard input that names a file."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{path}\n".encode())))


def as_files(recordings):
    """16-bit WAV files, and the samples that these hold."""
    files = [tf.audio.encode_wav(each[:, None], 8000).numpy() for each in recordings]
    return files, [tf.audio.decode_wav(each).audio.numpy()[:, 0] for each in files]


def test_a_run_leaves_all_it_should(trained):
    metrics = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    names = {"error_rate", "word_error_rate", "exact_match", "error_rate_2_times_longer"}
    assert {*names, "validation_error_rate_2_times_longer"} <= set(metrics)
    for name in ("model.keras", "history.csv", "figures/alignment_1.png"):
        assert (trained / name).is_file(), name
    assert (trained / "figures" / "2_times_longer.png").is_file()
    assert "val_error_rate" in (trained / "history.csv").read_text()


def test_the_served_model_answers_as_the_keras_model_does(loaded, server, recordings):
    files, samples = as_files(recordings)
    recognize = Recognize(loaded.model, loaded.facts, SpeechExport(**EXPORT))
    lengths = np.array([len(each) for each in samples], np.int32)
    audio = np.full((len(samples), lengths.max()), 0.3, np.float32)  # What is padded is not heard.
    for row, each in zip(audio, samples, strict=True):
        row[: len(each)] = each
    ours = recognize.run(np.where(np.arange(lengths.max()) < lengths[:, None], audio, 0.0), lengths)
    with Client(f"127.0.0.1:{server.grpc_port}", "speech") as client:
        from_files = client.predict({"recordings": files})
        from_samples = client.predict({"audio": audio, "lengths": lengths}, signature="samples")
    for theirs in (from_files, from_samples):
        assert set(ours) == set(theirs)
        for name, value in ours.items():
            if value.dtype == tf.string or value.dtype.is_integer:
                np.testing.assert_array_equal(theirs[name], value.numpy(), err_msg=name)
            else:
                np.testing.assert_allclose(theirs[name], value, 1e-3, 1e-4, err_msg=name)


def test_export_and_keras_agree_on_the_warm_up_requests(loaded, exported):
    options = SpeechExport(**EXPORT)
    signatures = TASK.signatures(loaded.model, loaded.facts, loaded.config, options).signatures
    check_parity(exported / "speech" / "1", signatures)


def test_a_recording_alone_is_heard_as_among_others(loaded, recordings):
    recognize = Recognize(loaded.model, loaded.facts, SpeechExport(**EXPORT))
    for each, among in zip(recordings, recognize.all(recordings), strict=True):
        (alone,) = recognize.all([each])
        assert alone.tokens == among.tokens
        np.testing.assert_allclose(alone.weights, among.weights, rtol=1e-3, atol=1e-5)
        assert len(alone.times) == alone.weights.shape[1]


@pytest.fixture
def listener(loaded):
    """Whatever a test does to the bias of the scores is undone."""
    bias = loaded.model.decoder.cell.attention.bias
    before = float(bias)
    yield Listener(loaded.model, loaded.facts)
    bias.assign(before)


def test_a_stream_gives_what_the_whole_recording_gives(listener, recordings):
    recognize = Recognize(listener.model, listener.facts, SpeechExport(beam_width=1, max_length=7))
    # An untrained bias hardly ever stops. At this one it does now and then.
    listener.model.decoder.cell.attention.bias.assign(0.02)
    for each, whole in zip(recordings, recognize.all(recordings), strict=True):
        for size in (len(each), 801, 3000):
            stream, tokens = listener.stream(max_length=7), []
            for start in range(0, len(each), size):
                tokens += stream.feed(each[start : start + size])
            tokens += stream.feed(np.zeros(0, np.float32), last=True)
            assert tokens == whole.tokens, size
            assert stream.finished and stream.feed(each) == []


@pytest.mark.parametrize("length", [1, 199, 200, 201, 300])
def test_a_short_recording_is_heard_to_its_end(listener, recordings, length):
    """A window is of 200 samples."""
    recognize = Recognize(listener.model, listener.facts, SpeechExport(beam_width=1, max_length=3))
    each = recordings[0][2000 : 2000 + length]
    tokens = listener.stream(max_length=3).feed(each, last=True)
    assert tokens == recognize.all([each])[0].tokens


def test_a_stream_emits_before_the_end_and_only_what_was_heard(listener, recordings):
    """Where every annotation is one to stop at, all is read from the first; else nothing is."""
    bias = listener.model.decoder.cell.attention.bias
    bias.assign(1e6)
    tokens = listener.stream(max_length=7).feed(recordings[0][:2000])
    recognize = Recognize(listener.model, listener.facts, SpeechExport(beam_width=1, max_length=7))
    assert tokens == recognize.all(recordings[:1])[0].tokens
    bias.assign(-1e6)
    assert listener.stream().feed(recordings[0]) == []


def test_files_are_transcribed_by_name(trained, recordings, tmp_path, monkeypatch, capsys):
    wav.write(tmp_path / "one.wav", recordings[0], 8000)
    ask(monkeypatch, tmp_path / "one.wav")
    assert cli.main(["predict", str(trained)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    wav.write(tmp_path / "two.wav", recordings[0], 16000)
    ask(monkeypatch, tmp_path / "two.wav")
    assert cli.main(["predict", str(trained)]) == 2
    assert "two.wav" in capsys.readouterr().err


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_what_is_no_recording_is_an_invalid_argument_and_the_server_lives(
    server, recordings, protocol
):
    (file, *_), _ = as_files(recordings)
    other = tf.audio.encode_wav(recordings[0][:, None], 16000).numpy()
    silent = tf.audio.encode_wav(np.zeros((0, 1), np.float32), 8000).numpy()
    port = server.grpc_port if protocol == "grpc" else server.rest_port
    with Client(f"127.0.0.1:{port}", "speech", protocol=protocol) as client:
        for content in (b"", b"hello", file[:30], other, silent):
            with pytest.raises(ServingError) as caught:
                client.predict({"recordings": [file, content]})
            assert caught.value.code == "INVALID_ARGUMENT", content[:8]
        for lengths in ([0], [4], [-1]):
            with pytest.raises(ServingError) as caught:
                client.predict(
                    {"audio": np.zeros((1, 3), np.float32), "lengths": np.array(lengths, np.int32)},
                    signature="samples",
                )
            assert caught.value.code == "INVALID_ARGUMENT", lengths
        assert client.predict({"recordings": [file]})["transcripts"].shape == (1, 2)


def test_errors_are_counted_by_token():
    part = [Recording(np.zeros(1), "one two three"), Recording(np.zeros(1), "four")]
    found = [
        Transcript(text, 0.0, text.split(), *[np.zeros(0)] * 2) for text in ("one too", "four")
    ]
    words, characters = (SpeechConfig(tokens=tokens) for tokens in ("words", "characters"))
    assert evaluation.error_rate(found, part, words) == 2 / 4
    assert evaluation.error_rate(found, part, characters) == pytest.approx(7 / 17)


def test_where_tokens_were_heard_is_judged_by_time():
    """Of four annotations of 0.1 s, the first word is the second, and the other the last two."""
    weights = np.array([[0.1, 0.7, 0.1, 0.1], [0.0, 0.6, 0.3, 0.1]])
    spans = (Span(0.12, 0.18), Span(0.21, 0.4))
    part = [Recording(np.zeros(1), "one two", spans)]
    found = [Transcript("one two", 0.0, ["one", "two"], weights, np.arange(4) / 10)]
    measured = dict(evaluation._heard(found, part))
    assert measured == {
        "transcripts_judged_by_time": 1,
        "pointing_game": 0.5,
        "mass_on_word": pytest.approx(0.55),
        "mass_on_word_if_uniform": pytest.approx(0.375),
    }
    wrong = [found[0]._replace(tokens=["one", "one"])]
    assert dict(evaluation._heard(wrong, part)) == {}
