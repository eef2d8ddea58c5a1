"""The whole road on few questions: train, look, export, serve, ask, and mistakes on the way."""

import csv
import io
import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from applications import cli
from applications.reading.answering import Answer
from applications.reading.train import TASK
from applications.training import run
from export import Client, DevServer, check_parity
from export.warmup import read_warmup
from tests.applications.reading import book_files
from tests.export.runtimes import answer, needs

SMALL = ["--epochs", "2", "--units", "3", "--embedding-units", "4", "--batch-size", "8"]
FEW = ["--num-questions", "24", "--num-held-out", "12"]


def train(folder, *arguments):
    command = ["train", "reading", "--run-dir", str(folder), *SMALL]
    return cli.main([*command, *map(str, arguments)])


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["metrics"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder, made by the command line."""
    folder = tmp_path_factory.mktemp("reading") / "run"
    assert train(folder, *FEW, "--average", 0.5) == 0
    return folder


@pytest.fixture(scope="module")
def exported(trained):
    """The folder of exported models."""
    exports = trained.parent / "exports"
    assert cli.main(["export", str(trained), "--to", str(exports), "--num-answers", "2"]) == 0
    return exports


@pytest.fixture(scope="module")
def server(exported):
    with DevServer(exported, grpc_port=0, rest_port=0) as running:
        yield running


@pytest.fixture(scope="module")
def loaded(trained):
    return run.load(TASK, trained)


@pytest.fixture(scope="module")
def examples(loaded):
    return run.load_datasets(loaded).examples


def test_a_run_leaves_all_it_should(trained):
    assert set(metrics_of(trained)) == {
        "accuracy",
        "accuracy_of_most_frequent",
        "accuracy_of_exclusive_frequency",
        "accuracy_of_word_distance",
        "accuracy_by_chance",
        "mass_on_answer",
        "mass_on_answer_if_uniform",
    }
    for name in ("config.json", "model.keras", "facts/facts.json", "figures/passages.html"):
        assert (trained / name).is_file(), name
    assert (trained / "figures" / "passage_1.png").is_file()


def test_evaluating_again_gives_the_same(trained):
    before = metrics_of(trained)
    assert cli.main(["evaluate", str(trained)]) == 0
    assert metrics_of(trained) == before


def test_the_served_model_answers_as_the_keras_model_does(loaded, server, examples):
    passages = [each.passage for each in examples.told]
    queries = [each.query for each in examples.told]
    ours = Answer(loaded.model, loaded.facts).run(tf.constant(passages), tf.constant(queries))
    with Client(f"127.0.0.1:{server.grpc_port}", "reading") as client:
        theirs = client.predict({"passage": passages, "query": queries})
    for name in ("tokens", "num_tokens"):
        np.testing.assert_array_equal(theirs[name], ours[name].numpy())
    np.testing.assert_allclose(theirs["weights"], ours["weights"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(theirs["scores"], ours["scores"][:, :2], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(theirs["answers"], ours["answers"][:, :2].numpy())
    # And as the evaluation, which never saw the text.
    found = Answer(loaded.model, loaded.facts).all(examples.test)
    right = [
        told.decode() == each.answer
        for told, each in zip(theirs["answers"][:, 0], examples.told, strict=True)
    ]
    np.testing.assert_array_equal(found.answers == examples.test.answers, right)
    for ours, length, weights in zip(
        found.weights, theirs["num_tokens"], theirs["weights"], strict=True
    ):
        np.testing.assert_allclose(ours, weights[:length], rtol=1e-4, atol=1e-5)


def test_export_and_keras_agree_on_the_warm_up_requests(loaded, exported):
    options = type(TASK).export_options(num_answers=2)
    signatures = TASK.signatures(loaded.model, loaded.facts, loaded.config, options).signatures
    check_parity(exported / "reading" / "1", signatures)


def test_a_file_for_onnx_runtime_answers_as_the_keras_model_does(
    trained, loaded, examples, tmp_path, capfd
):
    needs("onnx")
    assert cli.main(["export", str(trained), "--to", str(tmp_path), "--format", "onnx"]) == 0
    passages, queries, _ = examples.test.batch(range(len(examples.test.answers)))
    told = answer(tmp_path / "reading.onnx", {"passage": passages, "query": queries})
    reading = loaded.model.read(passages, queries)
    scores = tf.where(reading.candidates, tf.nn.softmax(reading.logits), 0.0)
    np.testing.assert_allclose(told["scores"], scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(told["weights"], reading.weights, rtol=1e-4, atol=1e-5)


def test_what_litert_cannot_hold_is_one_line(trained, tmp_path, capfd):
    needs("litert")
    capfd.readouterr()
    assert cli.main(["export", str(trained), "--to", str(tmp_path), "--format", "litert"]) == 2
    err = capfd.readouterr().err
    assert "litert cannot hold this function: it loops over steps" in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_warm_up_covers_lengths_and_batches(loaded, exported):
    encoder = loaded.facts.encoder()
    shapes = []
    for log in read_warmup(exported / "reading" / "1"):
        passages, queries = (
            tf.constant(tf.make_ndarray(log.predict_log.request.inputs[name]))
            for name in ("passage", "query")
        )
        shapes.append(tuple(encoder(passages, queries).passage.shape))
    lengths, sizes = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1000), (1, 2, 4, 8, 16, 32)
    assert shapes[:-1] == [(size, length) for length in lengths for size in sizes]
    assert shapes[-1][0] == 3 and len(shapes) <= 64


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_whatever_is_asked_is_answered(server, protocol):
    port = server.grpc_port if protocol == "grpc" else server.rest_port
    passages = ["@Zoë gave the lamp to @Max.", "", "nobody here", "@You " * 1200, "@A"]
    queries = ["@placeholder got the lamp", "?", "@placeholder", "", "@placeholder saw @B"]
    with Client(f"127.0.0.1:{port}", "reading", protocol=protocol) as client:
        answer = client.predict({"passage": passages, "query": queries})
    assert answer["answers"].shape == (5, 2) and answer["weights"].shape == (5, 1000)
    told = [{each.decode() for each in row if each} for row in answer["answers"]]
    assert told == [{"@Zoë", "@Max"}, set(), set(), {"@You"}, {"@A"}]
    np.testing.assert_allclose(answer["scores"].sum(axis=1), [1, 0, 0, 1, 1], atol=1e-5)
    np.testing.assert_allclose(answer["weights"].sum(axis=1), [1, 0, 1, 1, 1], atol=1e-4)
    assert answer["num_tokens"].tolist() == [7, 0, 2, 1000, 1]


def test_predict_answers_each_line(trained, loaded, examples, monkeypatch, capfd):
    def type_in(*lines):
        text = "".join(f"{line}\n" for line in lines).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        capfd.readouterr()
        return cli.main(["predict", str(trained)]), *capfd.readouterr()

    told = examples.told[:3]
    found = Answer(loaded.model, loaded.facts).all(examples.test)
    status, out, _ = type_in(*(f"{each.passage}\t{each.query}" for each in told))
    right = [each.answer == line for each, line in zip(told, out.splitlines(), strict=True)]
    assert status == 0 and right == (found.answers == examples.test.answers)[:3].tolist()
    for line, words in (
        ("no query", "a query with @placeholder in it. Received: no query"),
        ("@A met @B\twho?", "a query with @placeholder in it. Received: @A met @B"),
        ("nobody\t@placeholder", "expected entities in the passage, such as @Anna. Received: nob"),
    ):
        status, _, err = type_in(line)
        assert status == 2 and err.count("\n") == 1
        assert f"line 1: expected {'' if 'such as' in words else 'a passage, a tab and '}" in err
        assert words in err


@pytest.mark.parametrize(
    "arguments", [["--attention", "uniform"], ["--model", "bilinear", "--entities", "ordered"]]
)
def test_other_readers_go_the_same_road(arguments, tmp_path):
    folder, exports = tmp_path / "run", tmp_path / "exports"
    assert train(folder, *FEW, *arguments) == 0
    assert cli.main(["export", str(folder), "--to", str(exports)]) == 0
    metrics = metrics_of(folder)
    even = metrics["mass_on_answer"] == pytest.approx(metrics["mass_on_answer_if_uniform"])
    assert even == ("uniform" in arguments)


def test_books_go_the_same_road(tmp_path):
    data = book_files.write(tmp_path / "data", sentences=9)
    arguments = ["--data", "cbt", "--data-dir", data, "--num-sentences", 3, "--max-entities", 6]
    folder = tmp_path / "run"
    assert train(folder, *arguments, "--num-questions", 0, "--num-held-out", 0) == 0
    assert metrics_of(folder)["accuracy_by_chance"] == 50.0
    before = metrics_of(folder)
    data.rename(tmp_path / "moved")
    assert cli.main(["evaluate", str(folder), "--data-dir", str(tmp_path / "moved")]) == 0
    assert metrics_of(folder) == before


def test_a_run_that_was_cut_short_goes_on(tmp_path, monkeypatch):
    arguments = [*FEW, "--average", 0.5, "--epochs", 3]
    assert train(tmp_path / "whole", *arguments) == 0

    class Cut(Exception):
        pass

    with monkeypatch.context() as patch:
        from applications.training.checkpoint import Checkpoint

        end = Checkpoint.on_epoch_end

        def cut(self, epoch, *_):
            end(self, epoch, *_)
            if epoch == 1:
                raise Cut

        patch.setattr(Checkpoint, "on_epoch_end", cut)
        with pytest.raises(Cut):
            train(tmp_path / "cut", *arguments)
    assert cli.main(["train", "reading", "--run-dir", str(tmp_path / "cut"), "--resume"]) == 0
    rows = []
    for name in ("whole", "cut"):
        with (tmp_path / name / "history.csv").open(encoding="utf-8") as file:
            rows.append([{**row, "seconds": ""} for row in csv.DictReader(file)])
    assert len(rows[0]) == 3 and rows[0][0].keys() == rows[1][0].keys()
    for whole, resumed in zip(*rows, strict=True):
        assert whole == resumed
    weights = (run.load(TASK, tmp_path / name).model.get_weights() for name in ("whole", "cut"))
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_mistakes_are_one_line(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = book_files.write(tmp_path / "bad")
    (bad / "cbt_test.txt").write_text("No title .\n", encoding="utf-8")
    for arguments, words in (
        (["--data", "cbt", "--data-dir", "nowhere"], "nowhere: no such folder"),
        (["--data", "cbt", "--data-dir", "bad"], "bad/cbt_test.txt:1: expected _BOOK_TITLE_"),
        (["--attention", "hard"], "--attention"),
        (["--model", "bilinear", "--attention", "uniform"], "needs --model attentive"),
        (["--batch-size", "9000"], "--batch-size 9000 is more than the 8000 questions"),
    ):
        capfd.readouterr()
        assert cli.main(["train", "reading", *arguments]) == 2, arguments
        err = capfd.readouterr().err
        assert words in err and err.count("\n") == 1, err
    assert not list(tmp_path.rglob("config.json"))
