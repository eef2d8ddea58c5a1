"""What a step of a memory machine takes, beside an LSTM's step and the arithmetic of its memory.

Each machine is a Keras RNN cell in `keras.layers.RNN`. Beside it stand an LSTM of as many units in
the same loop, and the arithmetic of the memory by itself: the papers' equations as few TensorFlow
ops, with no controller, fed with what a controller would say. What a machine may take is two LSTM
steps and that arithmetic. With `--without-nan` a machine of random weights goes so many steps
forth, and its gradient back, once for each seed. See README.md for commands and results.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro

from applications.training import console
from applications.training.errors import UserError
from benchmarks.translation_throughput import take_turns

MACHINES = ("NTM", "NTM, feed-forward", "stacks")
WAYS = {"plain": False, "XLA": True}
FEATURES = 9  # of an input: eight bits and a mark, as in copying


@dataclass(frozen=True)
class Settings:
    """Measures steps of memory machines, or looks for what is no number in long runs of them."""

    length: int = 50
    """Steps of a sequence."""
    batch_size: int = 16
    """Sequences."""
    units: int = 100
    """Width of controllers, of networks with stacks, and of the LSTM."""
    slots: int = 128
    """Slots of the Neural Turing Machine's memory."""
    slot_width: int = 20
    """Numbers in a slot."""
    stacks: int = 10
    """How many stacks there are."""
    depth: int = 128
    """Numbers a stack has room for."""
    calls: int = 5
    """Forward passes, or training steps, of one turn."""
    repeats: int = 7
    """Turns of each side, after one that is not counted."""
    threads: int = 1
    """Threads of TensorFlow."""
    without_nan: int = 0
    """Measure nothing, but go so many steps and look for what is no number."""
    seeds: int = 5
    """How often, from other random weights and inputs."""

    def __post_init__(self) -> None:
        least = {"slots": 3, "depth": 2, "without_nan": 0}
        for name, value in vars(self).items():
            if value < least.get(name, 1):
                flag = name.replace("_", "-")
                raise UserError(
                    f"--{flag} must be at least {least.get(name, 1)}. Received: {value}"
                )


def main() -> int:
    """Measures and prints; returns the exit status, 1 if something was no number."""
    try:
        settings = tyro.cli(Settings, prog="python -m benchmarks.memory_machines")
    except UserError as error:
        print(f"memory_machines: {error}", file=sys.stderr)
        return 2
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(settings.threads)
    console.import_tensorflow_quietly()
    if settings.without_nan:
        return 0 if all(list(endure(settings))) else 1
    console.say(f"load average before: {os.getloadavg()[0]:.2f}; it should be near 0")
    for way, xla in WAYS.items():
        measure(settings, way, xla)
    return 0


def measure(settings: Settings, way: str, xla: bool) -> None:
    """Prints microseconds of one step of all sequences, forth, and forth and back."""
    cells = {"LSTM": lstm(settings)}
    for name in MACHINES:
        cells[name] = machine(name, settings)
        cells[_memory(name)] = arithmetic(name, settings)
    sides = {name: works(cell, settings, xla) for name, cell in cells.items()}
    console.say(
        f"{way}, B {settings.batch_size}, {settings.length} steps, {settings.threads} threads:"
    )
    for i, what in enumerate(("forward", "training")):
        turns = {name: _turn(each[i], settings.calls) for name, each in sides.items()}
        seconds, _ = take_turns(turns, settings.repeats)
        steps = settings.calls * settings.length
        took = {name: 1e6 * float(np.median(each)) / steps for name, each in seconds.items()}
        console.say(f"  {what}: LSTM {took['LSTM']:.0f} us a step")
        for name in MACHINES:
            memory = took[_memory(name)]
            share = took[name] / (2.0 * took["LSTM"] + memory)
            console.say(
                f"    {name:18} {took[name]:6.0f} us, its memory's arithmetic {memory:6.0f} us: "
                f"{share:.2f} of two LSTM steps and that"
            )


def _memory(name: str) -> str:
    return f"memory of {name}"


def _turn(work: Callable[[], Any], calls: int) -> Callable[[], Any]:
    return lambda: [work() for _ in range(calls)]


def lstm(settings: Settings):
    """The peer, and an NTM's controller."""
    import keras

    return keras.layers.LSTMCell(settings.units)


def machine(name: str, settings: Settings):
    """A cell of the library."""
    import keras

    from keras_attention import NTMCell, StackCell

    if name == "stacks":
        return StackCell(settings.units, settings.stacks, settings.depth)
    feedforward = keras.layers.Dense(settings.units, "tanh")
    controller = lstm(settings) if name == "NTM" else feedforward
    return NTMCell(controller, settings.slots, settings.slot_width)


def arithmetic(name: str, settings: Settings):
    """A cell that does to a memory what the machine does, and nothing else.

    Its input has all that a controller says, before any squashing.
    """
    import keras
    import tensorflow as tf

    class Stacks(keras.layers.Layer):
        """Pushes and pops: equations 2, 3 and 5 of Joulin & Mikolov, 2015."""

        features = 3 * settings.stacks
        state_size = [settings.stacks * settings.depth]
        output_size = 2 * settings.stacks

        def call(self, inputs, states):
            given = tf.reshape(inputs, (-1, settings.stacks, 3))
            stacks = tf.reshape(states[0], (-1, settings.stacks, settings.depth))
            moves, value = tf.nn.softmax(given[..., :2]), tf.sigmoid(given[..., 2:])
            pushed = tf.concat([value, stacks[..., :-1]], axis=-1)
            popped = tf.pad(stacks[..., 1:], [[0, 0], [0, 0], [0, 1]], constant_values=-1.0)
            stacks = moves[..., :1] * pushed + moves[..., 1:] * popped
            flat = tf.reshape(stacks, (-1, self.state_size[0]))
            return tf.reshape(stacks[..., :2], (-1, self.output_size)), [flat]

    slots, width = settings.slots, settings.slot_width

    class Slots(keras.layers.Layer):
        """Finds, reads and writes: equations 2 to 9 of Graves et al., 2014, by two heads."""

        features = 2 * (width + 6) + 2 * width
        state_size = [2 * slots, slots * width]
        output_size = width

        def call(self, inputs, states):
            heads = tf.reshape(inputs[:, : 2 * (width + 6)], (-1, 2, width + 6))
            erase, add = tf.split(inputs[:, 2 * (width + 6) :], 2, axis=-1)
            before = tf.reshape(states[0], (-1, 2, slots))
            memory = tf.reshape(states[1], (-1, slots, width))
            key, others = heads[..., :width], heads[..., width:]
            likeness = tf.matmul(
                tf.math.l2_normalize(key, -1), tf.math.l2_normalize(memory, -1), transpose_b=True
            )
            content = tf.nn.softmax(tf.nn.softplus(others[..., :1]) * likeness)
            gate = tf.sigmoid(others[..., 1:2])
            gated = gate * content + (1.0 - gate) * before
            shifts = tf.nn.softmax(others[..., 2:5])
            moved = sum(tf.roll(gated, i - 1, -1) * shifts[..., i, None] for i in range(3))
            power = 1.0 + tf.nn.softplus(others[..., 5:])
            weights = tf.nn.softmax(power * tf.math.log(moved + 1e-12))
            read = tf.matmul(weights[:, :1], memory)[:, 0]
            wrote = weights[:, 1, :, None]
            memory = memory * (1.0 - wrote * tf.sigmoid(erase)[:, None])
            memory = memory + wrote * tf.tanh(add)[:, None]
            flat = [tf.reshape(weights, (-1, 2 * slots)), tf.reshape(memory, (-1, slots * width))]
            return read, flat

    return Stacks() if name == "stacks" else Slots()


def works(cell, settings: Settings, xla: bool) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A forward pass over a batch of sequences, and one with the gradients of its sum."""
    import keras
    import tensorflow as tf

    features = getattr(cell, "features", FEATURES)
    network = keras.layers.RNN(cell, return_sequences=True)
    shape = settings.batch_size, settings.length, features
    inputs = tf.constant(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    network.build(shape)
    variables = [weight.value for weight in network.trainable_weights]

    def forward(inputs):
        return network(inputs, training=True)

    def train(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = tf.reduce_sum(forward(inputs))
        return tape.gradient(total, [inputs, *variables])

    tf.get_logger().setLevel("ERROR")  # It warns of a new graph for each side.
    graphs = [tf.function(each, jit_compile=xla) for each in (forward, train)]

    def run(graph):
        return [each.numpy() for each in tf.nest.flatten(graph(inputs)) if each is not None]

    return lambda: run(graphs[0]), lambda: run(graphs[1])


def endure(settings: Settings) -> Iterator[bool]:
    """Whether every number of each machine and seed is one; prints a line for each."""
    import dataclasses

    import keras

    one = dataclasses.replace(settings, length=settings.without_nan, batch_size=1)
    for name in MACHINES:
        for seed in range(1, settings.seeds + 1):
            keras.utils.set_random_seed(seed)
            _, train = works(machine(name, one), one, xla=False)
            numbers = np.concatenate([each.ravel() for each in train()])
            finite = numbers[np.isfinite(numbers)]
            bad = len(numbers) - len(finite)
            console.say(
                f"{name}, seed {seed}: {bad} of {len(numbers)} numbers of the gradient over "
                f"{one.length} steps are none; the largest is {np.abs(finite).max(initial=0.0):.3g}"
            )
            yield bad == 0


if __name__ == "__main__":
    sys.exit(main())
