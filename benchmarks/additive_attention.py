"""How fast additive attention is, and how much memory it takes, beside Keras and PyTorch.

All sides compute `softmax(sum_u v_u tanh(query_iu + key_ju)) value` of the same projected queries and
keys, in this one process, in turns; memory is measured in a process a side. The machine must be idle
otherwise. See README.md for commands and results.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from applications.training import console
from applications.training.errors import UserError
from benchmarks.translation_throughput import take_turns

SIDES = ("ours", "ours, no XLA", "keras AdditiveAttention", "keras Attention (dot)")
PEERS = ("torch", "torch compiled")


@dataclass(frozen=True)
class Settings:
    """Measures forward passes and training steps of one attention layer."""

    lengths: tuple[int, ...] = (64, 256, 1024)
    """Tq = Tv of each measurement."""
    batch_size: int = 8
    """Sequences."""
    units: int = 256
    """Width of queries, keys and values."""
    repeats: int = 5
    """Turns of each side, after one that is not counted."""
    threads: int = 2
    """Threads of each side."""
    only: tuple[str, ...] = ()
    """Sides to measure; all, unless given."""
    memory: bool = True
    """Also measure the peak memory of a training step, in a new process a side."""
    figure: Path | None = None
    """A picture to write: the time of a training step against T."""
    child: str = ""
    """Measure the memory of this side only, in this process: what --memory starts."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "units", "repeats", "threads"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1.")
        unknown = set(self.only) - {*SIDES, *PEERS}
        if unknown:
            raise UserError(f"--only must be of {', '.join((*SIDES, *PEERS))}. Received: {unknown}")


def main() -> int:
    """Measures and prints; returns the exit status."""
    try:
        settings = tyro.cli(Settings, prog="python -m benchmarks.additive_attention")
    except UserError as error:
        print(f"additive_attention: {error}", file=sys.stderr)
        return 2
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(
        settings.threads
    )
    if settings.child:
        print(json.dumps(peak_memory(settings, settings.child, settings.lengths[0])))
        return 0
    console.import_tensorflow_quietly()
    console.say(f"load average before: {os.getloadavg()[0]:.2f}; it should be near 0")
    steps: dict[str, dict[int, float]] = {}
    for length in settings.lengths:
        measure(settings, length, steps)
    if settings.figure:
        draw(settings.figure, steps)
    return 0


def names(settings: Settings) -> list[str]:
    """The sides that were asked for and can run here."""
    has_torch = importlib.util.find_spec("torch") is not None
    available = [*SIDES, *(PEERS if has_torch else ())]
    return [name for name in available if not settings.only or name in settings.only]


def measure(settings: Settings, length: int, steps: dict[str, dict[int, float]]) -> None:
    """Prints one line a side."""
    sides = {name: side(name, settings, length) for name in names(settings)}
    forward, _ = take_turns({name: each[0] for name, each in sides.items()}, settings.repeats)
    training, gradients = take_turns(
        {name: each[1] for name, each in sides.items()}, settings.repeats
    )
    console.say(f"B {settings.batch_size}, Tq = Tv = {length}, units {settings.units}:")
    for name in sides:
        median = [1e3 * float(np.median(each[name])) for each in (forward, training)]
        steps.setdefault(name, {})[length] = median[1]
        line = f"  {name:26} forward {median[0]:8.1f} ms, training step {median[1]:8.1f} ms"
        if settings.memory:
            line += f", peak extra memory {child_memory(settings, name, length):8.0f} MiB"
        console.say(line)
    del gradients


def arrays(settings: Settings, length: int) -> list[np.ndarray]:
    """Projected queries and keys, values, and v."""
    rng = np.random.default_rng(0)
    shape = (settings.batch_size, length, settings.units)
    rows = [rng.normal(size=shape).astype(np.float32) for _ in range(3)]
    return [*rows, rng.normal(size=settings.units).astype(np.float32)]


def side(name: str, settings: Settings, length: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A side's forward pass and its training step, the gradients of the sum of the context."""
    if name in PEERS:
        return torch_side(name, settings, length)
    import keras
    import tensorflow as tf

    from keras_attention import blockwise, compile

    *given, v = (tf.constant(each) for each in arrays(settings, length))
    layer: Any = None
    if name.startswith("keras"):
        layers = {"AdditiveAttention": keras.layers.AdditiveAttention, "Attention": keras.layers.Attention}
        layer = layers[name.split()[1]](dtype="float32")
        layer([given[0], given[2], given[1]])
        if name.split()[1] == "AdditiveAttention":
            layer.scale.assign(v)

    def attend(query, key, value, v, training):
        if layer is not None:
            return layer([query, value, key])
        scores = blockwise.additive_scores(query, key, v, training)
        return tf.matmul(tf.nn.softmax(scores), value)

    def forward(query, key, value, v):
        return attend(query, key, value, v, True)

    def train(query, key, value, v):
        with tf.GradientTape() as tape:
            tape.watch([query, key, value, v])
            total = tf.reduce_sum(attend(query, key, value, v, True))
        return tape.gradient(total, [query, key, value])

    graphs = [tf.function(each) for each in (forward, train)]
    use_xla = False if name.endswith("no XLA") else None

    def run(graph):
        compile.set_xla(use_xla)
        try:
            return [each.numpy() for each in tf.nest.flatten(graph(*given, v))]
        finally:
            compile.set_xla(None)

    return lambda: run(graphs[0]), lambda: run(graphs[1])


def torch_side(name: str, settings: Settings, length: int):
    """The formula in PyTorch, as it is written on paper."""
    import torch

    torch.set_num_threads(settings.threads)
    *given, v = (torch.tensor(each) for each in arrays(settings, length))

    def attend(query, key, value):
        scores = torch.tanh(query[:, :, None] + key[:, None]) @ v
        return torch.softmax(scores, -1) @ value

    called = torch.compile(attend) if name == "torch compiled" else attend

    def forward():
        with torch.inference_mode():
            return called(*given).numpy()

    def train():
        leaves = [each.clone().requires_grad_() for each in given]
        called(*leaves).sum().backward()
        return [each.grad.numpy() for each in leaves]

    return forward, train


def child_memory(settings: Settings, name: str, length: int) -> float:
    """The peak of a process that takes training steps, over what it had before, in MiB."""
    command = [sys.executable, "-m", "benchmarks.additive_attention", "--child", name]
    command += ["--lengths", str(length), "--batch-size", str(settings.batch_size)]
    command += ["--units", str(settings.units), "--threads", str(settings.threads)]
    child = subprocess.run(command, capture_output=True, text=True)
    if child.returncode != 0:
        return float("nan")
    return json.loads(child.stdout.splitlines()[-1])


def peak_memory(settings: Settings, name: str, length: int) -> float:
    """Takes three steps of a small size, to load what is loaded once, and then of the full one."""
    if name not in PEERS:
        console.import_tensorflow_quietly()
    for _ in range(3):
        side(name, settings, 8)[1]()
    _, step = side(name, settings, length)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def draw(path: Path, steps: dict[str, dict[int, float]]) -> None:
    """The time of a training step against T."""
    from matplotlib.figure import Figure

    from keras_attention import visualization

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, times in steps.items():
        axes.plot(list(times), list(times.values()), marker="o", label=name)
    axes.set(xlabel="Tq = Tv", ylabel="training step, ms", xscale="log", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    visualization.save(path, figure)


if __name__ == "__main__":
    sys.exit(main())
