"""The whole road on small data: train, look, export, serve, ask, and mistakes on the way."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from applications import cli
from applications.captioning.caption import Describe
from applications.captioning.config import CaptioningExport
from applications.captioning.model import captioner_of
from applications.captioning.train import TASK
from applications.training import run
from export import Client, DevServer, ServingError, check_parity
from tests.applications.captioning import photographs

SMALL = ["--units", "16", "--embedding-units", "8", "--cnn-units", "4", "8", "--epochs", "1"]
OPTIONS = ["--max-length", "8", "--num-captions", "2", "--beam-width", "3"]


def train(folder, *arguments):
    return cli.main(["train", "captioning", "--run-dir", str(folder), *SMALL, *arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder on scenes, made by the command line."""
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("captioning") / "run"
    assert train(folder, "--num-examples", "320", "--batch-size", "32", "--average", "0.9") == 0
    return folder


@pytest.fixture(scope="module")
def exported(trained):
    """The folder of exported models."""
    exports = trained.parent / "exports"
    assert cli.main(["export", str(trained), "--to", str(exports), *OPTIONS]) == 0
    return exports


@pytest.fixture(scope="module")
def server(exported):
    with DevServer(exported, grpc_port=0, rest_port=0) as running:
        yield running


@pytest.fixture(scope="module")
def scenes(trained):
    """The first test pictures, as PNG files."""
    arrays = run.load_datasets(run.load(TASK, trained)).examples.test.arrays[:30]
    return [tf.io.encode_png(image).numpy() for image in arrays]


def describer(folder, **options):
    loaded = run.load(TASK, folder)
    return Describe(captioner_of(loaded.model), loaded.facts, CaptioningExport(**options))


def test_a_run_leaves_all_it_should(trained):
    metrics = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))
    names = {"bleu_1", "bleu_4", "rouge_l", "cider_d", "exact_match", "novelty"}
    assert names <= set(metrics["metrics"])
    assert metrics["config"]["data"] == "scenes"
    for name in ("config.json", "model.keras", "history.csv", "figures/learning_curve.png"):
        assert (trained / name).is_file(), name
    assert "val_cider_d" in (trained / "history.csv").read_text()


def test_evaluating_again_gives_the_same(trained):
    before = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    assert cli.main(["evaluate", str(trained)]) == 0
    after = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    assert before == after


def test_the_served_model_answers_as_the_keras_model_does(trained, server, scenes):
    options = {"max_length": 8, "num_captions": 2, "beam_width": 3}
    ours = describer(trained, **options).run(tf.constant(scenes))
    with Client(f"127.0.0.1:{server.grpc_port}", "captioning") as client:
        theirs = client.predict({"images": scenes})
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        if value.dtype == tf.string or value.dtype.is_integer:
            np.testing.assert_array_equal(theirs[name], value.numpy(), err_msg=name)
        else:
            np.testing.assert_allclose(theirs[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_files_are_captioned_as_the_pictures_in_the_data_set(trained, scenes):
    describe = describer(trained, beam_width=3)
    arrays = run.load_datasets(run.load(TASK, trained)).examples.test.arrays[:30]
    assert [each.caption for each in describe.files(scenes)] == [
        each.caption for each in describe.all(arrays)
    ]


def test_export_and_keras_agree_on_the_warm_up_requests(trained, exported):
    loaded = run.load(TASK, trained)
    options = CaptioningExport(max_length=8, num_captions=2, beam_width=3)
    signatures = TASK.signatures(loaded.model, loaded.facts, loaded.config, options).signatures
    check_parity(exported / "captioning" / "1", signatures)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_what_is_no_picture_is_an_invalid_argument_and_the_server_lives(server, scenes, protocol):
    port = server.grpc_port if protocol == "grpc" else server.rest_port
    jpeg = photographs.picture(1)
    with Client(f"127.0.0.1:{port}", "captioning", protocol=protocol) as client:
        for content in (
            b"",
            b"hello",
            jpeg[:-400],
            scenes[0][:-40],
            b"\xff\xd8\xff\xe0",
            b"GIF89a",
        ):
            with pytest.raises(ServingError) as caught:
                client.predict({"images": [jpeg, content]})
            assert caught.value.code == "INVALID_ARGUMENT", content[:8]
        assert client.predict({"images": [jpeg]})["captions"].shape == (1, 2)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_pictures_of_all_sizes_and_formats_are_answered(server, protocol):
    port = server.grpc_port if protocol == "grpc" else server.rest_port
    grey = np.random.default_rng(1).integers(0, 256, (1, 1, 1)).astype("uint8")
    images = [photographs.picture(1), photographs.picture(2, 900, 30)]
    images += [
        tf.io.encode_png(grey).numpy(),
        tf.io.encode_png(np.zeros((9, 4, 4), "uint8")).numpy(),
    ]
    with Client(f"127.0.0.1:{port}", "captioning", protocol=protocol) as client:
        answer = client.predict({"images": images})
        alone = [client.predict({"images": [each]}) for each in images]
    for row, single in enumerate(alone):
        assert single["captions"][0].tolist() == answer["captions"][row].tolist()


def test_weights_cover_tokens_and_places(server, scenes):
    with Client(f"127.0.0.1:{server.grpc_port}", "captioning") as client:
        answer = client.predict({"images": scenes[:5]})
    assert answer["weights"].shape == (*answer["tokens"].shape, 16, 16)
    for row in range(5):
        length = answer["lengths"][row, 0]
        np.testing.assert_allclose(answer["weights"][row, 0, :length].sum((1, 2)), 1.0, atol=1e-4)
        assert not answer["weights"][row, 0, length:].any()


def test_predict_captions_the_files_it_is_told(trained, scenes, tmp_path, monkeypatch, capfd):
    (tmp_path / "a.png").write_bytes(scenes[0])
    (tmp_path / "b.png").write_bytes(scenes[0][:-50])

    def type_in(*names):
        lines = "".join(f"{tmp_path / name}\n" for name in names)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        capfd.readouterr()
        return cli.main(["predict", str(trained)]), *capfd.readouterr()

    status, out, _ = type_in("a.png")
    assert status == 0 and out.count("\n") == 1
    for name, words in (("b.png", "expected a whole JPEG"), ("c.png", "cannot be read: No such f")):
        status, _, err = type_in(name)
        assert status == 2 and f"{name}: {words}" in err and err.count("\n") == 1


@pytest.mark.parametrize("attention", ["none", "hard"])
def test_other_attention_goes_the_same_road(attention, tmp_path):
    pytest.importorskip("sklearn")
    folder, exports = tmp_path / "run", tmp_path / "exports"
    arguments = ["--num-examples", "64", "--batch-size", "32", "--attention", attention]
    assert train(folder, *arguments) == 0
    assert cli.main(["evaluate", str(folder)]) == 0
    assert cli.main(["export", str(folder), "--to", str(exports), *OPTIONS]) == 0
    with DevServer(exports, grpc_port=0, rest_port=0) as running:
        with Client(f"127.0.0.1:{running.grpc_port}", "captioning") as client:
            answer = client.predict({"images": [photographs.picture(1)]})
    assert ("weights" in answer) == (attention == "hard")


@pytest.mark.parametrize("layout", ["flickr8k", "coco"])
def test_photographs_go_the_same_road_by_frozen_features(layout, tmp_path):
    import keras

    getattr(photographs, layout)(tmp_path / "data")
    weights = tmp_path / "mobilenet.weights.h5"
    keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    ).save_weights(weights)
    folder, exports = tmp_path / "run", tmp_path / "exports"
    arguments = ["--data", layout, "--data-dir", str(tmp_path / "data"), "--batch-size", "8"]
    arguments += ["--encoder", "MobileNetV2", "--encoder-weights", str(weights)]
    assert train(folder, *arguments, "--image-size", "64") == 0
    weights.unlink()  # The run has its own copy of the encoder.
    image = photographs.picture(5)
    expected = describer(folder, beam_width=5).files([image])[0].caption
    assert cli.main(["export", str(folder), "--to", str(exports)]) == 0
    with DevServer(exports, grpc_port=0, rest_port=0) as running:
        with Client(f"127.0.0.1:{running.grpc_port}", "captioning") as client:
            answer = client.predict({"images": [image]})
    assert answer["captions"][0, 0].decode() == expected
    assert answer["weights"].shape[-2:] == (2, 2)


def test_a_run_that_was_cut_short_goes_on(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    small = ["--num-examples", "64", "--batch-size", "32", "--attention", "hard", "--epochs", "2"]
    assert train(tmp_path / "whole", *small) == 0

    class Cut(Exception):
        pass

    def cut(*_):
        raise Cut

    with monkeypatch.context() as patch:
        from applications.training.checkpoint import Checkpoint

        end = Checkpoint.on_epoch_end
        patch.setattr(Checkpoint, "on_epoch_end", lambda *a: (end(*a), cut()))
        with pytest.raises(Cut):
            train(tmp_path / "cut", *small)
    assert cli.main(["train", "captioning", "--run-dir", str(tmp_path / "cut"), "--resume"]) == 0
    whole, resumed = (
        json.loads((tmp_path / name / "metrics.json").read_text())["metrics"]
        for name in ("whole", "cut")
    )
    assert whole == resumed


def test_it_is_for_tensorflow_serving_only(trained, tmp_path, capfd):
    capfd.readouterr()
    assert cli.main(["export", str(trained), "--to", str(tmp_path), "--format", "onnx"]) == 2
    err = capfd.readouterr().err
    assert (
        "captioning is exported for TensorFlow Serving only: tf2onnx does not convert the loop"
        in err
    )
    assert err.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_mistakes_are_one_line(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("flickr").mkdir()
    Path("flickr/captions.txt").write_text("image,caption\nno comma\n", encoding="utf-8")
    for arguments, words in (
        (["--data", "flickr8k", "--data-dir", "flickr"], "captions.txt:2: expected image,caption"),
        (["--data", "coco", "--data-dir", "nowhere"], "nowhere: expected annotations/captions_tr"),
        (["--data", "coco", "--data-dir", "x", "--encoder", "VGG"], "Received: VGG"),
        (["--attention", "firm"], "--attention"),
        (["--samples", "0"], "--samples must be at least 1. Received: 0"),
    ):
        capfd.readouterr()
        assert cli.main(["train", "captioning", *arguments]) == 2
        err = capfd.readouterr().err
        assert words in err and err.count("\n") == 1
    assert not Path("runs").exists() or not list(Path("runs").rglob("config.json"))
