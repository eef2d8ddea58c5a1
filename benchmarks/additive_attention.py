"""How fast additive attention is, and how much memory it takes, beside Keras and PyTorch.

All sides compute `softmax(sum_u v_u tanh(query_iu + key_ju)) value` of the same queries and keys,
projected already, as Keras' layer has no projections; except Keras' dot product, which shows what a
cheaper score would cost, and two whole layers, ours and one made of Keras' parts. Times are taken
in this one process, in turns; memory in a process a side. The machine must be idle otherwise. See
README.md for commands and results.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from applications.training import console
from applications.training.errors import UserError
from benchmarks.translation_throughput import take_turns

OURS, NO_XLA, KERAS = "ours", "ours, no XLA", "keras AdditiveAttention"
TORCH, COMPILED = "torch", "torch compiled"
DOT = "keras Attention (dot)"
OUR_LAYER, KERAS_LAYER = "ours, whole layer", "keras, whole layer"
SIDES = (OURS, NO_XLA, KERAS, TORCH, COMPILED, DOT, OUR_LAYER, KERAS_LAYER)
ALL_PAIRS_AT_ONCE = (KERAS, TORCH, COMPILED, KERAS_LAYER)
SAME_CONTEXT = (OURS, NO_XLA, KERAS, TORCH, COMPILED)
LONG = 4096
TENSORS_OF_PAIRS = 5  # (B, Tq, Tv, units): what Keras' layer holds at a time, in training


@dataclass(frozen=True)
class Settings:
    """Measures forward passes and training steps of one attention."""

    lengths: tuple[int, ...] = (64, 256, 1024)
    """Tq = Tv of each measurement."""
    long: bool = False
    """Also 4096, which takes minutes."""
    batch_size: int = 8
    """Sequences."""
    units: int = 256
    """Width of queries, keys and values."""
    calls: int = 10
    """Forward passes, or training steps, of one turn; fewer where T is beyond 256."""
    repeats: int = 5
    """Turns of each side, after one that is not counted."""
    threads: int = 2
    """Threads of each side."""
    only: tuple[str, ...] = ()
    """Sides to measure; all, unless given."""
    memory: bool = True
    """Also measure the peak memory of a training step, in a new process a side. (Linux)"""
    memory_limit: float = 8.0
    """GiB that a side without blocks may take: beyond it, fewer sequences for all sides."""
    figure: Path | None = None
    """A picture to write: time and memory of a training step against T."""
    child: str = ""
    """Measure the memory of this side only, in this process: what --memory starts."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "units", "calls", "repeats", "threads"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag} must be at least 1. Received: {getattr(self, name)}")
        unknown = sorted({*self.only, self.child} - {*SIDES, ""})
        if unknown:
            known = ", ".join(map(repr, SIDES))
            raise UserError(f"A side must be one of {known}. Received: {unknown[0]!r}")


def main() -> int:
    """Measures and prints; returns the exit status."""
    try:
        settings = tyro.cli(Settings, prog="python -m benchmarks.additive_attention")
    except UserError as error:
        print(f"additive_attention: {error}", file=sys.stderr)
        return 2
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(settings.threads)
    console.import_tensorflow_quietly()
    if settings.child:
        print(json.dumps(peak_memory(settings, settings.child, settings.lengths[0])))
        return 0
    console.say(f"load average before: {os.getloadavg()[0]:.2f}; it should be near 0")
    names = available(settings)
    costs: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in names}
    for length in (*settings.lengths, *([LONG] if settings.long else [])):
        for batch_size, sides in rounds(settings, names, length):
            for name, cost in measure(settings, sides, length, batch_size).items():
                costs[name][length] = cost
    if settings.figure:
        draw(settings.figure, costs, settings.memory)
    return 0


def available(settings: Settings) -> list[str]:
    """The sides that were asked for and can run here; says which cannot, and why."""
    names = [name for name in SIDES if not settings.only or name in settings.only]
    missing: dict[str, str | None] = {}
    if importlib.util.find_spec("torch") is None:
        missing = dict.fromkeys((TORCH, COMPILED), "pip install torch==2.13.0")
    elif COMPILED in names:
        from benchmarks.peers import additive_torch

        missing = {COMPILED: additive_torch.why_not_compiled()}
    for name in set(names) & missing.keys():
        if missing[name]:
            console.say(f"without {name}: {missing[name]}")
    return [name for name in names if not missing.get(name)]


def rounds(settings: Settings, names: list[str], length: int) -> list[tuple[int, list[str]]]:
    """What to measure at a length: batch sizes, each with the sides that have room for it."""
    full = settings.batch_size
    each = TENSORS_OF_PAIRS * 4 * settings.units * length**2 / 2**30
    fits = min(full, int(settings.memory_limit / each))
    if fits == full or not set(names) & set(ALL_PAIRS_AT_ONCE):
        return [(full, names)]
    console.say(f"T {length}: all pairs at once take about {each:.1f} GiB a sequence")
    alone = (full, [name for name in names if name not in ALL_PAIRS_AT_ONCE])
    return [(fits, names), alone] if fits else [alone]


def measure(
    settings: Settings, names: list[str], length: int, batch_size: int
) -> dict[str, tuple[float, float]]:
    """Prints one line a side; returns milliseconds and MiB of a training step, a sequence."""
    sides = {name: works(settings, name, length, batch_size) for name in names}
    columns, returned = {}, {}
    for i, what in enumerate(("forward", "training step")):
        calls = max(1, round(settings.calls * min(1.0, (256 / length) ** 2)))
        turns = {name: turn(each[i], calls) for name, each in sides.items()}
        seconds, returned[what] = take_turns(turns, settings.repeats)
        columns[what] = {n: 1e3 * float(np.median(s)) / calls for n, s in seconds.items()}
    if settings.memory:
        columns["extra memory"] = {
            name: child_memory(settings, name, length, batch_size) for name in names
        }
    console.say(f"B {batch_size}, Tq = Tv = {length}, units {settings.units}:")
    for name in names:
        console.say(f"  {name:24}" + "".join(told(what, columns[what], name) for what in columns))
    same = [returned["forward"][name][0][0] for name in names if name in SAME_CONTEXT]
    if len(same) > 1:
        difference = max(float(np.abs(each - same[0]).max()) for each in same[1:])
        console.say(f"  their contexts differ by {difference:.0e} at most")
    steps, extra = columns["training step"], columns.get("extra memory", {})
    return {n: (steps[n] / batch_size, extra.get(n, float("nan")) / batch_size) for n in names}


def turn(work: Callable[[], Any], calls: int) -> Callable[[], Any]:
    """Several calls, as in training, since the first after another's turn finds cold caches."""
    return lambda: [work() for _ in range(calls)][-1]


def told(what: str, column: Mapping[str, float], name: str) -> str:
    """A number, and how many times that of ours it is."""
    ours = column.get(OUR_LAYER if name in (OUR_LAYER, KERAS_LAYER) else OURS, float("nan"))
    unit = "MiB" if "memory" in what else "ms"
    return f"  {what} {column[name]:8.1f} {unit} ({column[name] / ours:5.1f}x)"


def arrays(settings: Settings, length: int, batch_size: int) -> list[np.ndarray]:
    """Projected queries and keys, values, and v."""
    rng = np.random.default_rng(0)
    shape = (batch_size, length, settings.units)
    rows = [rng.normal(size=shape).astype(np.float32) for _ in range(3)]
    return [*rows, rng.normal(size=settings.units).astype(np.float32)]


def works(
    settings: Settings, name: str, length: int, batch_size: int
) -> list[Callable[[], list[np.ndarray]]]:
    """A side's forward pass and its training step, the gradients of the sum of the context."""
    given = arrays(settings, length, batch_size)
    if name in (TORCH, COMPILED):
        from benchmarks.peers import additive_torch

        return additive_torch.works(given, name == COMPILED, settings.threads)
    import tensorflow as tf

    from keras_attention import compile

    tf.get_logger().setLevel("ERROR")  # It warns of a new graph for each side.
    attend, weights = attention(name, settings.units, given.pop())
    tensors = [tf.constant(each) for each in given]

    def train(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            total = tf.reduce_sum(attend(*tensors))
        gradients = tape.gradient(total, [*tensors, *weights])
        return [each for each in gradients if each is not None]

    def run(graph):
        compile.set_xla(False if name == NO_XLA else None)
        try:
            return [each.numpy() for each in tf.nest.flatten(graph(*tensors))]
        finally:
            compile.set_xla(None)

    graphs = [tf.function(each) for each in (attend, train)]
    return [lambda graph=graph: run(graph) for graph in graphs]


def attention(name: str, units: int, v: np.ndarray) -> tuple[Callable, list]:
    """A function of query, key and value to the context, and the variables in it."""
    import keras
    import tensorflow as tf

    from keras_attention import AdditiveSoftAttention, blockwise

    if name in (OURS, NO_XLA):
        variable = tf.Variable(v)

        def attend(query, key, value):
            scores = blockwise.additive_scores(query, key, variable, training=True)
            return tf.matmul(tf.nn.softmax(scores), value)

        return attend, [variable]
    if name == OUR_LAYER:
        layer = AdditiveSoftAttention(units)
        layer.build((None, None, units), (None, None, units))
        return lambda query, key, value: layer(query, value, training=True), variables(layer)
    layer = keras.layers.Attention() if name == DOT else keras.layers.AdditiveAttention()
    layer([tf.zeros((1, 2, units))] * 2)  # gives it its weights
    if name != DOT:
        layer.scale.assign(v)
    if name != KERAS_LAYER:
        return lambda query, key, value: layer([query, value, key]), variables(layer)
    projections = [keras.layers.Dense(units, use_bias=False) for _ in range(2)]
    for each in projections:
        each.build((None, None, units))
    return lambda query, key, value: layer(
        [projections[0](query), value, projections[1](value)]
    ), variables(*projections, layer)


def variables(*layers) -> list:
    """What is trained in the layers, as TensorFlow knows it."""
    return [weight.value for layer in layers for weight in layer.trainable_weights]


def child_memory(settings: Settings, name: str, length: int, batch_size: int) -> float:
    """What `peak_memory` says in a new process; not a number where that was killed."""
    command = [sys.executable, "-m", "benchmarks.additive_attention", "--child", name]
    command += ["--lengths", str(length), "--batch-size", str(batch_size)]
    command += ["--units", str(settings.units), "--threads", str(settings.threads)]
    child = subprocess.run(command, capture_output=True, text=True)
    return json.loads(child.stdout.splitlines()[-1]) if child.returncode == 0 else float("nan")


def peak_memory(settings: Settings, name: str, length: int) -> float:
    """The peak of training steps, over what is held before, in MiB."""
    for _ in range(3):  # of a small size, to load what is loaded once
        works(settings, name, 16, settings.batch_size)[1]()
    step = works(settings, name, length, settings.batch_size)[1]
    Path("/proc/self/clear_refs").write_text("5")  # The peak begins anew.
    before = _peak()
    for _ in range(3):
        step()
    return _peak() - before


def _peak() -> float:
    """The most memory that this process has held, in MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def draw(path: Path, costs: Mapping[str, Mapping[int, tuple[float, float]]], memory: bool) -> None:
    """Time and memory of a training step, a sequence, against T."""
    from matplotlib.figure import Figure

    from keras_attention import visualization

    labels = ("ms", "extra MiB") if memory else ("ms",)
    figure = Figure(figsize=(4.8 * len(labels), 4.0), layout="constrained")
    panels = figure.subplots(1, len(labels), squeeze=False)[0]
    for i, (axes, label) in enumerate(zip(panels, labels, strict=True)):
        for name, by_length in costs.items():
            numbers = [cost[i] for cost in by_length.values()]
            axes.plot(list(by_length), numbers, marker="o", label=name)
        axes.set(xlabel="Tq = Tv", ylabel=f"training step, {label} a sequence")
        axes.set(xscale="log", yscale="log")
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    visualization.save(path, figure)


if __name__ == "__main__":
    sys.exit(main())
