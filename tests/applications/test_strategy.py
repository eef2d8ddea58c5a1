"""Placement on devices. Two logical CPUs need a fresh process: devices are fixed at first use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from applications.training import strategy
from applications.training.errors import UserError

SCRIPT = """
import dataclasses, pathlib, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_visible_devices([], "GPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from applications.training import history, run, strategy
from applications.training.errors import UserError
from tests.applications.tiny import TASK

root = pathlib.Path(sys.argv[1])
def train(name, resume="no", **changes):
    base = dataclasses.replace(TASK.presets["small"], epochs=2, run_dir=root / name, **changes)
    run.run(TASK, base, resume=resume)
    rows = history.read(root / name / "history.csv")
    return [{key: float(value) for key, value in row.items()} for row in rows]

one = train("one", dropout=0.0)
two = train("two", dropout=0.0, strategy="mirrored")
for first, second in zip(one, two, strict=True):
    for key in ("loss", "mae", "val_loss", "val_mae"):
        assert abs(first[key] - second[key]) < 1e-5, (key, first, second)

whole = train("whole", strategy="mirrored")
save = run.checkpoint.Checkpoint.on_epoch_end
def stop(self, epoch, logs=None):
    save(self, epoch, logs)
    if epoch == 0:
        raise KeyboardInterrupt
run.checkpoint.Checkpoint.on_epoch_end = stop
try:
    train("cut", strategy="mirrored")
except KeyboardInterrupt:
    run.checkpoint.Checkpoint.on_epoch_end = save
cut = train("cut", resume="yes")
for first, second in zip(whole, cut, strict=True):
    assert first | {"seconds": 0} == second | {"seconds": 0}, (first, second)

assert strategy.place("auto", 7).replicas == 1
try:
    strategy.place("mirrored", 7)
except UserError as error:
    assert "must be a multiple of their number, 2. Received: 7" in str(error), error
else:
    raise AssertionError("a batch of 7 on 2 devices")
print("replicas", strategy.place("mirrored", 6).replicas)
"""


def test_two_devices_learn_as_one_and_resume_exactly(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "replicas 2"


def test_one_device_needs_no_strategy():
    place = strategy.place("none", 7)
    assert place.replicas == 1
    with place.scope:
        pass


def test_an_unknown_strategy_is_refused():
    with pytest.raises(
        UserError, match="must be none, auto, mirrored, multi_worker or tpu. Received: 'dtensor'"
    ):
        strategy.place("dtensor", 6)
