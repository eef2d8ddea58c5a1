"""Resuming: as if nothing had happened, bit for bit, and no checkpoint is ever lost."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import subprocess

import keras
import numpy as np
import pytest

from applications.training import checksums, config, files, history, run
from applications.training.checkpoint import Checkpoint
from applications.training.errors import UserError
from tests.applications.tiny import TASK, TinyTask


def newest(folder):
    return max((folder / "checkpoint").glob("epoch_*.npz"))


def arrays(folder):
    with np.load(newest(folder)) as content:
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


AVERAGING = ["--average", "--patience", "3", "--learning-rate", "0.3"]
LAST_EPOCHS = ["--average-epochs", "4"]


@pytest.mark.parametrize("flags", [[], AVERAGING, LAST_EPOCHS])
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


@pytest.mark.parametrize("flags", [[], AVERAGING])
@pytest.mark.parametrize("epoch", [0, 3])
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_run_goes_on_within_an_epoch(command, tmp_path, monkeypatch, epoch, batch, flags):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    flags = ["--checkpoint-steps", 1, "--epochs", 5, *flags]
    assert command("train", "tiny", "--run-dir", whole, *flags)[0] == 0
    steps = []
    with monkeypatch.context() as patch:
        save = Checkpoint.on_train_batch_end

        def saved(self, number, logs=None):
            save(self, number, logs)
            if (self._epoch, number) == (epoch, batch):
                raise KeyboardInterrupt

        patch.setattr(Checkpoint, "on_train_batch_end", saved)
        assert command("train", "tiny", "--run-dir", cut, *flags)[0] == 130

    def count(self, number, logs=None):
        steps.append(number)

    monkeypatch.setattr(history.HistoryFile, "on_train_batch_end", count)
    status, out, err = command("train", "tiny", "--run-dir", cut, "--resume")
    assert (status, err) == (
        0,
        "",
    ) and f"resuming after epoch {epoch}, step {batch + 1} of 5\n" in out
    assert len(steps) == 3 * (5 - epoch) - batch - 1
    assert_same_run(whole, cut)


def test_the_last_two_checkpoints_are_kept(command, tmp_path):
    assert command("train", "tiny", "--run-dir", tmp_path, "--checkpoint-steps", 2)[0] == 0
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == [
        "epoch_000003_step_000000002.npz",
        "epoch_000004_step_000000000.npz",
    ]
    assert checksums.damaged(tmp_path) == []


def damage_bit(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]


DAMAGE = {
    "bit": damage_bit,
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "other": lambda content: b"junk",
}


@pytest.mark.parametrize("sums", ["with sums", "without sums"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    command, tmp_path, monkeypatch, damage, sums
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert command("train", "tiny", "--run-dir", whole)[0] == 0
    with monkeypatch.context() as patch:
        interrupt(patch, 3, batch=1)
        assert command("train", "tiny", "--run-dir", cut)[0] == 130
    path = newest(cut)
    path.write_bytes(damage(path.read_bytes()))
    if sums == "without sums":
        (cut / checksums.NAME).unlink()
    status, out, err = command("train", "tiny", "--run-dir", cut, "--resume")
    assert status == 0 and "resuming after epoch 2 of 4\n" in out
    assert f"keras-attention: {path} is damaged (" in err
    assert (path.parent / f"damaged_{path.name}").exists()
    assert_same_run(whole, cut)


def test_if_all_checkpoints_are_damaged_none_is_invented(command, refuse, tmp_path):
    assert command("train", "tiny", "--run-dir", tmp_path)[0] == 0
    for path in (tmp_path / "checkpoint").iterdir():
        path.write_bytes(damage_bit(path.read_bytes()))
    status, _, err = command("train", "tiny", "--run-dir", tmp_path, "--resume")
    assert status == 2
    assert err.endswith(f"{tmp_path / 'checkpoint'} holds no checkpoint that is not damaged.\n")


def test_damage_of_any_file_of_a_run_is_found_and_named(command, tmp_path, capfd):
    assert command("train", "tiny", "--run-dir", tmp_path)[0] == 0
    found = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(found) == 10
    for path in found:
        content, name = path.read_bytes(), path.relative_to(tmp_path).as_posix()
        for damage in DAMAGE.values():
            path.write_bytes(damage(content))
            refused = ""
            try:
                run.load(TASK, tmp_path)
            except UserError as error:
                refused = str(error)
            told = refused + capfd.readouterr().err
            if name == checksums.NAME:  # Of no sums, none is wrong.
                assert name in told or not damage(content)
            else:
                assert str(path) in told
                assert bool(refused) != name.startswith(("checkpoint", "figures", "metrics"))
        path.write_bytes(content)
        run.load(TASK, tmp_path)
        assert capfd.readouterr().err == ""


def test_a_kill_while_a_file_is_replaced_is_no_damage(tmp_path):
    checksums.begin(tmp_path)
    files.write_text(tmp_path / "a", "first")
    new = tmp_path / ".partial-a"
    for content in ("second", "third"):
        new.write_text(content)
        with contextlib.suppress(KeyboardInterrupt), checksums.replacing(tmp_path / "a", new):
            raise KeyboardInterrupt  # Before the rename: the old file is there.
        assert checksums.damaged(tmp_path) == []
        with contextlib.suppress(KeyboardInterrupt), checksums.replacing(tmp_path / "a", new):
            os.replace(new, tmp_path / "a")  # After it: the new one is.
            raise KeyboardInterrupt
        assert checksums.damaged(tmp_path) == []
    with (
        contextlib.suppress(KeyboardInterrupt),
        checksums.replacing(tmp_path / "b", tmp_path / "a"),
    ):
        raise KeyboardInterrupt  # A file that has never been there is not missed.
    assert checksums.damaged(tmp_path) == []
    files.write_text(tmp_path / "a", "fourth")
    digest = hashlib.sha256(b"fourth").hexdigest()
    assert f"{digest}  a\n" in (tmp_path / checksums.NAME).read_text()
    (tmp_path / "a").unlink()
    assert checksums.damaged(tmp_path) == ["a"]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_agrees(command, tmp_path):
    assert command("train", "tiny", "--run-dir", tmp_path)[0] == 0
    check = ["sha256sum", "--check", "--strict", checksums.NAME]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK") == 9


def test_without_the_states_of_seed_generators_the_runs_would_differ(
    command, tmp_path, monkeypatch
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert command("train", "tiny", "--run-dir", whole)[0] == 0
    with monkeypatch.context() as patch:
        interrupt(patch, 2, batch=1)
        assert command("train", "tiny", "--run-dir", cut)[0] == 130
    restore = Checkpoint._restore

    def forget_seeds(self):
        (seed,) = [variable for variable in self.model.variables if "seed" in variable.path]
        fresh = seed.numpy()
        restore(self)
        seed.assign(fresh)

    monkeypatch.setattr(Checkpoint, "_restore", forget_seeds)
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


@pytest.mark.parametrize("flags", [[], LAST_EPOCHS])
def test_a_finished_run_is_only_evaluated_again(command, tmp_path, flags):
    wild = ("--epochs", 7, "--learning-rate", 0.9, *flags)
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
        if str(target).endswith(".npz"):
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
    one, two, three = (
        cut / "checkpoint" / f"epoch_00000{epoch}_step_000000000.npz" for epoch in (1, 2, 3)
    )
    assert f"No space left on device: {three} What is written is whole; continue with: " in line
    assert sorted((cut / "checkpoint").iterdir()) == [one, two]
    assert checksums.damaged(cut) == []
    assert '"epoch": 2' in str(arrays(cut)["state"])
    assert command("train", "tiny", "--run-dir", cut, "--resume")[0] == 0
    assert_same_run(whole, cut)


def model_and_checkpoint(folder, units=3, others=(), dtype="float32", value="zeros"):
    layer = keras.layers.Dense(units, dtype=dtype, kernel_initializer=value)
    model = keras.Sequential([keras.Input((2,)), layer])
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    lines = history.HistoryFile(folder / "history.csv")
    keeper = Checkpoint(folder, keras.callbacks.EarlyStopping(), lines, others)
    keeper.set_model(model)
    keeper.set_params({"epochs": 1})
    return model, keeper


def test_a_checkpoint_that_does_not_fit_is_refused_whole(tmp_path):
    model_and_checkpoint(tmp_path)[1].on_epoch_end(0)
    model, keeper = model_and_checkpoint(tmp_path, units=5)
    before = model.get_weights()
    with pytest.raises(UserError, match=r"written by another model: expected model variables of s"):
        keeper.read(model)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
    model, keeper = model_and_checkpoint(tmp_path, others=[keras.callbacks.Callback()])
    with pytest.raises(UserError, match="written with other callbacks: expected 2. Received: 1"):
        keeper.read(model)


def test_a_missing_checkpoint_means_the_first_epoch(tmp_path):
    model, keeper = model_and_checkpoint(tmp_path)
    assert keeper.read(model) == (0, 0) and not keeper.finished


def test_bfloat16_weights_survive(tmp_path):
    value = keras.initializers.Constant(0.75)
    model, keeper = model_and_checkpoint(tmp_path, dtype="bfloat16", value=value)
    keeper.stopping.best_weights = model.get_weights()
    keeper.on_epoch_end(0)
    model, keeper = model_and_checkpoint(tmp_path, dtype="bfloat16")
    assert keeper.read(model) == (1, 0) and keeper.finished
    keeper.on_train_begin()
    np.testing.assert_array_equal(np.asarray(model.get_weights()[0], "float32"), 0.75)
    model, keeper = model_and_checkpoint(tmp_path, dtype="bfloat16")
    keeper.read(model)
    keeper.use_best_weights(model)
    np.testing.assert_array_equal(np.asarray(model.get_weights()[0], "float32"), 0.75)


def test_a_finished_run_of_which_none_are_the_best_has_its_last_weights(tmp_path):
    model, keeper = model_and_checkpoint(tmp_path, value=keras.initializers.Constant(0.75))
    keeper.on_epoch_end(0)
    model, keeper = model_and_checkpoint(tmp_path)
    keeper.read(model)
    keeper.use_best_weights(model)
    np.testing.assert_array_equal(model.get_weights()[0], 0.75)
