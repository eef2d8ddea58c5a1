"""Models that take serialized `tf.train.Example`s: good ones, and ones that answer wrongly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf


def write_half_plus_two(folder: Path) -> None:
    """Half of x plus two, asked by tensors or by examples.

    It is written the way of TensorFlow 1: only so can signatures share an input tensor, which
    MultiInference asks for.
    """
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        half = tf.compat.v1.get_variable("half", initializer=0.5)
        session.run(tf.compat.v1.global_variables_initializer())
        serialized = tf.compat.v1.placeholder(tf.string, [None], "serialized")
        features = tf.io.parse_example(
            serialized,
            {
                "x": tf.io.FixedLenFeature([1], tf.float32, [0.0]),
                "x2": tf.io.FixedLenFeature([1], tf.float32, [0.0]),
            },
        )
        x = tf.identity(features["x"])
        y, y3 = half * x + 2.0, half * features["x2"] + 3.0
        regress, classify = (
            tf.saved_model.REGRESS_METHOD_NAME,
            tf.saved_model.CLASSIFY_METHOD_NAME,
        )
        signatures = {
            "serving_default": ({"x": x}, {"y": y}, tf.saved_model.PREDICT_METHOD_NAME),
            "regress_x_to_y": ({"inputs": serialized}, {"outputs": y}, regress),
            "regress_x2_to_y3": ({"inputs": serialized}, {"outputs": y3}, regress),
            "classify_x_to_y": ({"inputs": serialized}, {"scores": y}, classify),
            "classify_x2_to_y3": ({"inputs": serialized}, {"scores": y3}, classify),
        }
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.SERVING],
            {name: _definition(*parts) for name, parts in signatures.items()},
        )
        builder.save()


def _definition(
    inputs: Mapping[str, tf.Tensor], outputs: Mapping[str, tf.Tensor], method: str
) -> object:
    infos = (
        {name: tf.compat.v1.saved_model.build_tensor_info(value) for name, value in side.items()}
        for side in (inputs, outputs)
    )
    return tf.compat.v1.saved_model.build_signature_def(*infos, method)


def _features(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    """Labels that show what is in the features `x`, `n` (two integers) and `s`."""
    parsed = tf.io.parse_example(
        inputs,
        {
            "x": tf.io.FixedLenFeature([], tf.float32, -1.0),
            "n": tf.io.FixedLenFeature([2], tf.int64, [-1, -1]),
            "s": tf.io.FixedLenFeature([], tf.string, "none"),
        },
    )
    x = tf.strings.as_string(parsed["x"], shortest=True)
    n = tf.strings.as_string(parsed["n"])
    return {"classes": tf.concat([x[:, None], n, parsed["s"][:, None]], axis=1)}


def _like(inputs: tf.Tensor, value: object, width: int | None) -> tf.Tensor:
    """The same value for each example: a vector, or a matrix of `width` columns."""
    shape = tf.shape(inputs) if width is None else tf.stack([tf.shape(inputs)[0], width])
    return tf.fill(shape, tf.constant(value))


def _longer(tensor: tf.Tensor) -> tf.Tensor:
    return tf.concat([tensor, tensor[:1]], axis=0)


def examples_signatures() -> dict[
    str, tuple[Callable[..., Mapping[str, tf.Tensor]], dict[str, tf.TensorSpec]]
]:
    """Name -> function and inputs. `scores_…` and the like are wrong in the way they are named."""
    inputs = {"inputs": tf.TensorSpec((None,), tf.string)}

    def constant(name: str, value: object, width: int | None = 2) -> Callable[..., dict]:
        return lambda inputs: {name: _like(inputs, value, width)}

    return {
        "features": (_features, inputs),
        "labels_and_scores": (
            lambda inputs: {"classes": _like(inputs, "a", 2), "scores": _like(inputs, 0.25, 2)},
            inputs,
        ),
        "vector": (constant("outputs", 1.5, None), inputs),
        "column": (constant("outputs", 1.5, 1), inputs),
        "scores_vector": (constant("scores", 1.5, None), inputs),
        "scores_integers": (constant("scores", 1), inputs),
        "scores_longer": (lambda inputs: {"scores": _longer(_like(inputs, 1.5, 2))}, inputs),
        "classes_vector": (constant("classes", "a", None), inputs),
        "classes_integers": (constant("classes", 1), inputs),
        "classes_longer": (lambda inputs: {"classes": _longer(_like(inputs, "a", 2))}, inputs),
        "widths": (
            lambda inputs: {"classes": _like(inputs, "a", 2), "scores": _like(inputs, 0.5, 3)},
            inputs,
        ),
        "neither": (constant("y", 1.5), inputs),
        "three_outputs": (
            lambda inputs: {name: _like(inputs, 1.5, 2) for name in ("classes", "scores", "y")},
            inputs,
        ),
        "two_inputs": (
            lambda inputs, more: {"scores": _like(inputs, 1.5, 2), "outputs": _like(more, 1.5, 1)},
            {**inputs, "more": tf.TensorSpec((None,), tf.string)},
        ),
        "other_input": (
            lambda x: {"outputs": _like(x, 1.5, 1)},
            {"x": tf.TensorSpec((None,), tf.string)},
        ),
        "numbers": (
            lambda inputs: {"scores": inputs[:, None]},
            {"inputs": tf.TensorSpec((None,), tf.float32)},
        ),
        "outputs_matrix": (constant("outputs", 1.5, 2), inputs),
        "outputs_integers": (constant("outputs", 1, 1), inputs),
        "outputs_longer": (lambda inputs: {"outputs": _longer(_like(inputs, 1.5, 1))}, inputs),
    }
