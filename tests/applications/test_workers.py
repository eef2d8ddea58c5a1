"""Processes that are killed, and processes that train together."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from applications.training import checksums, history, strategy
from applications.training.errors import UserError
from benchmarks.distribution import environments
from tests.applications.test_checkpoint import assert_same_run, story

ROOT = Path(__file__).parents[2]
LIMIT = 300  # seconds


class Workers:
    """Processes that train the tiny task in one folder."""

    def __init__(self, folder, count, *flags):
        command = [sys.executable, "-m", "tests.applications.workers", str(folder), *flags]
        if count > 1:
            command += ["--strategy", "multi_worker"]
        self.folder = folder
        self.processes = [
            subprocess.Popen(
                command,
                env=environment,
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for environment in environments(count)
        ]

    def wait(self):
        """What each said on standard error, and its exit status."""
        found = [process.communicate(timeout=LIMIT)[1] for process in self.processes]
        return found, [process.returncode for process in self.processes]

    def wait_for_epochs(self, count):
        """Returns once so many epochs are on file."""
        begun = time.monotonic()
        while len(history.read(self.folder / "history.csv")) < count:
            assert time.monotonic() - begun < LIMIT
            assert all(process.poll() is None for process in self.processes), self.wait()
            time.sleep(0.05)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert Workers(folder, 1, *FLAGS).wait() == ([""], [0])
    return folder


FLAGS = ("--epochs", "60", "--checkpoint-steps", "2", "--average", "--learning-rate", "0.01")


def test_kills_at_any_moment_change_nothing(tmp_path, whole):
    chance = random.Random(3)
    for kill in range(3):
        workers = Workers(tmp_path, 1, *FLAGS)
        workers.wait_for_epochs(10 * kill + 1)
        time.sleep(chance.uniform(0.0, 0.3))
        workers.processes[0].kill()
        assert workers.wait()[1] == [-9]
        assert checksums.damaged(tmp_path) == []
    assert Workers(tmp_path, 1, *FLAGS).wait() == ([""], [0])
    assert_same_run(whole, tmp_path)


def test_two_workers_learn_as_one_and_survive_the_loss_of_either(tmp_path):
    flags = ("--epochs", "9", "--checkpoint-steps", "1", "--dropout", "0")
    one, two, lost = (tmp_path / name for name in ("one", "two", "lost"))
    assert Workers(one, 1, *flags).wait()[1] == [0]
    errors, statuses = Workers(two, 2, *flags).wait()
    assert statuses == [0, 0], errors
    for first, second in zip(story(one), story(two), strict=True):
        assert first.keys() == second.keys()
        for name, value in first.items():
            np.testing.assert_allclose(float(second[name]), float(value), rtol=1e-5)
    for index in (0, 1):
        workers = Workers(lost, 2, *flags)
        workers.wait_for_epochs(3 * index + 1)
        workers.processes[index].kill()
        errors, statuses = workers.wait()
        assert statuses[index] == -9 and statuses[1 - index] not in (0, None)
        if index == 1:  # The chief says it in one line; without a chief, TensorFlow ends a process.
            assert statuses[0] == 1
            assert "keras-attention: a worker was lost; start all of them again. " in errors[0]
    errors, statuses = Workers(lost, 2, *flags).wait()
    assert statuses == [0, 0], errors
    assert_same_run(two, lost)


@pytest.mark.parametrize(
    "told",
    [
        None,
        "",
        "{}",
        "junk",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_workers_need_to_be_told_of_each_other(monkeypatch, told):
    if told is None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    else:
        monkeypatch.setenv("TF_CONFIG", told)
    with pytest.raises(UserError, match="multi_worker needs the environment variable TF_CONFIG"):
        strategy.place("multi_worker", 6)


def test_a_tpu_is_missed():
    with pytest.raises(UserError, match="--strategy tpu needs a TPU, and none was found: "):
        strategy.place("tpu", 6)


@pytest.mark.parametrize(("how", "rate"), [("none", 0.02), ("linear", 0.08), ("sqrt", 0.04)])
def test_the_learning_rate_is_scaled_as_told(how, rate):
    import dataclasses
    from types import SimpleNamespace

    from tests.applications.tiny import TASK

    settings = dataclasses.replace(TASK.presets["small"], learning_rate_scaling=how)
    four = strategy.Placement(SimpleNamespace(num_replicas_in_sync=4), "four")
    assert four.scaled(settings).learning_rate == pytest.approx(rate)
