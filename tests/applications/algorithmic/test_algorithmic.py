"""The whole road on short sequences: train, look, export, serve, ask, and mistakes on the way."""

import io
import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from applications import cli
from applications.algorithmic.model import rounded
from applications.algorithmic.solve import Solve
from applications.algorithmic.train import TASK
from applications.training import run
from export import Client, DevServer, ServingError, check_parity
from tests.export.runtimes import answer, needs

SMALL = ["--units", "6", "--batch-size", "4", "--updates", "3", "--held-out", "4"]
NTM = ["--max-size", "3", "--slots", "8", "--slot-width", "4"]
STACK = ["--preset", "anbmcnm", "--max-size", "4", "--stream", "20", "--stacks", "2"]
OTHERS = {
    "repeat_copy": ["--preset", "repeat_copy", "--controller", "lstm", *NTM],
    "associative_recall": ["--preset", "associative_recall", "--heads", "2", *NTM],
    "priority_sort": ["--preset", "priority_sort", *NTM],
    "copy_lstm": ["--preset", "copy_lstm", "--max-size", "3", "--layers", "2"],
    "memorization": ["--preset", "memorization", "--stream", "20", "--no-rounding"],
    "anbn_lstm": ["--preset", "anbn", "--model", "lstm", "--stream", "20"],
}
LINES = {
    "repeat_copy": "2 01100101 11110000",
    "associative_recall": "011001 111100 000001, 101010 000111 110011 ? 011001 111100 000001",
    "priority_sort": "0.5 01100101, -0.2 11110000",
    "copy_lstm": "01100101 11110000",
    "memorization": "ab#ba",
    "anbn_lstm": "aabba",
}


def train(folder, *arguments):
    arguments = [*arguments, *SMALL, "--epochs", "2"]
    return cli.main(["train", "algorithmic", "--run-dir", str(folder), *arguments])


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["metrics"]


def served(folder):
    """A server of the exported run."""
    exports = folder.parent / "exports"
    assert cli.main(["export", str(folder), "--to", str(exports)]) == 0
    return DevServer(exports, grpc_port=0, rest_port=0)


def ask(server, inputs, protocol="grpc"):
    port = server.grpc_port if protocol == "grpc" else server.rest_port
    with Client(f"127.0.0.1:{port}", "algorithmic", protocol=protocol) as client:
        return client.predict(inputs)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """A run folder of copies, made by the command line."""
    folder = tmp_path_factory.mktemp("copies") / "run"
    assert train(folder, *NTM) == 0
    return folder


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A run folder of words."""
    folder = tmp_path_factory.mktemp("words") / "run"
    assert train(folder, *STACK) == 0
    return folder


@pytest.fixture(scope="module")
def copier(copies):
    with served(copies) as running:
        yield running


@pytest.fixture(scope="module")
def counter(words):
    with served(words) as running:
        yield running


def answered(folder, lines, monkeypatch, capfd):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    capfd.readouterr()
    return cli.main(["predict", str(folder)]), *capfd.readouterr()


def test_a_run_on_vectors_leaves_all_it_should(copies):
    metrics = metrics_of(copies)
    assert set(metrics["bits_per_sequence_by_size"]) == {"3", "6", "12", "18"}
    assert set(metrics["wrong_bits_by_size"]) == {"3", "6", "12", "18"}
    assert 0 < metrics["bits_per_sequence"] < metrics["bits_per_sequence_by_size"]["18"]
    assert {"wrong_bits", "validation_bits"} < set(metrics)
    for name in ("config.json", "model.keras", "facts/facts.json", "figures/size_3.png"):
        assert (copies / name).is_file(), name
    assert (copies / "figures" / "size_18.png").is_file()


def test_a_run_on_words_leaves_all_it_should(words):
    metrics = metrics_of(words)
    for end in ("", "_rounded"):
        assert set(metrics[f"right_words_by_size{end}"]) == {"2", "3", "4", "5", "6"}
        assert 0.0 <= metrics[f"right_sizes{end}"] <= metrics[f"right_words{end}"] <= 100.0
    assert (words / "figures" / "words.png").is_file()


def test_evaluating_again_gives_the_same(words):
    before = metrics_of(words)
    assert cli.main(["evaluate", str(words)]) == 0
    assert metrics_of(words) == before


def test_the_validation_loss_is_the_bits_of_the_evaluation(copies):
    losses = [
        float(line.split(",")[names.index("val_loss")])
        for names, lines in [_table(copies / "history.csv")]
        for line in lines
    ]
    assert metrics_of(copies)["validation_bits"] == pytest.approx(min(losses), rel=1e-4)


def _table(path):
    first, *lines = path.read_text(encoding="utf-8").split()
    return first.split(","), lines


def test_served_vectors_are_told_as_the_keras_model_tells_them(copies, copier):
    loaded = run.load(TASK, copies)
    sequences = run.load_datasets(loaded).examples.tests[0].sequences
    inputs = {"sequence": sequences.inputs, "lengths": sequences.lengths}
    answer = ask(copier, inputs)
    assert set(answer) == {"probabilities", "read_weights", "write_weights"}
    longer = np.pad(sequences.inputs, [(0, 0), (0, 3), (0, 0)], constant_values=5.0)
    padded = ask(copier, {**inputs, "sequence": longer})
    told = 1.0 / (1.0 + np.exp(-np.array(loaded.model(sequences.inputs))))
    for row, length in enumerate(sequences.lengths):
        np.testing.assert_allclose(
            answer["probabilities"][row, :length], told[row, :length], rtol=1e-4, atol=1e-5
        )
        assert not answer["probabilities"][row, length:].any()
        np.testing.assert_allclose(answer["read_weights"][row, :length].sum(-1), 1.0, atol=1e-5)
        for name, values in padded.items():
            np.testing.assert_allclose(
                values[row, :length], answer[name][row, :length], rtol=1e-4, atol=1e-5
            )
    assert answer["write_weights"].shape == (*sequences.inputs.shape[:2], 1, 8)


def test_served_words_are_told_as_the_rounded_keras_model_tells_them(words, counter):
    loaded = run.load(TASK, words)
    answer = ask(counter, {"text": ["aabccc", "a", "abbcccaab"]})
    assert set(answer) == {"next", "probabilities", "lengths", "actions"}
    assert answer["lengths"].tolist() == [6, 1, 9] and answer["actions"].shape == (3, 9, 2, 2)
    assert set(np.unique(answer["actions"])) == {0.0, 1.0}
    symbols = np.array([["abc".index(symbol) for symbol in "abbcccaab"]], np.int32)
    machine = rounded(loaded.model)
    told = tf.nn.softmax(machine(symbols))[0]
    np.testing.assert_allclose(answer["probabilities"][2], told, rtol=1e-4, atol=1e-5)
    assert [each.decode() for each in answer["next"][2]] == [
        "abc"[at] for at in np.argmax(told, axis=-1)
    ]
    assert [each.decode() for each in answer["next"][1, 1:]] == [""] * 8
    assert not answer["probabilities"][1, 1:].any()


@pytest.mark.parametrize("name", ["copies", "words"])
def test_export_and_keras_agree_on_the_warm_up_requests(name, request):
    folder = request.getfixturevalue(name)
    request.getfixturevalue({"copies": "copier", "words": "counter"}[name])
    loaded = run.load(TASK, folder)
    signatures = TASK.signatures(loaded.model, loaded.facts, loaded.config, None).signatures
    check_parity(folder.parent / "exports" / "algorithmic" / "1", signatures)


def test_a_file_for_onnx_runtime_answers_as_the_keras_model_does(copies, tmp_path):
    needs("onnx")
    assert cli.main(["export", str(copies), "--to", str(tmp_path), "--format", "onnx"]) == 0
    loaded = run.load(TASK, copies)
    sequence = np.random.default_rng(0).integers(0, 2, (3, 11, 9)).astype("float32")
    told = answer(tmp_path / "algorithmic.onnx", {"sequence": sequence})
    ours = Solve(loaded.model, loaded.facts).vectors(tf.constant(sequence), tf.fill([3], 11))
    assert set(told) == set(ours) == {"probabilities", "read_weights", "write_weights"}
    for name, value in told.items():
        np.testing.assert_allclose(value, ours[name], rtol=1e-4, atol=1e-5)


def test_a_language_is_for_tensorflow_serving_only(words, tmp_path, capfd):
    capfd.readouterr()
    assert cli.main(["export", str(words), "--to", str(tmp_path), "--format", "onnx"]) == 2
    err = capfd.readouterr().err
    assert "only where the problem is a language, as anbmcnm is" in err and err.count("\n") == 1


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_what_cannot_be_is_an_invalid_argument(copier, counter, protocol):
    for server, inputs, message in (
        (counter, {"text": ["ab", "abz"]}, "symbols abc only"),
        (copier, {"sequence": np.zeros((1, 2, 9), "float32"), "lengths": [3]}, "`lengths` must"),
        (copier, {"sequence": np.zeros((1, 2, 9), "float32"), "lengths": [0]}, "`lengths` must"),
    ):
        with pytest.raises(ServingError, match=message) as caught:
            ask(server, inputs, protocol)
        assert caught.value.code == "INVALID_ARGUMENT"
    assert ask(counter, {"text": ["", ""]}, protocol)["next"].tolist() == [[b""], [b""]]


def test_predict_answers_each_line(copies, words, monkeypatch, capfd):
    status, out, _ = answered(copies, "01100101 11110000\n00000001\n", monkeypatch, capfd)
    first, second = out.splitlines()
    assert status == 0
    assert [len(vector) for vector in first.split()] == [8, 8] and len(second) == 8
    status, out, _ = answered(words, "aabbcc\n", monkeypatch, capfd)
    loaded = run.load(TASK, words)
    served = Solve(rounded(loaded.model), loaded.facts).text(tf.constant(["aabbcc"]))
    assert (status, out.strip().encode()) == (0, b"".join(served["next"].numpy()[0]))
    for folder, line, words_ in (
        (copies, "0110", "line 2: expected vectors of 8 bits with spaces between them"),
        (words, "abz", "line 2: expected symbols of 'abc', without spaces. Received: abz"),
        (words, "", "line 2: expected symbols of 'abc'"),
    ):
        good = "01100101" if folder == copies else "ab"
        status, _, err = answered(folder, f"{good}\n{line}\n", monkeypatch, capfd)
        assert status == 2 and words_ in err and err.count("\n") == 1


@pytest.mark.parametrize("name", OTHERS)
def test_all_problems_go_the_same_road(name, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "run"
    assert train(folder, *OTHERS[name]) == 0
    metrics = metrics_of(folder)
    assert ("right_sizes_rounded" in metrics) == (name == "memorization")
    assert list((folder / "figures").glob("*.png"))
    assert answered(folder, f"{LINES[name]}\n", monkeypatch, capfd)[0] == 0
    with served(folder) as server:
        if "a" in LINES[name]:
            answer = ask(server, {"text": [LINES[name]]})
        else:
            width = {"repeat_copy": 10, "associative_recall": 8, "priority_sort": 10}.get(name, 9)
            ones = np.ones((1, 5, width), "float32")
            answer = ask(server, {"sequence": ones, "lengths": [5]})
    assert ("actions" in answer) == (name == "memorization")
    if name == "memorization":  # which is not rounded
        assert 0.0 < answer["actions"].min() < 1.0
    assert ("read_weights" in answer) == (name in ("repeat_copy", "associative_recall",
                                                   "priority_sort"))  # fmt: skip


def test_a_run_that_was_cut_short_goes_on(tmp_path, words, monkeypatch):
    class Cut(Exception):
        pass

    def cut(*_):
        raise Cut

    with monkeypatch.context() as patch:
        from applications.training.checkpoint import Checkpoint

        end = Checkpoint.on_epoch_end
        patch.setattr(Checkpoint, "on_epoch_end", lambda *a: (end(*a), cut()))
        with pytest.raises(Cut):
            train(tmp_path / "cut", *STACK)
    again = ["train", "algorithmic", "--run-dir", str(tmp_path / "cut"), "--resume"]
    assert cli.main(again) == 0
    whole, resumed = (
        run.load(TASK, folder).model.get_weights() for folder in (words, tmp_path / "cut")
    )
    for ours, theirs in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_mistakes_are_one_line(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, words in (
        (["--preset", "copies"], "--preset of algorithmic must be one of copy, copy_lstm"),
        (["--problem", "sort"], "--problem"),
        (["--max-size", "1"], "--max-size must be at least 2. Received: 1"),
        (["--stacks", "2"], "--stacks needs --model stack, not ntm"),
        (["--preset", "anbn_lstm", "--keep"], "--keep needs --model stack, not lstm"),
        (["--stream", "9"], "--stream is for languages, and copy is none"),
        (["--data-dir", "."], "--data-dir: the sequences are made up"),
    ):
        capfd.readouterr()
        assert cli.main(["train", "algorithmic", *arguments]) == 2
        err = capfd.readouterr().err
        assert words in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())
