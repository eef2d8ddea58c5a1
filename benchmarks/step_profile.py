"""Where the time of our training step goes."""

from __future__ import annotations

import statistics
import time

import keras
import tensorflow as tf
from keras import ops

from applications.training import console

ROUNDS = 3


def report(model: keras.Model, dataset: tf.data.Dataset) -> None:
    """Prints the milliseconds of each part, forward and backward: each is what it adds."""
    steps = {
        "encoder": _part(model, _encode),
        "decoder": _part(model, _decode),
        "output layer and loss": _part(model, _loss),
        "optimizer": tf.function(model.train_step, reduce_retracing=True),
    }
    batches = list(dataset)
    before = 0.0
    for name, step in steps.items():
        until = _milliseconds(step, batches)
        console.say(f"  {name}: {until - before:.1f} ms")
        before = until
    console.say(f"  together: {before:.1f} ms a step")


def _encode(model, inputs, labels, weights):
    memory, state = model.encode(inputs["source"], inputs["source_lengths"], training=True)
    return _sum(memory.keys, memory.values, *keras.tree.flatten(state))


def _decode(model, inputs, labels, weights):
    memory, state = model.encode(inputs["source"], inputs["source_lengths"], training=True)
    embedded = model.dropout(model.target_embedding(inputs["target"]), training=True)
    decoded = model.decoder.run(embedded, memory, state, training=True)
    return _sum(decoded.outputs, decoded.contexts)


def _loss(model, inputs, labels, weights):
    return model.compute_loss(inputs, labels, model(inputs, training=True), weights)


def _part(model, forward):
    @tf.function(reduce_retracing=True)
    def step(batch):
        with tf.GradientTape() as tape:
            result = forward(model, *batch)
        gradients = tape.gradient(result, model.trainable_variables)
        return result, [each for each in gradients if each is not None]

    return step


def _sum(*tensors):
    return sum(ops.sum(each) for each in tensors)


def _milliseconds(step, batches) -> float:
    """The median over rounds of a batch's mean."""
    seconds = []
    for _ in range(1 + ROUNDS):
        begun = time.perf_counter()
        for batch in batches:
            step(batch)
        seconds.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(seconds[1:]) / len(batches)
