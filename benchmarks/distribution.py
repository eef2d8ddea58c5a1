"""Whether several devices learn what one does: losses of every step, for the same global batches.

python -m benchmarks.distribution
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from typing import Any, Literal

import tyro

STRATEGIES = {"none": 1, "nudged": 1, "mirrored": 1, "multi_worker": 2}  # and how many processes
NUDGE = 2.0**-23
"""By what share the weights of "nudged", on one device, are larger: one rounding of float32."""
TOLERANCE = 1e-5
TASKS: dict[str, dict[str, Any]] = {
    "translation": {"dropout": 0.0, "num_examples": 3200},
    "question_answering": {},
    "recognition": {"dropout": 0.0},
}
"""What is trained, and how: with dropout off, as replicas drop alike what one device does not."""


@dataclass(frozen=True)
class Distribution:
    """Trains each task on one device, on two of one process, and on those of two processes."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Which of translation, question_answering and recognition (which looks where it draws)."""
    steps: int = 200
    """How many steps each takes."""
    precision: Literal["float32", "float64"] = "float32"
    """Of all arithmetic. In float64 rounding is too small to grow to anything in 200 steps, so what
    is left is what the devices do otherwise."""
    slower: float = 1.0
    """Divide each task's learning rate by this. Where a training learns fast, it makes a large
    difference of any rounding: "nudged" says how large."""


def main() -> int:
    """Prints the largest differences; returns 1 if one is over 1e-5."""
    if len(sys.argv) == 7 and sys.argv[1] == "--as":
        losses(*sys.argv[2:5], int(sys.argv[5]), float(sys.argv[6]))
        return 0
    given = tyro.cli(Distribution, prog="python -m benchmarks.distribution")
    worst = 0.0
    for task in given.tasks:
        how = (given.precision, given.steps, given.slower)
        found = {each: _losses_of(task, each, *how) for each in STRATEGIES}
        for each, values in found.items():
            pairs = zip(found["none"], values, strict=True)
            differences = [abs(one - other) for one, other in pairs]
            near = [*(difference <= TOLERANCE for difference in differences), False].index(False)
            if each != "nudged":
                worst = max(worst, *differences)
            print(
                f"{task:20}{each:14}loss {values[0]:.4f} to {values[-1]:.4f}, at most "
                f"{max(differences):.1e} from one device; {near} of {len(values)} steps within "
                f"{TOLERANCE}",
                flush=True,
            )
    return 0 if worst <= TOLERANCE else 1


def losses(task: str, how: str, precision: str, steps: int, slower: float) -> None:
    """Trains in this process, one of those of `how`, and prints the mean loss after each step."""
    import tensorflow as tf

    if how == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, parts)
    import keras

    from applications import cli
    from applications.training import data, loop, strategy
    from keras_attention import compile

    keras.config.set_floatx(precision)
    compile.set_xla(False)  # With several devices it is off anyway, and it draws other numbers.

    class Record(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.values: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.values.append(loop.results(self.model)["loss"])
            self.model.stop_training = len(self.values) == steps

    found = cli._task(task)
    settings = next(iter(found.presets.values()))
    rate, strategy_name = settings.learning_rate / slower, "none" if how == "nudged" else how
    settings = replace(settings, strategy=strategy_name, learning_rate=rate, **TASKS[task])
    placement = strategy.place(strategy_name, settings.batch_size)
    keras.utils.set_random_seed(settings.seed)
    epoch = data.epoch_counter()
    datasets = found.datasets(settings, epoch)
    with placement.scope:
        model = found.build(settings, datasets.facts)
        model.optimizer.build(model.trainable_variables)
    if how == "nudged":
        for variable in model.trainable_variables:
            variable.assign(variable * (1.0 + NUDGE))
    loop.prepare(model, datasets.validation, placement)
    count = keras.callbacks.LambdaCallback(on_epoch_begin=lambda at, logs: epoch.assign(at))
    record = Record()
    few = datasets.validation.take(1)
    with open(os.devnull, "w") as nowhere:
        kept, sys.stdout = sys.stdout, nowhere
        loop.fit(model, datasets.train, few, placement, epochs=steps, callbacks=[count, record])
        sys.stdout = kept
    print(json.dumps(record.values))


def _losses_of(task: str, how: str, precision: str, steps: int, slower: float) -> list[float]:
    count, as_one = STRATEGIES[how], ["--as", task, how, precision, str(steps), str(slower)]
    command = [sys.executable, "-m", "benchmarks.distribution", *as_one]
    with tempfile.TemporaryFile() as errors:
        processes = [
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors)
            for environment in environments(count)
        ]
        outputs = [process.communicate()[0] for process in processes]
        if any(process.returncode for process in processes):
            errors.seek(0)
            raise RuntimeError(errors.read().decode()[-3000:])
    return json.loads(outputs[0].splitlines()[-1])


def environments(count: int) -> list[dict[str, str]]:
    """The environment of each of so many workers on this machine; of one, this."""
    others = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    if count == 1:
        return [others]
    hosts = [f"localhost:{port}" for port in _free_ports(count)]
    return [
        {
            **others,
            "TF_CONFIG": json.dumps(
                {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
            ),
        }
        for index in range(count)
    ]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    sys.exit(main())
