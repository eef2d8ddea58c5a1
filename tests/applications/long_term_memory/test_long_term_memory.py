"""The whole road on short sequences: train, look, export, serve, ask, and mistakes on the way."""

import csv
import io
import json
import sys

import numpy as np
import pytest
import yaml

from applications import cli
from applications.long_term_memory.recall import Recall
from applications.long_term_memory.train import TASK
from applications.training import run
from export import Client, DevServer, ServingError, check_parity
from export.portable import SUFFIXES
from keras_attention import compile
from tests.export.runtimes import answer, installed, needs

SMALL = [
    "--length", "22", "--units", "8", "--updates", "3", "--batch-size", "8", "--held-out", "20"
]  # fmt: skip
CONTROLS = {
    "uniform": ["--attention", "uniform"],
    "no_mask": ["--no-mask"],
    "variable": ["--max-length", "30"],
    "order": ["--preset", "order_positions"],
    "mirrored": ["--strategy", "mirrored"],
}


def train(folder, *arguments):
    arguments = [*arguments, "--epochs", "2", *SMALL]
    return cli.main(["train", "long_term_memory", "--run-dir", str(folder), *arguments])


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["metrics"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder, made by the command line."""
    folder = tmp_path_factory.mktemp("long_term_memory") / "run"
    assert train(folder) == 0
    return folder


@pytest.fixture(scope="module")
def server(trained):
    """A server of the exported run."""
    exports = trained.parent / "exports"
    assert cli.main(["export", str(trained), "--to", str(exports)]) == 0
    with DevServer(exports, grpc_port=0, rest_port=0) as running:
        yield running


@pytest.fixture
def xla_as_before():
    """Leaves the choice of XLA as it was."""
    yield
    compile.set_xla(None)


@pytest.fixture(scope="module")
def loaded(trained):
    return run.load(TASK, trained)


@pytest.fixture(scope="module")
def first(loaded):
    """The first test sequences."""
    return run.load_datasets(loaded).examples.test[0]


def test_a_run_leaves_all_it_should(trained):
    metrics = metrics_of(trained)
    assert metrics["epochs_to_100_percent"] is None and 0 <= metrics["accuracy"] < 100
    names = {"validation_accuracy", "accuracy_of_constant", "squared_error_of_constant"}
    assert names | {"squared_error", "weight_on_marked", "weight_on_marked_if_uniform"} < set(
        metrics
    )
    for name in ("config.json", "model.keras", "facts/facts.json", "figures/weights.png"):
        assert (trained / name).is_file(), name
    assert (trained / "figures/learning_curve.png").is_file()
    assert "val_accuracy" in (trained / "history.csv").read_text(encoding="utf-8")


def test_evaluating_again_gives_the_same(trained):
    before = metrics_of(trained)
    assert cli.main(["evaluate", str(trained)]) == 0
    assert metrics_of(trained) == before


def test_the_served_model_answers_as_the_keras_model_does(loaded, server, first):
    answers = np.array(loaded.model(first.inputs))
    with Client(f"127.0.0.1:{server.grpc_port}", "long_term_memory") as client:
        served = client.predict(first.inputs)
        longer = np.pad(first.sequence, [(0, 0), (0, 9), (0, 0)], constant_values=5.0)
        padded = client.predict({"sequence": longer, "lengths": first.lengths})
    assert set(served) == {"value", "weights"}
    np.testing.assert_allclose(served["value"], answers[:, 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(padded["value"], served["value"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(served["weights"].sum(axis=1), 1.0, atol=1e-5)
    assert padded["weights"].shape == longer.shape[:2]


def test_export_and_keras_agree_on_the_warm_up_requests(trained, loaded, server):
    signatures = TASK.signatures(loaded.model, loaded.facts, loaded.config, None).signatures
    check_parity(trained.parent / "exports" / "long_term_memory" / "1", signatures)


@pytest.mark.parametrize("format", SUFFIXES)
def test_a_file_for_another_runtime_answers_as_the_keras_model_does(
    trained, loaded, first, format, tmp_path, capfd
):
    needs(format)
    capfd.readouterr()
    assert cli.main(["export", str(trained), "--to", str(tmp_path), "--format", format]) == 0
    path = tmp_path / f"long_term_memory{SUFFIXES[format]}"
    assert capfd.readouterr() == (f"written: {path}\n", "")
    told = answer(path, first.inputs)
    assert set(told) == {"value", "weights"}
    expected = np.array(loaded.model(first.inputs))[:, 0]
    np.testing.assert_allclose(told["value"], expected, rtol=1e-4, atol=1e-4)
    ours = Recall(loaded.model, loaded.facts)(**first.inputs)
    np.testing.assert_allclose(told["weights"], ours["weights"], rtol=1e-4, atol=1e-5)


def test_the_model_card_is_beside_the_model(trained, server):
    card = trained.parent / "exports/long_term_memory/1/assets.extra/README.md"
    front, body = card.read_text(encoding="utf-8").split("---\n")[1:]
    (index,) = yaml.safe_load(front)["model-index"]
    told = {each["name"]: each["value"] for each in index["results"][0]["metrics"]}
    metrics = metrics_of(trained)
    assert told == {key: value for key, value in metrics.items() if isinstance(value, int | float)}
    assert index["results"][0]["dataset"]["type"] == "addition"
    assert "| input | `sequence` | float32 | (?, ?, 2) |" in body and "seed 1, 2 epochs" in body


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
@pytest.mark.parametrize("lengths", [[0], [25], [-1]])
def test_lengths_that_cannot_be_are_an_invalid_argument(server, first, protocol, lengths):
    port = server.grpc_port if protocol == "grpc" else server.rest_port
    with Client(f"127.0.0.1:{port}", "long_term_memory", protocol=protocol) as client:
        with pytest.raises(ServingError, match="`lengths` must be at") as caught:
            client.predict({"sequence": first.sequence[:1], "lengths": lengths})
        assert caught.value.code == "INVALID_ARGUMENT"


def answered(folder, lines, monkeypatch, capfd):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    capfd.readouterr()
    return cli.main(["predict", str(folder)]), *capfd.readouterr()


def test_predict_answers_a_line_of_json(trained, loaded, first, monkeypatch, capfd):
    rows = [
        steps[:length].tolist() for steps, length in zip(first.sequence, first.lengths, strict=True)
    ]
    status, out, _ = answered(
        trained, "".join(f"{json.dumps(row)}\n" for row in rows), monkeypatch, capfd
    )
    expected = np.array(loaded.model(first.inputs))[:, 0]
    assert status == 0
    np.testing.assert_allclose([float(line) for line in out.split()], expected, atol=6e-5)


@pytest.mark.parametrize(
    "line",
    [
        *("", "[]", "{}", "3", "[[1, 2, 3]]", '[[1, "2"]]', "[[1, NaN]]", "[1, 2]", "[[1, 2]"),
        pytest.param("[[1e39, 1]]", id="beyond float32"),
        pytest.param(f"[[{10**400}, 1]]", id="beyond all floats"),
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_a_line_that_cannot_be_read_is_told(trained, line, monkeypatch, capfd):
    status, out, err = answered(trained, f"[[1, 2]]\n{line}\n", monkeypatch, capfd)
    assert status == 2 and out.count("\n") == 1
    assert "standard input, line 2: expected a JSON list of [number, mark]" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_go_the_same_road(name, tmp_path, monkeypatch, capfd, xla_as_before):
    folder, exports = tmp_path / "run", tmp_path / "exports"
    compile.set_xla(None if name == "variable" else False)  # It takes seconds for each.
    assert train(folder, *CONTROLS[name]) == 0
    before = metrics_of(folder)
    assert cli.main(["evaluate", str(folder)]) == 0 and metrics_of(folder) == before
    assert cli.main(["export", str(folder), "--to", str(exports)]) == 0
    formats = [each for each in SUFFIXES if installed(each)]
    for each in formats:  # It runs what it wrote, and compares.
        assert cli.main(["export", str(folder), "--to", str(exports), "--format", each]) == 0
    loaded = run.load(TASK, folder)
    batch = run.load_datasets(loaded).examples.test[0]
    ours = Recall(loaded.model, loaded.facts)(*batch[:2])
    with DevServer(exports, grpc_port=0, rest_port=0) as running:
        with Client(f"127.0.0.1:{running.grpc_port}", "long_term_memory") as client:
            # What is padded less, or more, is told the same.
            longest = batch.lengths.max()
            served = client.predict({**batch.inputs, "sequence": batch.sequence[:, :longest]})
    assert set(ours) == set(served)
    for key, value in served.items():
        theirs = ours[key].numpy()
        if key == "answer":
            np.testing.assert_array_equal(value, theirs)
        else:
            np.testing.assert_allclose(
                value, theirs[:, :longest] if key == "weights" else theirs, rtol=1e-3, atol=1e-5
            )
    line = json.dumps(batch.sequence[0, : batch.lengths[0]].tolist())
    status, out, _ = answered(folder, f"{line}\n", monkeypatch, capfd)
    told = ours["answer"][0].numpy().decode() if name == "order" else f"{ours['value'][0]:.3f}"
    assert status == 0 and (out.strip() if name == "order" else f"{float(out):.3f}") == told


def test_the_learning_rate_falls_where_asked(tmp_path, xla_as_before):
    assert train(tmp_path / "run", "--decay", "--learning-rate", "0.5") == 0
    with (tmp_path / "run" / "history.csv").open(encoding="utf-8") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(rates, [0.5, 0.01], rtol=1e-6)


def test_a_run_that_was_cut_short_goes_on(tmp_path, trained, monkeypatch):
    class Cut(Exception):
        pass

    def cut(*_):
        raise Cut

    with monkeypatch.context() as patch:
        from applications.training.checkpoint import Checkpoint

        end = Checkpoint.on_epoch_end
        patch.setattr(Checkpoint, "on_epoch_end", lambda *a: (end(*a), cut()))
        with pytest.raises(Cut):
            train(tmp_path / "cut")
    again = ["train", "long_term_memory", "--run-dir", str(tmp_path / "cut"), "--resume"]
    assert cli.main(again) == 0
    whole, resumed = (
        run.load(TASK, folder).model.get_weights() for folder in (trained, tmp_path / "cut")
    )
    for ours, theirs in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_mistakes_are_one_line(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, words in (
        (["--preset", "addition_51"], "--preset of long_term_memory must be one of addition_50"),
        (["--problem", "division"], "--problem"),
        (["--length", "21"], "--length must be at least 22. Received: 21"),
        (["--max-length", "49"], "--max-length must be 0 or at least --length 50. Received: 49"),
        (["--data-dir", "."], "--data-dir: the sequences are made up"),
    ):
        capfd.readouterr()
        assert cli.main(["train", "long_term_memory", *arguments]) == 2
        err = capfd.readouterr().err
        assert words in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())
