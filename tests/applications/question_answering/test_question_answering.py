"""The whole road on small data: train, look, export, serve, ask, and mistakes on the way."""

import csv
import io
import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from applications import cli
from applications.question_answering.answering import Answer
from applications.question_answering.train import TASK
from applications.training import run
from export import Client, DevServer, check_parity
from export.portable import SUFFIXES
from tests.applications.question_answering import babi_files
from tests.export.runtimes import answer, needs

SMALL = ["--epochs", "4", "--linear-start", "1", "--units", "8", "--batch-size", "8"]
FEW = ["--num-questions", "40", "--memory-size", "12"]


def train(folder, *arguments):
    command = ["train", "question_answering", "--run-dir", str(folder), *SMALL]
    return cli.main([*command, *map(str, arguments)])


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["metrics"]


def history_of(folder):
    with (folder / "history.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder of two trainings on stories, made by the command line."""
    folder = tmp_path_factory.mktemp("question_answering") / "run"
    assert train(folder, *FEW, "--restarts", "2", "--learning-rate", "0.02") == 0
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


@pytest.mark.parametrize("format", SUFFIXES)
def test_a_file_for_another_runtime_answers_as_the_keras_model_does(
    trained, loaded, examples, format, tmp_path
):
    needs(format)
    assert cli.main(["export", str(trained), "--to", str(tmp_path), "--format", format]) == 0
    story, question = examples.test.inputs
    path = tmp_path / f"question_answering{SUFFIXES[format]}"
    told = answer(path, {"story": story, "question": question})
    found = loaded.model.answer(story, question)
    scores = tf.nn.softmax(tf.gather(found.logits, loaded.facts.answer_ids, axis=1))
    np.testing.assert_allclose(told["scores"], scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(told["weights"], found.weights, rtol=1e-4, atol=1e-5)


def test_a_run_leaves_all_it_should(trained):
    metrics = metrics_of(trained)
    assert set(metrics["error_by_task"]) == {"1", "2", "3", "6", "15"}
    names = {"mean_error", "failed_tasks", "mean_error_by_chance", "train_error"}
    for name in ("supports_hit", "mass_on_supports"):
        names |= {name, f"{name}_if_uniform", f"{name}_by_task"}
    assert names <= set(metrics)
    for name in ("config.json", "model.keras", "facts/facts.json", "figures/hops.html"):
        assert (trained / name).is_file(), name
    assert (trained / "figures" / "task_15.png").is_file()


def test_the_training_with_the_lowest_error_is_kept(trained):
    errors = [float(row["train_error"]) for row in history_of(trained)]
    assert np.isfinite(errors).tolist() == [False, True, False, True]
    assert metrics_of(trained)["train_error"] == pytest.approx(min(errors))
    assert errors[1] != errors[3]


def test_evaluating_again_gives_the_same(trained):
    before = metrics_of(trained)
    assert cli.main(["evaluate", str(trained)]) == 0
    assert metrics_of(trained) == before


def test_the_served_model_answers_as_the_keras_model_does(loaded, server, examples):
    stories = [" ".join(each.story) for each in examples.told]
    questions = [each.question for each in examples.told]
    ours = Answer(loaded.model, loaded.facts).run(tf.constant(stories), tf.constant(questions))
    with Client(f"127.0.0.1:{server.grpc_port}", "question_answering") as client:
        theirs = client.predict({"story": stories, "question": questions})
    for name in ("sentences", "num_sentences", "unknown_words"):
        np.testing.assert_array_equal(theirs[name], ours[name].numpy())
    np.testing.assert_allclose(theirs["weights"], ours["weights"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(theirs["scores"], ours["scores"][:, :2], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(theirs["answers"], ours["answers"][:, :2].numpy())
    # And as the evaluation, which never saw the text.
    found = Answer(loaded.model, loaded.facts).all(examples.test)
    words = ["", "", "", "", *loaded.facts.tokenizer.vocabulary]
    assert [words[each] for each in found.answers] == [
        each.decode() for each in theirs["answers"][:, 0]
    ]
    np.testing.assert_allclose(found.weights, theirs["weights"], rtol=1e-4, atol=1e-5)


def test_export_and_keras_agree_on_the_warm_up_requests(loaded, exported):
    options = type(TASK).export_options(num_answers=2)
    signatures = TASK.signatures(loaded.model, loaded.facts, loaded.config, options).signatures
    check_parity(exported / "question_answering" / "1", signatures)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_whatever_is_asked_is_answered(server, protocol):
    port = server.grpc_port if protocol == "grpc" else server.rest_port
    stories = ["Anna went to the cellar. Boris ran to the Moon!", "", "x " * 999, "A.\n" * 99]
    with Client(f"127.0.0.1:{port}", "question_answering", protocol=protocol) as client:
        answer = client.predict({"story": stories, "question": ["Where is Zoë?", "", "?", "!"]})
    assert answer["answers"].shape == (4, 2) and answer["weights"].shape == (4, 3, 12)
    assert answer["num_sentences"].tolist() == [2, 0, 1, 12]
    assert answer["unknown_words"][:2].tolist() == ["moon zoë".encode(), b""]
    assert answer["sentences"][0, :3].tolist() == [
        b"Anna went to the cellar",
        b"Boris ran to the Moon",
        b"",
    ]
    np.testing.assert_allclose(answer["weights"].sum(axis=2), 1.0, atol=1e-5)
    # Nothing known was said: no place is like the question more than another.
    np.testing.assert_allclose(answer["weights"][1:3], 1 / 12, atol=1e-5)


def test_predict_answers_each_line(trained, loaded, examples, monkeypatch, capfd):
    def type_in(*lines):
        text = "".join(f"{line}\n" for line in lines).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        capfd.readouterr()
        return cli.main(["predict", str(trained)]), *capfd.readouterr()

    told = examples.told[:3]
    status, out, _ = type_in(*(f"{' '.join(each.story)}\t{each.question}" for each in told))
    ours = Answer(loaded.model, loaded.facts).run(
        tf.constant([" ".join(each.story) for each in told]),
        tf.constant([each.question for each in told]),
    )
    assert (status, out.encode().split()) == (0, ours["answers"].numpy()[:, 0].tolist())
    status, _, err = type_in("no question")
    assert status == 2 and err.count("\n") == 1
    assert "line 1: expected a story, a tab and a question. Received: no question" in err


@pytest.mark.parametrize("attention", ["uniform", "none"])
def test_controls_go_the_same_road(attention, tmp_path):
    folder, exports = tmp_path / "run", tmp_path / "exports"
    few = FEW if attention == "uniform" else FEW[:2]  # what reads nothing has no memory
    assert train(folder, *few, "--tasks", 1, 6, "--attention", attention) == 0
    assert cli.main(["export", str(folder), "--to", str(exports)]) == 0
    with DevServer(exports, grpc_port=0, rest_port=0) as running:
        with Client(f"127.0.0.1:{running.grpc_port}", "question_answering") as client:
            answer = client.predict({"story": ["Anna ran to the attic."], "question": ["Where?"]})
    reads = attention == "uniform"
    assert ("weights" in answer) == reads == (folder / "figures" / "hops.html").exists()
    assert ("supports_hit" in metrics_of(folder)) == reads
    if reads:
        metrics = metrics_of(folder)
        assert metrics["mass_on_supports"] == pytest.approx(metrics["mass_on_supports_if_uniform"])


def test_babi_goes_the_same_road(tmp_path):
    folder = babi_files.write(tmp_path / "data", stories=12)
    arguments = ["--data", "babi", "--data-dir", folder, "--tasks", 2, 1]
    assert train(tmp_path / "run", *arguments, "--linear-start", "None") == 0
    assert set(metrics_of(tmp_path / "run")["error_by_task"]) == {"1", "2"}
    (tmp_path / "data").rename(tmp_path / "moved")
    again = ["evaluate", str(tmp_path / "run"), "--data-dir", str(tmp_path / "moved")]
    assert cli.main(again) == 0


def test_a_run_that_was_cut_short_in_its_second_training_goes_on(tmp_path, monkeypatch):
    arguments = [*FEW, "--tasks", 1, "--epochs", 8, "--restarts", 2, "--linear-start", "None"]
    assert train(tmp_path / "whole", *arguments) == 0

    class Cut(Exception):
        pass

    def cut(self, epoch, *_):
        end(self, epoch, *_)
        if epoch in (2, 5):
            raise Cut

    resume = ["train", "question_answering", "--run-dir", str(tmp_path / "cut"), "--resume"]
    with monkeypatch.context() as patch:
        from applications.training.checkpoint import Checkpoint

        end = Checkpoint.on_epoch_end
        patch.setattr(Checkpoint, "on_epoch_end", cut)
        with pytest.raises(Cut):
            train(tmp_path / "cut", *arguments)
        with pytest.raises(Cut):
            cli.main(resume)
    assert cli.main(resume) == 0
    whole, resumed = (history_of(tmp_path / name) for name in ("whole", "cut"))
    for ours, theirs in zip(whole, resumed, strict=True):
        assert {**ours, "seconds": ""} == {**theirs, "seconds": ""}
    whole, resumed = (
        run.load(TASK, tmp_path / name).model.get_weights() for name in ("whole", "cut")
    )
    for ours, theirs in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_world_of_one_fact_is_learned(tmp_path):
    arguments = ["--tasks", 1, "--num-questions", 400, "--epochs", 24, "--linear-start", 8]
    assert train(tmp_path / "run", *arguments, "--units", 20, "--learning-rate", 0.02) == 0
    metrics = metrics_of(tmp_path / "run")
    assert metrics["mean_error"] < 15.0 < metrics["mean_error_by_chance"]
    assert metrics["supports_hit"] > 85.0


def test_mistakes_are_one_line(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    babi_files.write(tmp_path / "some", tasks=(1, 2))
    bad = babi_files.write(tmp_path / "bad", tasks=(1,)) / "en" / "qa1_a-name_test.txt"
    bad.write_text("1 A story.\n2 A question?\tan answer\t7\n", encoding="utf-8")
    babi = ["--data", "babi", "--data-dir"]
    for arguments, words in (
        ([*babi, "nowhere"], "nowhere/en: no such folder"),
        ([*babi, "some", "--variant", "en-10k"], "some/en-10k: no such folder"),
        ([*babi, "some"], "Those that are here: --tasks 1 2"),
        ([*babi, "bad", "--tasks", "1"], "qa1_a-name_test.txt:2: expected the numbers of earlier"),
        (["--tasks", "4"], "--tasks of --data stories must be some of 1 2 3 6 15"),
        (["--attention", "hard"], "--attention"),
        (["--linear-start", "x"], "--linear-start"),
        (["--restarts", "4", "--epochs", "50"], "must be a multiple of their number, 4"),
    ):
        capfd.readouterr()
        assert cli.main(["train", "question_answering", *arguments]) == 2, arguments
        err = capfd.readouterr().err
        assert words in err and err.count("\n") == 1, err
    assert not list(tmp_path.rglob("config.json"))
