"""One run: its files, early stopping, best weights, progress, and its refusals."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json
import sys

import keras
import numpy as np
import pytest

from applications.training import config, history, provenance, run
from applications.training.data import epoch_counter, shuffled
from applications.training.errors import UserError
from tests.applications.tiny import TASK, TinyConfig, TinyTask

SMALL = TASK.presets["small"]


def at(folder, **changes):
    return dataclasses.replace(SMALL, run_dir=folder, **changes)


def rows(folder):
    with (folder / "history.csv").open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_a_run_leaves_its_whole_story(tmp_path, capfd):
    folder = tmp_path / "deep" / "run"
    document = run.run(TASK, at(folder, tensorboard=True))
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS",
        "checkpoint",
        "config.json",
        "facts",
        "figures",
        "history.csv",
        "metrics.json",
        "model.keras",
        "tensorboard",
    ]
    assert json.loads((folder / "metrics.json").read_text()) == document
    assert document["metrics"]["names"] == ["a", "b"]
    assert document["parameters"] == 3 * 5 + 5 + 5 + 1
    assert (document["task"], document["seed"], document["epochs"]) == ("tiny", 1, 4)
    assert document["wall_seconds"] >= document["training_seconds"] > 0
    assert document["keras"] == keras.__version__ and document["hardware"]["cores"] >= 1
    assert config.from_json(TinyConfig, document["config"], "x") == at(folder, tensorboard=True)
    assert [row["epoch"] for row in rows(folder)] == [1, 2, 3, 4]
    assert set(rows(folder)[0]) == {"epoch", "seconds", "loss", "mae", "val_loss", "val_mae"}
    assert list((folder / "tensorboard").rglob("events.out.tfevents.*"))
    assert "\x1b" not in capfd.readouterr().out


def test_the_settings_may_say_what_the_best_weights_are(tmp_path):
    """Here, in contrast to the test below, those of the highest loss."""

    class Odd(TinyTask):
        def monitored(self, config):
            return "val_loss", "max"

    document = run.run(Odd(), at(tmp_path))
    losses = [row["val_loss"] for row in rows(tmp_path)]
    assert document["metrics"]["mse"] == pytest.approx(max(losses), rel=1e-5)


def test_model_keras_holds_the_best_weights_not_the_last(tmp_path):
    wild = at(tmp_path, learning_rate=0.9, epochs=7)
    document = run.run(TASK, wild)
    losses = [row["val_loss"] for row in rows(tmp_path)]
    assert losses.index(min(losses)) < len(losses) - 1  # Else the test shows nothing.
    np.testing.assert_allclose(document["metrics"]["mse"], min(losses), rtol=1e-6)
    x = np.array([[0.2, 0.3, 0.5]], "float32")
    again = keras.saving.load_model(tmp_path / "model.keras")
    trained = run.load(TASK, tmp_path)
    np.testing.assert_array_equal(again(x), trained.model(x))


def test_model_keras_may_hold_the_mean_of_the_last_epochs(tmp_path):
    after = []

    class Watched(TinyTask):
        def callbacks(self, config, datasets):
            def keep(epoch, logs):
                after.append(model.get_weights())

            watch = keras.callbacks.LambdaCallback(on_epoch_end=keep)
            return [watch]

        def build(self, config, facts):
            nonlocal model
            model = super().build(config, facts)
            return model

    model = None
    document = run.run(Watched(), at(tmp_path, epochs=5, average_epochs=3, learning_rate=0.1))
    found = keras.saving.load_model(tmp_path / "model.keras")
    for mean, *last in zip(found.get_weights(), *after[2:5], strict=True):
        np.testing.assert_allclose(mean, np.mean(last, axis=0), atol=1e-6)
    losses = [row["val_loss"] for row in rows(tmp_path)]  # Still told of each epoch alone.
    assert len(losses) == 5 and document["metrics"]["mse"] not in losses


def test_patience_stops_training_and_zero_never_does(tmp_path):
    run.run(TASK, at(tmp_path / "a", learning_rate=0.9, epochs=23, patience=2))
    losses = [row["val_loss"] for row in rows(tmp_path / "a")]
    assert len(losses) < 23 and losses.index(min(losses)) == len(losses) - 3


def test_the_same_seed_gives_the_same_run(tmp_path):
    results = [
        run.run(TASK, at(tmp_path / name, seed=seed))["metrics"]["mse"]
        for name, seed in (("a", 3), ("b", 3), ("c", 5))
    ]
    assert results[0] == results[1] != results[2]


def test_a_terminal_gets_the_progress_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    run.run(TASK, at(tmp_path, epochs=1))
    assert "━" in capsys.readouterr().out


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run already: continue it with --resume, or ch"):
        run.run(TASK, at(tmp_path))
    assert (tmp_path / "config.json").read_text() == "{}"


def test_a_run_of_another_task_is_not_resumed(tmp_path):
    config.save(tmp_path / "config.json", "captioning", at(tmp_path))
    with pytest.raises(UserError, match="holds a run of captioning, not of tiny."):
        run.run(TASK, at(tmp_path), resume="yes")


def test_a_loss_that_is_no_number_is_told_and_spoils_no_checkpoint(tmp_path, monkeypatch):
    class Poison(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.set_weights([w * np.nan for w in self.model.get_weights()])

    monkeypatch.setattr(TinyTask, "callbacks", lambda *_: [Poison()])
    with pytest.raises(UserError) as caught:
        run.run(TASK, at(tmp_path))
    message = "The loss became infinite or not a number in epoch 3; try a lower --learning-rate. "
    assert message + "Received: --learning-rate 0.02." in str(caught.value)
    assert len(rows(tmp_path)) == 2
    monkeypatch.setattr(TinyTask, "callbacks", lambda *_: [keras.callbacks.Callback()])
    assert np.isfinite(run.run(TASK, at(tmp_path), resume="yes")["metrics"]["mse"])


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("tensorboard", r'--tensorboard needs the package tensorboard\. .*\[tensorboard\]"$'),
        ("matplotlib", r'Training needs the package matplotlib\. .*\[applications\]"$'),
        ("jiwer", r'Training needs the package jiwer\. .*\[applications\]"$'),
    ],
)
def test_what_the_end_needs_is_missed_before_training(tmp_path, monkeypatch, missing, message):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    monkeypatch.setattr(TinyTask, "packages", ("jiwer",))
    with pytest.raises(UserError, match=message):
        run.run(TASK, at(tmp_path / "r", tensorboard=True))
    assert not (tmp_path / "r").exists()


def test_a_task_must_return_a_whole_model(tmp_path, monkeypatch):
    monkeypatch.setattr(TinyTask, "build", lambda *_: keras.Sequential([keras.layers.Dense(1)]))
    with pytest.raises(ValueError, match="must return a model that is built and compiled"):
        run.run(TASK, at(tmp_path))


def test_a_metric_that_json_cannot_hold_is_refused(tmp_path, monkeypatch):
    values = [("count", np.int64(3)), ("curve", np.array([1.0, 2.5]))]
    monkeypatch.setattr(TinyTask, "evaluate", lambda *_: iter(values))
    metrics = run.run(TASK, at(tmp_path / "a", epochs=1))["metrics"]
    assert metrics == {"count": 3, "curve": [1.0, 2.5]}
    monkeypatch.setattr(TinyTask, "evaluate", lambda *_: iter([("odd", [object()])]))
    with pytest.raises(TypeError, match="A metric must be a number, string, list or dict. Receiv"):
        run.run(TASK, at(tmp_path / "b", epochs=1))
    assert not (tmp_path / "b" / "metrics.json").exists()


def test_the_order_of_the_data_follows_from_seed_and_epoch_alone():
    import tensorflow as tf

    epoch = epoch_counter()
    numbers = tf.data.Dataset.range(23)
    dataset = shuffled(numbers, 23, 3, epoch).batch(5).prefetch(2)

    def order(number, data=dataset):
        epoch.assign(number)
        return np.concatenate([batch.numpy() for batch in data]).tolist()

    first, second = order(0), order(1)
    assert sorted(first) == list(range(23)) and first != second != list(range(23))
    assert (order(1), order(0), order(0)) == (second, first, first)
    assert order(0, shuffled(numbers, 23, 5, epoch).batch(5)) != first
    assert dataset.cardinality() == 5


def test_a_history_keeps_only_the_epochs_before_the_first_new_one(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,seconds,loss\n1,2.5,0.9\n2,1.5,0.8\n3,1.0,0.7\n")
    assert history.training_seconds(path) == 5.0
    lines = history.HistoryFile(path)
    lines.keep(2)
    lines.on_epoch_begin(2)
    lines.on_epoch_end(2, {"loss": 0.5})
    found = [(row["epoch"], row["loss"]) for row in history.read(path)]
    assert found == [("1", "0.9"), ("2", "0.8"), ("3", "0.5")]


def test_provenance_names_the_commit_only_in_a_checkout_of_ours(monkeypatch, tmp_path):
    assert provenance.commit() is None or len(provenance.commit().removesuffix("-dirty")) == 40
    stray = tmp_path / "provenance.py"
    stray.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(stray))
    assert provenance.commit.__wrapped__() is None
