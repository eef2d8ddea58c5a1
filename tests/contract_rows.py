"""How the contract's clauses see a layer: as a row that says how to make it and how to call it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import keras
import numpy as np
from keras import ops

# Calls: from a layer and its inputs by name to its outputs by name, the one that is trained first.


def attended(layer, inputs, **options):
    context, weights = layer(**inputs, **options, return_attention_scores=True)
    return {"context": context, "weights": weights}


def scored(layer, inputs):
    return {"scores": layer(**inputs)}


def decoded(layer, inputs, **options):
    done = layer(**inputs, **options)
    states = {f"state_{i}": leaf for i, leaf in enumerate(keras.tree.flatten(done.state))}
    return {"output": done.outputs, "context": done.contexts, "weights": done.weights, **states}


def stepped(layer, inputs, **options):
    output, context, weights = layer(**inputs, **options)
    return {"output": output, "context": context, "weights": weights}


# The same, one query or one time step after another.


def attend_one_by_one(layer, inputs, value_mask=None):
    memory = layer.prepare(inputs["value"], inputs.get("key"), value_mask)
    state, steps = layer.initial_state(memory), []
    for query in _moments(inputs["query"]):
        context, weights, state = layer.attend(query, memory, state)
        steps.append({"context": context, "weights": weights})
    return {name: ops.concatenate([step[name] for step in steps], axis=1) for name in steps[0]}


def score_one_by_one(layer, inputs):
    keys = layer.project_key(inputs["key"])
    steps = [layer.score(query, keys) for query in _moments(inputs["query"])]
    return {"scores": ops.concatenate(steps, axis=1)}


def decode_one_by_one(layer, inputs, value_mask=None):
    memory = layer.prepare(inputs["value"], inputs.get("key"), value_mask)
    state, steps = layer.initial_state(memory), []
    for now in _moments(inputs["inputs"]):
        *step, state = layer.step(now[:, 0], state, memory)
        steps.append(step)
    names = ("output", "context", "weights")
    stacked = {name: ops.stack([s[i] for s in steps], axis=1) for i, name in enumerate(names)}
    states = {f"state_{i}": leaf for i, leaf in enumerate(keras.tree.flatten(state))}
    return {**stacked, **states}


def _moments(sequence):
    sequence = ops.convert_to_tensor(sequence)
    return [sequence[:, t : t + 1] for t in range(sequence.shape[1])]


@dataclass(frozen=True)
class Row:
    """One public layer in one configuration.

    `inputs` are shapes by call argument, batch first, and length second where there are three axes.
    `masks` are, by mask argument, the arguments that it covers. `without` names the clauses that do
    not apply, and why not.
    """

    layer: type
    make: Callable[[], keras.Layer]
    inputs: Mapping[str, tuple[int, ...]]
    call: Callable = attended
    one_by_one: Callable | None = attend_one_by_one
    masks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)

    def data(self, dtype="float32", seed=7):
        """Inputs drawn from a normal distribution."""
        draw = np.random.default_rng(seed)
        return {name: draw.normal(size=shape).astype(dtype) for name, shape in self.inputs.items()}

    def holes(self):
        """A `value_mask` with a hole in the middle of each sequence; nothing where none applies."""
        if "value_mask" not in self.masks:
            return {}
        batch, length = self.inputs["value"][:2]
        mask = np.ones((batch, length), bool)
        mask[np.arange(batch), 1 + np.arange(batch) % (length - 2)] = False
        return {"value_mask": mask}

    def built(self, dtype="float32"):
        """A new layer, with weights."""
        layer = self.make()
        self.call(layer, self.data(dtype))
        return layer

    def functional(self, layer, before=lambda tensor: tensor):
        """A functional model of the layer, for batches and lengths unknown."""
        tensors = {
            name: keras.Input((None, *shape[2:]) if len(shape) == 3 else shape[1:], name=name)
            for name, shape in self.inputs.items()
        }
        inputs = {name: before(tensor) for name, tensor in tensors.items()}
        return keras.Model(tensors, self.call(layer, inputs))


@contextlib.contextmanager
def dtype_policy(name) -> Iterator[None]:
    """Layers made inside have this policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def arrays(outputs):
    """Tensors by name to NumPy arrays by name, in float32 where NumPy lacks the dtype."""
    outputs = keras.tree.map_structure(ops.convert_to_tensor, outputs)
    half = ("float16", "bfloat16")
    return {
        name: ops.convert_to_numpy(
            ops.cast(each, "float32")
            if keras.backend.standardize_dtype(each.dtype) in half
            else each
        )
        for name, each in outputs.items()
    }


def assert_same(found, expected, rtol=1e-4, atol=2e-5):
    found, expected = arrays(found), arrays(expected)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol, atol, err_msg=name)


def outputs_and_gradients(row, layer, inputs, **options):
    """The outputs, a loss over all of them, and its gradients, by name, as tensors."""
    import tensorflow as tf

    inputs = {name: tf.convert_to_tensor(value) for name, value in inputs.items()}
    sources = {**inputs, **{v.path: v.value for v in layer.trainable_variables}}
    with tf.GradientTape() as tape:
        tape.watch(list(inputs.values()))
        outputs = row.call(layer, inputs, **options)
        # Zeros, such as what was read under a mask, add nothing to this loss.
        at_least_float32 = keras.backend.result_type(layer.compute_dtype, "float32")
        precise = [ops.cast(each, at_least_float32) for each in outputs.values()]
        loss = sum(ops.sum(each + each * each) for each in precise)
    gradients = tape.gradient(loss, sources)
    missing = [name for name, gradient in gradients.items() if gradient is None]
    assert not missing, f"no gradient reaches {missing}"
    gradients = {name: tf.convert_to_tensor(each) for name, each in gradients.items()}
    return outputs, {"loss": loss}, gradients
