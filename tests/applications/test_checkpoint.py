"""Resuming: as if nothing had happened, bit for bit, and no checkpoint is ever lost."""

from __future__ import annotations

import errno
import os

import keras
import numpy as np
import pytest

from applications.training import config, history
from applications.training.checkpoint import Checkpoint
from applications.training.errors import UserError
from tests.applications.tiny import TinyTask


def arrays(folder):
    with np.load(folder / "checkpoint" / "latest.npz") as content:
        return {name: content[name] for name in content}


def story(folder):
    """The history without the times."""
    return [
        {k: v for k, v in row.items() if k != "seconds"}
        for row in history.read(folder / "history.csv")
    ]


def assert_same_run(one, two):
    first, second = arrays(one), arrays(two)
    assert first.keys() == second.keys()
    for name in first.keys() - {"state"}:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name, strict=True)
    assert str(first["state"]) == str(second["state"])
    assert story(one) == story(two)


def interrupt(patch, epoch, batch):
    """Makes Ctrl-C arrive in the middle of an epoch (from 0)."""
    reached = {}

    def begin(self, number, logs=None):
        reached["epoch"] = number

    def end(self, number, logs=None):
        if (reached["epoch"], number) == (epoch, batch):
            raise KeyboardInterrupt

    patch.setattr(history.HistoryFile, "on_epoch_begin", begin)
    patch.setattr(history.HistoryFile, "on_train_batch_end", end)


@pytest.mark.parametrize("flags", [[], ["--average", "--patience", "3", "--learning-rate", "0.3"]])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(command, tmp_path, monkeypatch, flags):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert command("train", "tiny", "--epochs", 6, "--run-dir", whole, *flags)[0] == 0
    for epoch in (0, 2, 3):  # Before the first checkpoint, then twice in the middle.
        resume = ["--resume"] if epoch else []
        with monkeypatch.context() as patch:
            interrupt(patch, epoch, batch=1)
            start = ("train", "tiny", "--epochs", 6, "--run-dir", cut, *flags, *resume)
            status, _, err = command(*start)
        assert status == 130
        assert err == (
            "keras-attention: interrupted. What is written is whole; continue with: "
            f"keras-attention train tiny --run-dir {cut} --resume\n"
        )
        if not epoch:
            assert not (cut / "checkpoint").exists()
    status, out, _ = command("train", "tiny", "--run-dir", cut, "--resume")
    assert status == 0 and "resuming after epoch 3 of 6\n" in out and "ignored" not in out
    assert_same_run(whole, cut)
    same = keras.saving.load_model(whole / "model.keras").get_weights()
    for one, two in zip(
        same, keras.saving.load_model(cut / "model.keras").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_without_the_states_of_seed_generators_the_runs_would_differ(
    command, tmp_path, monkeypatch
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert command("train", "tiny", "--run-dir", whole)[0] == 0
    with monkeypatch.context() as patch:
        interrupt(patch, 2, batch=1)
        assert command("train", "tiny", "--run-dir", cut)[0] == 130
    restore = Checkpoint.restore

    def forget_seeds(self, model):
        (seed,) = [variable for variable in model.variables if "seed" in variable.path]
        fresh = seed.numpy()
        epoch = restore(self, model)
        seed.assign(fresh)
        return epoch

    monkeypatch.setattr(Checkpoint, "restore", forget_seeds)
    assert command("train", "tiny", "--run-dir", cut, "--resume")[0] == 0
    with pytest.raises(AssertionError):
        assert_same_run(whole, cut)


def test_early_stopping_remembers_how_long_it_waited(command, tmp_path, monkeypatch):
    wild = ("--epochs", 29, "--patience", 3, "--learning-rate", 0.9)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert command("train", "tiny", "--run-dir", whole, *wild)[0] == 0
    stopped = len(story(whole))
    assert stopped < 29
    with monkeypatch.context() as patch:
        interrupt(patch, stopped - 1, batch=0)  # Patience is nearly over.
        assert command("train", "tiny", "--run-dir", cut, *wild)[0] == 130
    assert command("train", "tiny", "--run-dir", cut, "--resume")[0] == 0
    assert_same_run(whole, cut)


def test_a_finished_run_is_only_evaluated_again(command, tmp_path):
    wild = ("--epochs", 7, "--learning-rate", 0.9)
    assert command("train", "tiny", "--run-dir", tmp_path / "r", *wild)[0] == 0
    model = keras.saving.load_model(tmp_path / "r" / "model.keras").get_weights()
    before = story(tmp_path / "r")
    status, out, _ = command("train", "tiny", "--run-dir", tmp_path / "r", "--resume")
    assert status == 0 and "Epoch" not in out and "mse: " in out
    assert story(tmp_path / "r") == before
    again = keras.saving.load_model(tmp_path / "r" / "model.keras").get_weights()
    for one, two in zip(model, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_resume_says_which_flags_it_ignores(command, tmp_path):
    folder = tmp_path / "r"
    assert command("train", "tiny", "--run-dir", folder, "--epochs", 1)[0] == 0
    status, out, _ = command("train", "tiny", "--run-dir", folder, "--resume", "--units", 7)
    assert status == 0
    assert "--resume keeps the saved settings; ignored: --units 7 (saved: 5)\n" in out
    assert config.load(folder / "config.json", type(TinyTask.presets["small"])).units == 5


def fill_disk_on_rename(patch, count):
    real, seen = os.replace, []

    def replace(source, target):
        if str(target).endswith("latest.npz"):
            seen.append(target)
            if len(seen) == count:
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target)

    patch.setattr(os, "replace", replace)


def fill_disk_on_write(patch, count):
    real, seen = np.savez, []

    def savez(path, **arrays):
        seen.append(path)
        if len(seen) < count:
            return real(path, **arrays)
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    patch.setattr(np, "savez", savez)


@pytest.mark.parametrize("fill_disk", [fill_disk_on_rename, fill_disk_on_write])
def test_a_full_disk_leaves_the_previous_checkpoint(command, refuse, tmp_path, fill_disk):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert command("train", "tiny", "--run-dir", whole)[0] == 0
    with pytest.MonkeyPatch.context() as patch:
        fill_disk(patch, 3)
        line = refuse("train", "tiny", "--run-dir", cut, status=1)
    latest = cut / "checkpoint" / "latest.npz"
    assert f"No space left on device: {latest} What is written is whole; continue with: " in line
    assert [path.name for path in (cut / "checkpoint").iterdir()] == ["latest.npz"]
    assert '"epoch": 2' in str(arrays(cut)["state"])
    assert command("train", "tiny", "--run-dir", cut, "--resume")[0] == 0
    assert_same_run(whole, cut)


def model_and_checkpoint(path, units=3, others=()):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    keeper = Checkpoint(path, keras.callbacks.EarlyStopping(), others)
    keeper.set_model(model)
    keeper.set_params({"epochs": 2})
    return model, keeper


def test_a_checkpoint_that_does_not_fit_is_refused_whole(tmp_path):
    path = tmp_path / "c.npz"
    model_and_checkpoint(path)[1].on_epoch_end(0)
    model, keeper = model_and_checkpoint(path, units=5)
    before = model.get_weights()
    with pytest.raises(UserError, match=r"written by another model: expected model variables of s"):
        keeper.restore(model)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
    model, keeper = model_and_checkpoint(path, others=[keras.callbacks.Callback()])
    with pytest.raises(UserError, match="written with other callbacks: expected 2. Received: 1"):
        keeper.restore(model)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"junk"])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    path = tmp_path / "c.npz"
    model, keeper = model_and_checkpoint(path)
    keeper.on_epoch_end(0)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="c.npz is not a readable checkpoint: "):
        keeper.restore(model)


def test_a_missing_checkpoint_means_the_first_epoch(tmp_path):
    model, keeper = model_and_checkpoint(tmp_path / "none.npz")
    assert keeper.restore(model) == 0 and not keeper.finished


def test_bfloat16_weights_survive(tmp_path):
    def make(value):
        layer = keras.layers.Dense(3, dtype="bfloat16", kernel_initializer=value)
        model = keras.Sequential([keras.Input((2,)), layer])
        model.compile("sgd", "mse")
        model.optimizer.build(model.trainable_variables)
        keeper = Checkpoint(tmp_path / "c.npz", keras.callbacks.EarlyStopping())
        keeper.stopping.best_weights = model.get_weights()
        keeper.set_model(model)
        keeper.set_params({"epochs": 1})
        return model, keeper

    make(keras.initializers.Constant(0.75))[1].on_epoch_end(0)
    model, keeper = make("zeros")
    assert keeper.restore(model) == 1 and keeper.finished
    np.testing.assert_array_equal(np.asarray(model.get_weights()[0], "float32"), 0.75)
    model.set_weights([weight * 0 for weight in model.get_weights()])
    keeper.use_best_weights(model)
    np.testing.assert_array_equal(np.asarray(model.get_weights()[0], "float32"), 0.75)
