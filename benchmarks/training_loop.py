"""What the training loop costs: steps a second of translation, beside a bare loop over its step.

python -m benchmarks.training_loop
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

import tyro

from applications.training import console


@dataclass(frozen=True)
class TrainingLoop:
    """Trains the translator of dates by the spine's loop and by a plain one, in turns."""

    steps: int = 100
    """Of each turn."""
    turns: int = 5
    """Of each loop, after one that is not counted."""


def main() -> int:
    """Prints the median of each, and the median ratio."""
    given = tyro.cli(TrainingLoop, prog="python -m benchmarks.training_loop")
    console.import_tensorflow_quietly()
    import keras
    import tensorflow as tf

    from applications.training import data, loop, strategy
    from applications.translation.train import TASK

    examples = given.steps * TASK.presets["dates"].batch_size
    settings = replace(TASK.presets["dates"], num_examples=examples)
    placement = strategy.place("none", settings.batch_size)
    keras.utils.set_random_seed(settings.seed)
    datasets = TASK.datasets(settings, data.epoch_counter())
    model = TASK.build(settings, datasets.facts)
    loop.prepare(model, datasets.validation, placement)
    train, few = datasets.train.cache(), datasets.validation.take(1)

    @tf.function(reduce_retracing=True)
    def step(x: Any, y: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True), weights, training=True)
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    def bare() -> float:
        begun = time.perf_counter()
        for batch in train:
            loss = step(*batch)
        float(loss)
        return time.perf_counter() - begun

    seconds: list[tuple[float, float]] = []

    class Turns(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.bare = bare()

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 0:
                self.begun = time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == given.steps - 1:
                loop.results(self.model)  # Waits for what is still running.
                seconds.append((self.bare, time.perf_counter() - self.begun))

    loop.fit(model, train, few, placement, epochs=given.turns + 1, callbacks=[Turns()])
    del seconds[0]
    for name, values in zip(("bare loop", "ours"), zip(*seconds, strict=True), strict=True):
        rates = sorted(given.steps / value for value in values)
        print(
            f"{name:10} {statistics.median(rates):6.1f} steps/s ({rates[0]:.1f} to {rates[-1]:.1f})"
        )
    ratio = statistics.median(one / other for one, other in seconds)
    print(f"ours is {ratio:.2f} times as fast")
    return 0


if __name__ == "__main__":
    sys.exit(main())
