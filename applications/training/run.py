"""One training run from configuration to metrics, and what can be done with its folder later.

A run folder holds `config.json`, `facts/`, `history.csv`, `checkpoint/`, `model.keras`,
`metrics.json` and `figures/`. Each stage reads what the earlier ones wrote.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import keras

from applications.training import (
    checkpoint,
    config,
    console,
    data,
    files,
    history,
    plots,
    precision,
    profiling,
    provenance,
    strategy,
    updates,
)
from applications.training.config import TrainConfig, flag
from applications.training.errors import UserError
from applications.training.speed import Speed
from applications.training.task import Datasets, Task


class Trained(NamedTuple):
    """A finished run, read back from its folder."""

    task: Task[Any]
    config: Any
    facts: Any
    model: keras.Model


def run(task: Task[Any], settings: TrainConfig, *, resume: bool = False) -> dict[str, Any]:
    """Trains `task` as `settings` say, evaluates it, and returns what metrics.json holds.

    With `resume` a run that was cut short goes on from its last whole epoch, with the settings
    it was started with.
    """
    started = time.monotonic()
    provenance.commit()  # of the code that trains, not of what is there when it has
    _require_tensorboard(settings)
    settings = _claim_folder(task, settings, resume)
    folder = settings.run_dir
    keras.utils.set_random_seed(settings.seed)
    placement = strategy.place(settings.strategy, settings.batch_size)
    epoch = data.epoch_counter()
    datasets = task.datasets(settings, epoch)
    with placement.scope:
        model = _build(task, settings, datasets.facts, settings.precision)
    console.say(f"{task.name}: {model.count_params():,} weights on {placement.devices}; {folder}")
    if not (folder / "config.json").exists():  # Only now: a run with wrong data leaves none.
        with files.replacing_folder(folder / "facts") as facts_folder:
            task.save_facts(datasets.facts, facts_folder)
        config.save(folder / "config.json", task.name, settings)

    measured = Speed(datasets, settings.batch_size)
    watching = [measured, keras.callbacks.TerminateOnNaN(raise_error=True)]
    watching += [profiling.Profile(folder / "profile")] if settings.profile else []
    earlier = _fit(task, settings, model, datasets, epoch, watching)
    console.say(measured.describe())
    with files.replacing(folder / "model.keras") as partial:
        model.save(partial)
    trained = Trained(task, settings, datasets.facts, model)
    if settings.precision != "float32":
        trained = load(task, folder)
    metrics = evaluate(trained, datasets, started=started - earlier, speed=measured.results())
    visualize(trained, datasets)
    return metrics


def load(task: Task[Any], folder: Path) -> Trained:
    """Reads a finished run; its folder may have been moved since."""
    settings = config.load(folder / "config.json", type(_default(task)))
    settings = dataclasses.replace(settings, run_dir=folder)
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
    watching: list[keras.callbacks.Callback],
) -> float:
    """Trains to the end and leaves the best weights in `model`; returns seconds spent before."""
    folder = settings.run_dir
    extra = task.callbacks(settings, datasets)
    stopping = keras.callbacks.EarlyStopping(
        monitor=task.monitor,
        mode=task.monitor_mode,
        patience=settings.patience or settings.epochs,  # Never reached: only keeps the best.
        restore_best_weights=True,
    )
    keeper = checkpoint.Checkpoint(folder / "checkpoint" / "latest.npz", stopping, extra)
    first_epoch = keeper.restore(model)
    lines = history.HistoryFile(folder / "history.csv", first_epoch)
    earlier = sum(float(row["seconds"]) for row in lines.rows)
    if keeper.finished:
        keeper.use_best_weights(model)
        return earlier
    if first_epoch:
        console.say(f"resuming after epoch {first_epoch} of {settings.epochs}")
    set_epoch = keras.callbacks.LambdaCallback(on_epoch_begin=lambda at, logs: epoch.assign(at))
    boards = [_tensorboard(folder)] if settings.tensorboard else []
    try:
        model.fit(
            datasets.train,
            validation_data=datasets.validation,
            epochs=settings.epochs,
            initial_epoch=first_epoch,
            callbacks=[*watching, set_epoch, *extra, stopping, *boards, lines, keeper],
            # Keras draws its bar with escape codes, into files too.
            verbose=1 if sys.stdout.isatty() else 2,
            shuffle=False,  # A data set is in its order already; Keras warns otherwise.
        )
    except RuntimeError as error:
        if "NaN or Inf loss" not in str(error):
            raise
        raise UserError(
            f"The loss became infinite or not a number in epoch {epoch.numpy() + 1}; try a lower "
            f"--learning-rate. Received: --learning-rate {settings.learning_rate}. The last good "
            f"checkpoint is kept in {folder}."
        ) from None
    return earlier


def _claim_folder(task: Task[Any], settings: TrainConfig, resume: bool) -> TrainConfig:
    """The settings to train with, once it is sure that the run folder is ours to write to."""
    folder, path = settings.run_dir, settings.run_dir / "config.json"
    if resume:
        found = config.read_task(path)
        if found != task.name:
            raise UserError(f"{folder} holds a run of {found}, not of {task.name}.")
        saved = dataclasses.replace(config.load(path, type(settings)), run_dir=folder)
        _tell_ignored(settings, saved, _default(task))
        return saved
    if path.exists():
        raise UserError(
            f"{folder} holds a run already: continue it with --resume, or choose another --run-dir."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):  # Find out before the training, not after it.
        pass
    return settings


def _tell_ignored(given: TrainConfig, saved: TrainConfig, default: TrainConfig) -> None:
    """Says which flags have no effect, as a resumed run keeps its settings."""
    ignored = [
        f"{flag(field.name)} {getattr(given, field.name)} (saved: {getattr(saved, field.name)})"
        for field in dataclasses.fields(given)
        if getattr(given, field.name)
        not in (getattr(saved, field.name), getattr(default, field.name))
    ]
    if ignored:
        console.say(f"--resume keeps the saved settings; ignored: {', '.join(ignored)}")


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


def _require_tensorboard(settings: TrainConfig) -> None:
    if settings.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise UserError(
            "--tensorboard needs the package tensorboard. Install it with: "
            f'pip install "{provenance.DISTRIBUTION}[tensorboard]"'
        )


def _tensorboard(folder: Path) -> keras.callbacks.Callback:
    return keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False)


def _old(path: Path, name: str) -> Any:
    return json.loads(path.read_text(encoding="utf-8")).get(name) if path.exists() else None


def _to_json(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy numbers and arrays.
        return value.tolist()
    raise TypeError(f"A metric must be a number, string, list or dict. Received: {value!r}")
