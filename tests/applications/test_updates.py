"""Updates of several steps and of scaled losses, on one device and on two."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from applications.training import history, run, updates
from applications.training.config import TrainConfig
from tests.applications.tiny import TASK

SCRIPT = """
import numpy as np, keras, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_visible_devices([], "GPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from applications.training import loop, precision, strategy, updates
from applications.training.config import TrainConfig

X = np.random.default_rng(1).normal(size=(16, 3)).astype("float32")
Y = X @ np.array([[1.0], [-2.0], [0.5]], "float32")

def train(kind, config, y=Y):
    placement = strategy.place(kind, config.batch_size)
    with placement.scope, precision.policy(config.precision):
        dense = keras.layers.Dense(1, "tanh", kernel_initializer="ones")
        model = keras.Sequential([keras.Input((3,)), dense])
        optimizer = keras.optimizers.Adam(
            0.1, use_ema=True, ema_momentum=0.7, global_clipnorm=0.5
        )
        model.compile(updates.of(optimizer, config), "mse")
        model.optimizer.build(model.trainable_variables)
    data = tf.data.Dataset.from_tensor_slices((X, y)).batch(config.batch_size)
    loop.prepare(model, data, placement)
    loop.fit(model, data, data, placement, epochs=2)
    return model

whole = train("none", TrainConfig(batch_size=8))
parts = train("mirrored", TrainConfig(batch_size=4, accumulate=2))
for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
assert parts.optimizer.iterations.numpy() == 4

far = Y.copy()
far[3] = 2e3  # Its gradient is infinite in float16: of the first batch, on the second device.
for accumulate in (1, 2):
    config = TrainConfig(batch_size=4, accumulate=accumulate, precision="mixed_float16")
    model = train("mirrored", config, far)
    assert all(np.isfinite(each).all() for each in model.get_weights())
    assert model.optimizer.iterations.numpy() == 8 // accumulate - 2
print("done")
"""


def test_two_devices_update_as_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "done"


def fitted(batch_size, accumulate, precision="float32", x_of=None):
    """A model after two epochs of 24 examples."""
    keras.utils.set_random_seed(1)
    config = TrainConfig(batch_size=batch_size, accumulate=accumulate, precision=precision)
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(3, "tanh"),
            keras.layers.Dense(1),
        ]
    )
    optimizer = keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9)
    model.compile(updates.of(optimizer, config), "mse")
    ids = np.random.default_rng(2).integers(0, 5, (24, 2))
    answers = ids.sum(axis=1, keepdims=True) / 4.0
    model.fit(ids, answers, batch_size=batch_size, epochs=2, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize("steps", [2, 3])
def test_steps_of_part_of_a_batch_update_as_one_of_the_whole(steps):
    whole, parts = fitted(12, 1), fitted(12 // steps, steps)
    assert parts.optimizer.iterations == whole.optimizer.iterations == 4
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    averages = [each for each in whole.optimizer.variables if "average" in each.path]
    others = [each for each in parts.optimizer.variables if "average" in each.path]
    assert len(averages) == 4
    for one, other in zip(averages, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_a_scaled_loss_gives_the_same_updates():
    plain, scaled = fitted(12, 1), fitted(6, 2, "mixed_float16")
    assert float(scaled.optimizer.dynamic_scale) == 2.0**15
    for one, other in zip(plain.get_weights(), scaled.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2])
def test_an_update_that_is_not_finite_is_left_out_and_halves_the_scale(steps):
    config = TrainConfig(accumulate=steps, precision="mixed_float16")
    optimizer = updates.of(keras.optimizers.SGD(1.0), config)
    weight = keras.Variable([2.0, 3.0])
    optimizer.build([weight])
    infinite, ones = np.array([np.inf, 1.0], "float32"), np.ones(2, "float32")
    for gradient in [ones, infinite][-steps:]:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)])
    np.testing.assert_array_equal(weight, [2.0, 3.0])
    assert float(optimizer.dynamic_scale) == 2.0**14
    for _ in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(2.0**14 * ones)])
    np.testing.assert_array_equal(weight, [1.0, 2.0])


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_run_that_is_cut_short_between_updates_resumes_exactly(tmp_path, monkeypatch, precision):
    def train(name, resume="no"):
        settings = dataclasses.replace(  # 3 steps an epoch: every other one ends between updates
            *[TASK.presets["small"]],
            run_dir=tmp_path / name,
            accumulate=2,
            epochs=3,
            average=True,
            precision=precision,
        )
        run.run(TASK, settings, resume=resume)
        rows = history.read(tmp_path / name / "history.csv")
        return [{**row, "seconds": 0} for row in rows]

    whole = train("whole")
    save = run.checkpoint.Checkpoint.on_epoch_end

    def stop(self, epoch, logs=None):
        save(self, epoch, logs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run.checkpoint.Checkpoint, "on_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            train("cut")
    assert train("cut", resume="yes") == whole


def test_a_model_read_from_the_file_of_a_run_trains_on(tmp_path):
    settings = dataclasses.replace(TASK.presets["small"], run_dir=tmp_path, accumulate=3, epochs=1)
    run.run(TASK, settings)
    model = keras.saving.load_model(tmp_path / "model.keras")
    assert model.optimizer.steps == 3 and int(model.optimizer.step) == 3
    model.fit(np.ones((6, 3)), np.ones((6, 1)), batch_size=2, verbose=0)


def test_a_task_that_forgets_the_flags_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(updates, "of", lambda optimizer, config: optimizer)
    settings = dataclasses.replace(TASK.presets["small"], accumulate=2)
    model = TASK.build(settings, {"width": 3})
    monkeypatch.undo()
    with pytest.raises(ValueError, match="A task must compile its model with `updates.of"):
        updates.check(model.optimizer, settings)
