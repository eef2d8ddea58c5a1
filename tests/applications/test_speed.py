"""How fast a training went, what it took, and a trace of it."""

from __future__ import annotations

import dataclasses
import importlib.util

import pytest
import tensorflow as tf

from applications.training import profiling, run, speed
from applications.training.task import Datasets
from tests.applications.tiny import TASK

SMALL = TASK.presets["small"]


@pytest.fixture
def clock(monkeypatch):
    """The time, which stands still until it is moved."""
    now = [0.0]
    monkeypatch.setattr(speed.time, "monotonic", lambda: now[0])
    return now


def measured(amounts):
    """A measure of epochs of 4 steps of 5 examples."""
    train = tf.data.Dataset.range(4)
    return speed.Speed(Datasets(train, train, train, None, amounts=amounts), 5)


def epoch(watch, clock, seconds, at_once=1):
    """An epoch of 4 steps, so many at once, with the seconds of each call, and validation."""
    for call, spent in enumerate(seconds):
        watch.on_train_batch_begin(call * at_once)
        clock[0] += spent
        watch.on_train_batch_end((call + 1) * at_once - 1)
    watch.on_test_begin()
    clock[0] += 1000.0
    watch.on_epoch_end(0)


@pytest.mark.parametrize(
    ("epochs", "at_once", "steps", "seconds"),
    [
        ([[100.0, 1.0, 2.0, 1.0]], 1, 3, 4.0),
        ([[100.0, 1.0, 2.0, 1.0], [2.0, 2.0, 2.0, 2.0]], 1, 7, 12.0),
        ([[100.0, 3.0]], 2, 2, 3.0),
        ([[100.0], [5.0]], 4, 4, 5.0),
    ],
)
def test_neither_compiling_nor_validation_counts(clock, epochs, at_once, steps, seconds):
    watch = measured({"tokens": 4 * 7.0})
    for each in epochs:
        epoch(watch, clock, each, at_once)
    found = watch.results()
    assert found["examples_per_second"] == round(5 * steps / seconds, 1)
    assert found["tokens_per_second"] == round(7 * steps / seconds, 1)
    assert found["peak_memory_bytes"] == speed.peak_memory() > 2**20
    assert watch.describe().startswith(f"speed: {5 * steps / seconds:,.0f} examples/s, ")


def test_a_task_may_say_how_many_examples_an_epoch_has(clock):
    watch = measured({"examples": 12})
    epoch(watch, clock, [100.0, 1.0, 1.0, 1.0])
    assert watch.results()["examples_per_second"] == 3.0


def test_one_call_is_no_measure(clock):
    watch = measured({})
    epoch(watch, clock, [100.0], at_once=4)
    assert watch.results() is None
    assert watch.describe() == "speed: too few steps to measure it"


def test_a_run_tells_its_speed_and_keeps_it(tmp_path, capsys):
    settings = dataclasses.replace(SMALL, run_dir=tmp_path)
    document = run.run(TASK, settings)
    assert set(document["speed"]) == {"examples_per_second", "peak_memory_bytes"}
    assert "examples/s; peak memory" in capsys.readouterr().out
    trained = run.load(TASK, tmp_path)
    assert run.evaluate(trained, run.load_datasets(trained))["speed"] == document["speed"]


def traces(folder):
    return list((folder / "profile").rglob("*.xplane.pb"))


def test_a_profile_is_of_the_steps_after_the_first(tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in {"tensorboard", "xprof"} else find(name),
    )
    run.run(TASK, dataclasses.replace(SMALL, run_dir=tmp_path, profile=True))  # 4 epochs of 3
    (trace,) = traces(tmp_path)
    assert trace.stat().st_size > 0
    look = f"tensorboard --logdir {tmp_path / 'profile'} (it needs pip install tensorboard xprof)"
    assert look in capsys.readouterr().out


def test_a_profile_ends_with_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(profiling, "SKIPPED", 1)
    run.run(TASK, dataclasses.replace(SMALL, run_dir=tmp_path, profile=True, epochs=1))
    assert len(traces(tmp_path)) == 1


def test_too_few_steps_for_a_profile_are_told(tmp_path, capsys):
    run.run(TASK, dataclasses.replace(SMALL, run_dir=tmp_path, profile=True, epochs=1))
    assert not traces(tmp_path)
    assert "--profile: nothing is traced, as there were no more than 5 steps" in (
        capsys.readouterr().out
    )
