"""The training loop: Keras' `train_step` and callbacks, on one device or many, from any step on.

`Model.fit` cannot begin within an epoch, and does not run under `MultiWorkerMirroredStrategy`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from applications.training.strategy import Placement, synchronize

GLANCE = 0.5  # seconds between looks at the metrics within an epoch


class Position(NamedTuple):
    """Where training is: so many whole epochs, and so many steps of the next."""

    epoch: int = 0
    step: int = 0


BEGINNING = Position()


class Diverged(Exception):
    """The loss became infinite or not a number."""


def prepare(model: keras.Model, validation: tf.data.Dataset, placement: Placement) -> None:
    """Has Keras make the variables of all metrics, which it does otherwise in the first step, and
    the optimizer clip what all replicas found together."""
    with placement.scope, keras.StatelessScope():
        tf.function(lambda *batch: model.test_step(batch)).get_concrete_function(
            *validation.element_spec
        )
    if placement.replicas > 1:
        synchronize(model.optimizer)


def fit(
    model: keras.Model,
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    placement: Placement,
    *,
    epochs: int,
    start: Position = BEGINNING,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains `model`, which is built and compiled, as its own `fit` does.

    Args:
        model: Built in `placement.scope`, and prepared.
        train: Global batches, the same in every worker.
        validation: Batches that every replica goes through whole.
        placement: Where.
        epochs: After how many to stop, those before `start` included.
        start: Where to begin. What that epoch had drawn before is drawn again and dropped; it is
            for a callback's `on_epoch_begin` to put back what it had learned.
        callbacks: As for `Model.fit`. Within an epoch they are told metrics of a moment before, and
            with several workers none.

    Raises:
        Diverged: If the loss is not finite.
    """
    steps = _length(train)
    every = keras.callbacks.CallbackList(
        list(callbacks),
        add_progbar=True,
        model=model,
        # Keras draws its bar with escape codes, into files too.
        verbose=1 if sys.stdout.isatty() else 2,
        epochs=epochs,
        steps=steps,
    )
    learn = _function(model, model.train_step, placement.strategy, model.steps_per_execution)
    test = _function(model, model.test_step, placement.strategy)
    glance = _Glance(model, placement)
    model.stop_training = False
    every.on_train_begin()
    for epoch in range(start.epoch, epochs):
        done = start.step if epoch == start.epoch else 0
        model.reset_metrics()
        every.on_epoch_begin(epoch)
        batches = iter(placement.distribute(train.skip(done) if done else train))
        for begin, end in _spans(done, steps, model.steps_per_execution):
            every.on_train_batch_begin(begin)
            if not _runs(learn, batches, end - begin):
                break
            every.on_train_batch_end(end - 1, glance())
            if model.stop_training:
                break
        logs = results(model)
        every.on_epoch_end(epoch, {**logs, **_validate(model, test, validation, every)})
        if model.stop_training:
            break
    model.optimizer.finalize_variable_values(model.trainable_variables)
    every.on_train_end()


def results(model: keras.Model) -> dict[str, float]:
    """The metrics so far; `Diverged` if the loss among them is not finite."""
    logs = {name: float(value) for name, value in model.get_metrics_result().items()}
    if not math.isfinite(logs.get("loss", 0.0)):
        raise Diverged
    return logs


class _Glance:
    """The metrics of at most a moment ago: to read them takes longer than a small step."""

    def __init__(self, model: keras.Model, placement: Placement) -> None:
        self.model = model
        self.allowed = placement.workers == 1  # Workers would have to look all at once.
        self.last, self.logs = 0.0, dict[str, float]()

    def __call__(self) -> dict[str, float]:
        now = time.monotonic()
        if self.allowed and now - self.last > GLANCE:
            self.last, self.logs = now, results(self.model)
        return self.logs


def _spans(done: int, steps: int | None, most: int) -> Iterator[tuple[int, int]]:
    """The steps from `done` to `steps`, or without end, at most so many at a time."""
    while steps is None or done < steps:
        end = done + most if steps is None else min(done + most, steps)
        yield done, end
        done = end


def _runs(function: Callable, batches: Iterator, count: int = 1) -> bool:
    """Whether there was data for `function`."""
    try:
        function(batches, tf.constant(count))
    except (StopIteration, tf.errors.OutOfRangeError):
        return False
    return True


def _validate(
    model: keras.Model,
    test: Callable,
    validation: tf.data.Dataset,
    every: keras.callbacks.CallbackList,
) -> dict[str, float]:
    model.reset_metrics()
    every.on_test_begin()
    batches = iter(validation)
    while _runs(test, batches):
        pass
    logs = {name: float(value) for name, value in model.get_metrics_result().items()}
    every.on_test_end(logs)
    return {f"val_{name}": value for name, value in logs.items()}


def _function(
    model: keras.Model, step: Callable, strategy: tf.distribute.Strategy, several: int = 1
) -> Callable:
    """What takes an iterator and a number of batches, and has each replica do `step` on its own."""

    def once(batch: Any) -> None:
        strategy.run(step, args=(batch,))

    if not model.run_eagerly:
        once = tf.function(once, reduce_retracing=True, jit_compile=model.jit_compile or None)

    def some(batches: Iterator, count: tf.Tensor) -> None:
        if several == 1:
            once(next(batches))
        else:
            for _ in tf.range(count):
                once(next(batches))

    return some if model.run_eagerly else tf.function(some, reduce_retracing=True)


def _length(train: tf.data.Dataset) -> int | None:
    """Steps of an epoch; None where that is not known before its end."""
    cardinality = int(train.cardinality())
    if cardinality == tf.data.INFINITE_CARDINALITY:
        raise ValueError("`train` must end. Received: a data set that is repeated for ever.")
    return None if cardinality == tf.data.UNKNOWN_CARDINALITY else cardinality
