"""What every public layer must pass, one small function a clause.

`check_layer(row)` holds a layer to all of them; a clause that does not apply to it is named in the
row, with the reason. Clauses about masks are in `contract_masks.py`. That a SavedModel answers as
the layer does is checked for all rows at once, by `contract_export.py`.
"""

from __future__ import annotations

import inspect
import json

import keras
import numpy as np
from keras import ops

from tests import contract_masks
from tests.contract_rows import (
    arrays,
    assert_same,
    dtype_policy,
    outputs_and_gradients,
)


def check_layer(row, tmp_path, clauses=None):
    """Holds a layer to the clauses, all of them unless given."""
    for clause in CLAUSES if clauses is None else clauses:
        if clause.__name__ in row.without:
            continue
        clause(*(row, tmp_path)[: len(inspect.signature(clause).parameters)])


def config_round_trip(row):
    """A config is plain data, and a layer made of it has the same config."""
    layer = row.make()
    config = layer.get_config()
    json.dumps(keras.saving.serialize_keras_object(layer))
    revived = type(layer).from_config(layer.get_config())
    assert revived.get_config() == config
    assert keras.layers.deserialize(keras.layers.serialize(layer)).get_config() == config


def registered_name(row):
    """A file names our layers by one package, for ever."""
    name = keras.saving.get_registered_name(row.layer)
    assert name == f"keras_attention>{row.layer.__name__}"


def keras_file_round_trip(row, tmp_path):
    """A `.keras` file loads without `custom_objects`, and gives the same numbers."""
    model = row.functional(row.make())
    model.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(revived(row.data()), model(row.data()), rtol=1e-6, atol=1e-6)


def eager_is_graph_is_xla(row):
    """Outputs and gradients are the same eagerly, in a `tf.function`, and compiled by XLA."""
    import tensorflow as tf

    layer, masks = row.built(), row.holes()

    def everything(inputs):
        return outputs_and_gradients(row, layer, inputs, **masks)

    inputs = {name: tf.constant(value) for name, value in row.data().items()}
    eager = everything(inputs)
    for jit_compile in (False, True):
        compiled = tf.function(everything, jit_compile=jit_compile)(inputs)
        for found, expected in zip(compiled, eager, strict=True):
            assert_same(found, expected)


def symbolic_is_real(row):
    """Shapes and dtypes foretold for unknown batch and lengths are those that come."""
    layer = row.make()
    model = row.functional(layer)
    inputs = row.data()
    real = row.call(layer, inputs)
    assert list(model.output) == list(real)
    for name, foretold in model.output.items():
        assert len(foretold.shape) == len(real[name].shape), name
        for axis, (told, came) in enumerate(zip(foretold.shape, real[name].shape, strict=True)):
            assert told in (None, came), (name, axis)
        assert foretold.shape[0] is None, name
        assert foretold.dtype == keras.backend.standardize_dtype(real[name].dtype), name
    for name, foretold in row.call(layer, _placeholders(row)).items():
        assert tuple(foretold.shape) == (None, *real[name].shape[1:]), name
    assert_same(model.predict(inputs, verbose=0), real)


def _placeholders(row):
    return {name: keras.Input(shape[1:]) for name, shape in row.inputs.items()}


def batch_of_one(row):
    """The first of a batch, alone, has the outputs that it has among the others."""
    layer, inputs, masks = row.built(), row.data(), row.holes()
    together = arrays(row.call(layer, inputs, **masks))
    first, masks = ({name: each[:1] for name, each in some.items()} for some in (inputs, masks))
    alone = row.call(layer, first, **masks)
    assert_same(alone, {name: each[:1] for name, each in together.items()})


def fit_step(row):
    """One step of `fit` moves every weight, and leaves it finite."""
    layer = row.make()
    model = row.functional(layer, before=lambda each: keras.layers.Dense(each.shape[-1])(each))
    first = next(iter(model.output))
    trained = keras.Model(model.input, model.output[first])
    before = {v.path: ops.convert_to_numpy(v) for v in trained.trainable_variables}
    trained.compile(keras.optimizers.SGD(1.0), "mse")
    inputs = row.data()
    target = np.random.default_rng(11).normal(size=trained.compute_output_shape(row.inputs))
    losses = trained.fit(inputs, target, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    for variable in trained.trainable_variables:
        after = ops.convert_to_numpy(variable)
        assert np.isfinite(after).all(), variable.path
        assert np.abs(after - before[variable.path]).max() > 0.0, variable.path


def mixed_precision(row):
    """In half precision the outputs are of that dtype, and as near float32's as its digits allow.

    Near is of a whole output: one number of it can be a small difference of large ones.
    """
    precise = row.built()
    expected = arrays(row.call(precise, row.data(), **row.holes()))
    for dtype, tolerance in (("float16", 0.01), ("bfloat16", 0.08)):
        with dtype_policy(f"mixed_{dtype}"):
            layer = row.built()
            layer.set_weights(precise.get_weights())
            outputs = row.call(layer, row.data(), **row.holes())
        for name, output in outputs.items():
            assert keras.backend.standardize_dtype(output.dtype) == dtype, name
        for variable in layer.trainable_variables:
            assert variable.dtype == "float32", variable.path
        for name, found in arrays(outputs).items():
            away, norm = np.linalg.norm(found - expected[name]), np.linalg.norm(expected[name])
            assert away <= tolerance * norm, f"{name} in {dtype} is {away:.3g} of {norm:.3g} away"


def steps_are_the_sequence(row):
    """One query, or one time step, after another gives what the whole sequence gives."""
    layer, inputs, masks = row.built(), row.data(), row.holes()
    assert_same(row.one_by_one(layer, inputs, **masks), row.call(layer, inputs, **masks))


def gradients_are_derivatives(row):
    """In float64, along random directions, gradients equal central differences of the loss."""
    with dtype_policy("float64"):
        layer = row.built("float64")
        inputs, masks = row.data("float64"), row.holes()
        _, _, gradients = outputs_and_gradients(row, layer, inputs, **masks)
        gradients = arrays(gradients)
        weights = {v.path: ops.convert_to_numpy(v) for v in layer.trainable_variables}
        point = {**inputs, **weights}

        def loss_at(step, direction):
            moved = {name: point[name] + step * direction[name] for name in point}
            for variable in layer.trainable_variables:
                variable.assign(moved[variable.path])
            moved = {name: moved[name] for name in inputs}
            return float(outputs_and_gradients(row, layer, moved, **masks)[1]["loss"])

        draw = np.random.default_rng(13)
        for _ in range(2):
            direction = {name: draw.normal(size=value.shape) for name, value in point.items()}
            slope = sum(np.sum(gradients[name] * direction[name]) for name in point)
            step = 1e-5
            measured = (loss_at(step, direction) - loss_at(-step, direction)) / (2 * step)
            np.testing.assert_allclose(slope, measured, rtol=1e-5, atol=1e-7)


CLAUSES = (
    config_round_trip,
    registered_name,
    keras_file_round_trip,
    eager_is_graph_is_xla,
    symbolic_is_real,
    batch_of_one,
    fit_step,
    mixed_precision,
    steps_are_the_sequence,
    gradients_are_derivatives,
    *contract_masks.CLAUSES,
)
# They take gradients, or compile, by TensorFlow's own means.
ON_TENSORFLOW = {eager_is_graph_is_xla, gradients_are_derivatives, *contract_masks.ON_TENSORFLOW}
