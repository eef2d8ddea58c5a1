"""The small models that are abused: one of each kind that a request can be wrong for."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from export import Signature, write

NAMES = ("half", "steady", "words", "types", "examples", "slow")
SECRET = "the text of a file that no request may read"
_TYPES = (tf.float32, tf.float64, tf.bool, tf.string, tf.int32, tf.int64, tf.uint8, tf.uint64)


def write_models(folder: Path) -> Path:
    """Writes all of them below `folder`, and beside them what must stay secret.

    Returns:
        The folder to serve.
    """
    exports = folder / "exports"
    half = Signature(lambda x: {"y": x * 0.5 + 2.0}, {"x": _spec(tf.float32)})
    for name in ("half", "steady"):
        write(exports / name, {"serving_default": half})
    initializer = tf.lookup.KeyValueTensorInitializer(
        tf.constant(["cat", "dog"]), tf.constant([3, 5], tf.int64)
    )
    table = tf.lookup.StaticHashTable(initializer, default_value=-1)
    words = {
        "serving_default": Signature(
            lambda words: {"ids": table.lookup(words), "copy": words, "copy_bytes": words},
            {"words": _spec(tf.string, None)},
        ),
        "number": Signature(
            lambda words: {"number": tf.strings.to_number(words)}, {"words": _spec(tf.string)}
        ),
    }
    write(exports / "words", words, resources=[table])
    types = Signature(_echo, {f"{dtype.name}_in": _spec(dtype) for dtype in _TYPES})
    write(exports / "types", {"serving_default": types})
    inputs = {"inputs": _spec(tf.string)}
    examples = {
        "serving_default": Signature(_classify, inputs),
        "regress": Signature(lambda inputs: {"outputs": _feature(inputs)}, inputs),
    }
    write(exports / "examples", examples)
    write(exports / "slow", {"serving_default": Signature(_slow, {"x": _spec(tf.float32)})})
    (folder / "secret").write_text(SECRET)
    return exports


def _spec(dtype: tf.DType, *shape: int | None) -> tf.TensorSpec:
    return tf.TensorSpec((None, *shape), dtype)


def _echo(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
    return {
        name.replace("_in", "_out"): tf.ensure_shape(tensor, (None,))
        for name, tensor in tensors.items()
    }


def _feature(inputs: tf.Tensor) -> tf.Tensor:
    feature = tf.io.FixedLenFeature([], tf.float32, 0.0)
    return tf.io.parse_example(inputs, {"x": feature})["x"]


def _classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    x = _feature(inputs)
    scores = tf.stack([x, 1.0 - x], axis=1)
    return {"classes": tf.strings.as_string(scores), "scores": scores}


def _slow(x: tf.Tensor) -> dict[str, tf.Tensor]:
    """The same numbers some hundredths of a second later."""
    steps = tf.range(100)
    later = tf.foldl(lambda seen, _: seen + tf.reduce_sum(tf.random.normal((128, 128))), steps, 0.0)
    return {"y": x + 0.0 * later}
