"""The whole road on small data: train, look, export, serve, ask, and mistakes on the way."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from applications import cli
from applications.recognition.model import recognizer_of
from applications.recognition.recognize import Recognize
from applications.recognition.train import TASK
from applications.training import run
from export import Client, DevServer, ServingError, check_parity
from export.portable import SUFFIXES
from tests.applications.recognition import mnist_files
from tests.export.runtimes import answer, needs

WHOLE = ["--units", "16", "--batch-size", "8"]
SMALL = [*WHOLE, "--hidden-units", "8", "--monte-carlo", "2"]


def train(folder, *arguments, small=SMALL):
    arguments = [*small, "--epochs", "2", *map(str, arguments)]
    return cli.main(["train", "recognition", "--run-dir", str(folder), *arguments])


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["metrics"]


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """The flags of a small MNIST of pairs of digits."""
    folder = mnist_files.write(tmp_path_factory.mktemp("data"), train=60)
    return ["--preset", "two_digits", "--data-dir", str(folder), "--num-glimpses", "2"]


@pytest.fixture(scope="module")
def trained(mnist, tmp_path_factory):
    """A run folder, made by the command line."""
    folder = tmp_path_factory.mktemp("recognition") / "run"
    assert train(folder, *mnist) == 0
    return folder


@pytest.fixture(scope="module")
def exported(trained):
    """The folder of exported models."""
    exports = trained.parent / "exports"
    assert cli.main(["export", str(trained), "--to", str(exports)]) == 0
    return exports


@pytest.fixture(scope="module")
def server(exported):
    with DevServer(exported, grpc_port=0, rest_port=0) as running:
        yield running


@pytest.fixture(scope="module")
def pictures(trained):
    """All test pictures."""
    return run.load_datasets(run.load(TASK, trained)).examples.test.images


@pytest.fixture(scope="module")
def recognize(trained):
    loaded = run.load(TASK, trained)
    return Recognize(recognizer_of(loaded.model), loaded.facts)


def png(image):
    return tf.io.encode_png(image).numpy()


def test_the_default_needs_no_data(tmp_path):
    pytest.importorskip("sklearn")
    assert train(tmp_path / "run", "--epochs", "1") == 0
    assert metrics_of(tmp_path / "run")["error"] < 100.0


def test_a_run_leaves_all_it_should(trained):
    metrics = metrics_of(trained)
    names = {"error", "error_by_chance", "error_of_an_object", "error_monte_carlo"}
    assert names | {"glimpses_on_object", "glimpses_on_object_if_uniform"} == set(metrics)
    for name in ("config.json", "model.keras", "facts/facts.json", "figures/glimpses.png"):
        assert (trained / name).is_file(), name
    assert "val_error" in (trained / "history.csv").read_text(encoding="utf-8")


def test_evaluating_again_gives_the_same(trained):
    before = metrics_of(trained)
    assert cli.main(["evaluate", str(trained)]) == 0
    after = metrics_of(trained)
    drawn = {"error_monte_carlo": 0.0}  # other draws
    assert {**before, **drawn} == {**after, **drawn}


def test_the_served_model_answers_as_the_keras_model_does(recognize, server, pictures):
    ours = recognize.recognize(tf.constant(pictures))
    with Client(f"127.0.0.1:{server.grpc_port}", "recognition") as client:
        of_files = client.predict({"images": [png(each) for each in pictures]})
        of_pixels = client.predict({"pixels": pictures}, signature="pixels")
    assert set(ours) == set(of_files) == set(of_pixels) == {"classes", "scores", "locations"}
    for theirs in (of_files, of_pixels):
        np.testing.assert_array_equal(theirs["classes"], ours["classes"].numpy())
        for name in ("scores", "locations"):
            np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-4, atol=1e-5)
    assert of_files["classes"].shape == (20, 2) and of_files["locations"].shape == (20, 4, 2)
    np.testing.assert_allclose(of_files["scores"].sum(axis=-1), 1.0, atol=1e-5)


def test_export_and_keras_agree_on_the_warm_up_requests(trained, exported):
    loaded = run.load(TASK, trained)
    signatures = TASK.signatures(loaded.model, loaded.facts, loaded.config, None).signatures
    check_parity(exported / "recognition" / "1", signatures)


@pytest.mark.parametrize("format", SUFFIXES)
def test_a_file_for_another_runtime_answers_as_the_keras_model_does(
    trained, recognize, pictures, format, tmp_path
):
    needs(format)
    assert cli.main(["export", str(trained), "--to", str(tmp_path), "--format", format]) == 0
    told = answer(tmp_path / f"recognition{SUFFIXES[format]}", {"pixels": pictures})
    ours = recognize.recognize(tf.constant(pictures))
    assert set(told) == {"scores", "locations"}
    for name, value in told.items():
        np.testing.assert_allclose(value, ours[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_what_is_no_picture_is_an_invalid_argument_and_the_server_lives(server, pictures, protocol):
    port = server.grpc_port if protocol == "grpc" else server.rest_port
    whole = png(pictures[0])
    with Client(f"127.0.0.1:{port}", "recognition", protocol=protocol) as client:
        for content in (b"", b"hello", whole[:-40], b"\xff\xd8\xff\xe0", b"GIF89a"):
            with pytest.raises(ServingError) as caught:
                client.predict({"images": [whole, content]})
            assert caught.value.code == "INVALID_ARGUMENT", content[:8]
        assert client.predict({"images": [whole]})["classes"].shape == (1, 2)


def test_pictures_of_all_sizes_and_formats_are_answered(server):
    grey = np.full((5, 9, 1), 77, np.uint8)
    colours = np.random.default_rng(0).integers(0, 256, (90, 30, 3)).astype("uint8")
    images = [png(grey), png(colours), tf.io.encode_jpeg(colours).numpy()]
    with Client(f"127.0.0.1:{server.grpc_port}", "recognition") as client:
        answer = client.predict({"images": images})
        alone = [client.predict({"images": [each]}) for each in images]
    for row, single in enumerate(alone):
        np.testing.assert_allclose(single["scores"][0], answer["scores"][row], atol=1e-5)


def test_predict_reads_the_files_it_is_told(
    trained, recognize, pictures, tmp_path, monkeypatch, capfd
):
    (tmp_path / "a.png").write_bytes(png(pictures[0]))
    (tmp_path / "b.png").write_bytes(png(pictures[0])[:-50])

    def type_in(name):
        line = io.TextIOWrapper(io.BytesIO(f"{tmp_path / name}\n".encode()))
        monkeypatch.setattr(sys, "stdin", line)
        capfd.readouterr()
        return cli.main(["predict", str(trained)]), *capfd.readouterr()

    status, out, _ = type_in("a.png")
    expected = " ".join(str(label) for label in recognize.all(pictures[:1]).labels[0])
    assert (status, out) == (0, f"{expected}\n")
    for name, words in (("b.png", "expected a whole JPEG"), ("c.png", "cannot be read: No such f")):
        status, _, err = type_in(name)
        assert status == 2 and f"{name}: {words}" in err and err.count("\n") == 1


@pytest.mark.parametrize("attention", ["random", "none"])
def test_controls_go_the_same_road(attention, mnist, tmp_path):
    folder, exports = tmp_path / "run", tmp_path / "exports"
    flags, small = (mnist, SMALL) if attention == "random" else (mnist[:4], WHOLE)  # no glimpses
    assert train(folder, *flags, "--attention", attention, small=small) == 0
    assert cli.main(["evaluate", str(folder)]) == 0
    assert cli.main(["export", str(folder), "--to", str(exports)]) == 0
    with DevServer(exports, grpc_port=0, rest_port=0) as running:
        with Client(f"127.0.0.1:{running.grpc_port}", "recognition") as client:
            answer = client.predict({"images": [png(np.zeros((60, 60, 1), np.uint8))]})
    looks = attention == "random"
    assert ("locations" in answer) == looks
    assert (folder / "figures" / "glimpses.png").exists() == looks
    assert ("error_monte_carlo" in metrics_of(folder)) == looks


def test_a_run_that_was_cut_short_goes_on(mnist, tmp_path, monkeypatch):
    assert train(tmp_path / "whole", *mnist) == 0

    class Cut(Exception):
        pass

    def cut(*_):
        raise Cut

    with monkeypatch.context() as patch:
        from applications.training.checkpoint import Checkpoint

        end = Checkpoint.on_epoch_end
        patch.setattr(Checkpoint, "on_epoch_end", lambda *a: (end(*a), cut()))
        with pytest.raises(Cut):
            train(tmp_path / "cut", *mnist)
    assert cli.main(["train", "recognition", "--run-dir", str(tmp_path / "cut"), "--resume"]) == 0
    whole, resumed = (
        run.load(TASK, tmp_path / name).model.get_weights() for name in ("whole", "cut")
    )
    for ours, theirs in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_mistakes_are_one_line(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mnist_files.write(Path("cut"))
    path = Path("cut/t10k-images-idx3-ubyte.gz")
    path.write_bytes(path.read_bytes()[:-30])
    for arguments, words in (
        (["--preset", "mnist", "--data-dir", "nowhere"], "nowhere: expected train-images-idx3-u"),
        (["--preset", "mnist", "--data-dir", "cut"], "t10k-images-idx3-ubyte.gz: cannot be read"),
        (["--data", "mnist"], "--data mnist needs --data-dir"),
        (["--canvas", "0", "--clutter", "3"], "need a --canvas to put pictures into"),
        (["--attention", "soft"], "--attention"),
        (["--num-glimpses", "0"], "--num-glimpses must be at least 1. Received: 0"),
    ):
        capfd.readouterr()
        assert cli.main(["train", "recognition", *arguments]) == 2
        err = capfd.readouterr().err
        assert words in err and err.count("\n") == 1
    assert not Path("runs").exists() or not list(Path("runs").rglob("config.json"))
