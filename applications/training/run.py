"""One training run from configuration to metrics, and what can be done with its folder later.

A run folder holds `config.json`, `facts/`, `history.csv`, `checkpoint/`, `model.keras`,
`metrics.json` and `figures/`, and `SHA256SUMS` of them all. Each stage reads what the earlier ones
wrote.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from applications.training import (
    averaging,
    checkpoint,
    checksums,
    config,
    console,
    data,
    files,
    history,
    loop,
    plots,
    precision,
    profiling,
    provenance,
    run_folder,
    strategy,
    updates,
)
from applications.training.config import TrainConfig
from applications.training.errors import UserError
from applications.training.speed import Speed
from applications.training.task import Datasets, Task

Resume = Literal["no", "yes", "auto"]


class Trained(NamedTuple):
    """A finished run, read back from its folder."""

    task: Task[Any]
    config: Any
    facts: Any
    model: keras.Model


def run(task: Task[Any], settings: TrainConfig, *, resume: Resume = "no") -> dict[str, Any]:
    """Trains `task` as `settings` say, evaluates it, and returns what metrics.json holds.

    With `resume` a run that was cut short goes on from its last checkpoint, with the settings it
    was started with; "auto" begins it if there is none. Of several workers, those that do not write
    return nothing.
    """
    started = time.monotonic()
    provenance.commit()  # of the code that trains, not of what is there when it has
    _require_packages(("matplotlib", *task.packages), "Training", "applications")
    if settings.tensorboard:
        _require_packages(("tensorboard",), "--tensorboard", "tensorboard")
    begun = resume == "yes" or (resume == "auto" and (settings.run_dir / "config.json").exists())
    if begun:
        settings = run_folder.saved_settings(task, settings)
    placement = strategy.place(settings.strategy, settings.batch_size)
    folder = settings.run_dir
    writes = placement.is_chief
    with run_folder.claimed(folder, begun) if writes else contextlib.nullcontext():
        keras.utils.set_random_seed(settings.seed)
        epoch = data.epoch_counter()
        datasets = task.datasets(settings, epoch)
        with placement.scope:
            scaled = placement.scaled(settings)
            model = _build(task, scaled, datasets.facts, settings.precision)
    console.say(f"{task.name}: {model.count_params():,} weights on {placement.devices}; {folder}")
    if writes and not begun:  # Only now: a run with wrong data leaves none.
        checksums.begin(folder)
        with files.replacing_folder(folder / "facts") as facts_folder:
            task.save_facts(datasets.facts, facts_folder)
        config.save(folder / "config.json", task.name, settings)

    measured = Speed(datasets, settings.batch_size)
    watching: list[keras.callbacks.Callback] = [measured]
    if settings.profile and writes:
        watching.append(profiling.Profile(folder / "profile"))
    earlier = _fit(task, settings, model, datasets, epoch, placement, watching)
    console.say(measured.describe())
    metrics = {}
    if writes:
        with files.replacing(folder / "model.keras") as partial:
            model.save(partial)
        trained = Trained(task, settings, datasets.facts, model)
        if placement.replicas > 1 or settings.precision != "float32":
            trained = load(task, folder)  # From here on, one device and float32.
        metrics = evaluate(trained, datasets, started=started - earlier, speed=measured.results())
        visualize(trained, datasets)
    placement.wait_for_all()
    return metrics


def load(task: Task[Any], folder: Path) -> Trained:
    """Reads a finished run; its folder may have been moved since."""
    settings = config.load(folder / "config.json", type(_default(task)))
    settings = dataclasses.replace(settings, run_dir=folder)
    run_folder.refuse_damage(folder)
    weights = folder / "model.keras"
    if not weights.exists():
        raise UserError(
            f"{folder} holds no model.keras: its training has not finished. Continue with: "
            f"keras-attention train {task.name} --run-dir {folder} --resume"
        )
    facts = task.load_facts(folder / "facts")
    model = _build(task, settings, facts)
    model.load_weights(weights)
    return Trained(task, settings, facts, model)


def load_datasets(trained: Trained) -> Datasets:
    """The data a finished run was trained with, for a new evaluation."""
    keras.utils.set_random_seed(trained.config.seed)
    return trained.task.datasets(trained.config, data.epoch_counter())


def evaluate(
    trained: Trained,
    datasets: Datasets,
    *,
    started: float | None = None,
    speed: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluates on the test data, prints the results, and writes metrics.json.

    `started` is when the run began, by `time.monotonic`, and `speed` how fast it trained; without
    them, the wall time and the speed on file stay.
    """
    task, settings, _, model = trained
    folder = settings.run_dir
    begun = time.monotonic()
    metrics: dict[str, Any] = {}
    for name, value in task.evaluate(model, datasets, settings):
        metrics[name] = value
        if not isinstance(value, list | dict):
            console.say(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    now = time.monotonic()
    path = folder / "metrics.json"
    epochs = history.read(folder / "history.csv")
    document = {
        "task": task.name,
        "metrics": metrics,
        "seed": settings.seed,
        "epochs": len(epochs),
        "parameters": model.count_params(),
        "training_seconds": round(history.training_seconds(folder / "history.csv"), 1),
        "evaluation_seconds": round(now - begun, 1),
        "wall_seconds": _old(path, "wall_seconds") if started is None else round(now - started, 1),
        "speed": _old(path, "speed") if speed is None else speed,
        **provenance.describe(),
        "config": config.to_json(settings),
    }
    text = json.dumps(document, indent=2, default=_to_json, ensure_ascii=False)
    files.write_text(path, text + "\n")
    console.say(f"written: {path}")
    return json.loads(text)


def visualize(trained: Trained, datasets: Datasets) -> Path:
    """Draws the learning curve and the task's figures anew; returns their folder.

    metrics.json is there already, for figures of what it holds.
    """
    task, settings, _, model = trained
    figures = settings.run_dir / "figures"
    with files.replacing_folder(figures) as folder:
        plots.learning_curve(settings.run_dir / "history.csv", folder / "learning_curve.png")
        task.figures(model, datasets, settings, folder)
    console.say(f"written: {figures}")
    return figures


def _fit(
    task: Task[Any],
    settings: TrainConfig,
    model: keras.Model,
    datasets: Datasets,
    epoch: Any,
    placement: strategy.Placement,
    watching: list[keras.callbacks.Callback],
) -> float:
    """Trains to the end and leaves in `model` the weights to keep; returns seconds spent before."""
    folder = settings.run_dir
    extra = task.callbacks(placement.scaled(settings), datasets)
    monitor, mode = task.monitored(settings)
    weights = averaging.weights_to_keep(settings, monitor, mode)
    lines = history.HistoryFile(folder / "history.csv", writes=placement.is_chief)
    checkpoints = checkpoint.Checkpoint(
        folder / "checkpoint",
        weights,
        lines,
        extra,
        steps=settings.checkpoint_steps,
        writes=placement.is_chief,
    )
    loop.prepare(model, datasets.validation, placement)
    start = checkpoints.read(model)
    lines.keep(start.epoch)
    earlier = sum(float(row["seconds"]) for row in lines.rows)
    if checkpoints.finished:
        checkpoints.use_best_weights(model)
        return earlier
    if start != loop.BEGINNING:
        step = f", step {start.step}" if start.step else ""
        console.say(f"resuming after epoch {start.epoch}{step} of {settings.epochs}")
    set_epoch = keras.callbacks.LambdaCallback(on_epoch_begin=lambda at, logs: epoch.assign(at))
    boards = [_tensorboard(folder)] if settings.tensorboard and placement.is_chief else []
    try:
        loop.fit(
            model,
            datasets.train,
            datasets.validation,
            placement,
            epochs=settings.epochs,
            start=start,
            callbacks=[*watching, set_epoch, *extra, weights, *boards, lines, checkpoints],
        )
    except loop.Diverged:
        raise UserError(
            f"The loss became infinite or not a number in epoch {epoch.numpy() + 1}; try a lower "
            f"--learning-rate. Received: --learning-rate {settings.learning_rate}. The last good "
            f"checkpoint is kept in {folder}."
        ) from None
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError):
        raise ConnectionError("a worker was lost; start all of them again.") from None
    except tf.errors.OpError as error:  # So arrives what data say that are read meanwhile.
        told = re.search(r"errors\.(?:UserError|DataError): (.*)", str(error))
        if told is None:
            raise
        raise UserError(told[1]) from None
    return earlier


def _default(task: Task[Any]) -> TrainConfig:
    return next(iter(task.presets.values()))


def _build(
    task: Task[Any], settings: TrainConfig, facts: Any, dtype_policy: str = "float32"
) -> keras.Model:
    """The task's model with all its variables, the optimizer's too: files are read into them."""
    with precision.policy(dtype_policy):
        model = task.build(settings, facts)
    if not model.built or not model.compiled:
        raise ValueError(
            f"`build` of the task {task.name!r} must return a model that is built and compiled. "
            f"Received: built={model.built}, compiled={model.compiled}"
        )
    updates.check(model.optimizer, settings)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return model


def _require_packages(packages: Sequence[str], what: str, extra: str) -> None:
    """Refuses to begin what would fail at its end."""
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"{what} needs the package {name}. Install it with: "
                f'pip install "{provenance.DISTRIBUTION}[{extra}]"'
            )


def _tensorboard(folder: Path) -> keras.callbacks.Callback:
    return keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False)


def _old(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")).get(name)
    except (OSError, ValueError, AttributeError):  # None yet, or damaged: it is written anew.
        return None


def _to_json(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy numbers and arrays.
        return value.tolist()
    raise TypeError(f"A metric must be a number, string, list or dict. Received: {value!r}")
