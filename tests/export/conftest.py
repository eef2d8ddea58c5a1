"""Small models a person can check by heart, and one server for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from export import DevServer, Signature, write


def spec(dtype, *shape):
    return tf.TensorSpec((None, *shape), dtype)


def half_plus_two(x):
    return {"y": x * 0.5 + 2.0}


def half_signature():
    return Signature(half_plus_two, {"x": spec(tf.float32)}, [{"x": [2.0, 5.0]}])


def describe(count, word, ratio, precise):
    return {
        "total": tf.cast(count, tf.float64) + tf.cast(ratio, tf.float64) + precise,
        "shout": tf.strings.upper(word),
        "twice": count * 2,
        "positive": count > 0,
    }


def describe_signature():
    inputs = {
        "count": spec(tf.int32),
        "word": spec(tf.string),
        "ratio": spec(tf.float32),
        "precise": spec(tf.float64),
    }
    example = {"count": [3], "word": ["no"], "ratio": [0.5], "precise": [0.25]}
    return Signature(describe, inputs, [example])


def vocabulary():
    initializer = tf.lookup.KeyValueTensorInitializer(
        tf.constant(["cat", "dog"]), tf.constant([3, 5], tf.int64)
    )
    return tf.lookup.StaticHashTable(initializer, default_value=-1)


def words_signatures(table):
    def ids(words):
        return {"ids": table.lookup(words), "copy": words, "copy_bytes": words}

    return {
        "serving_default": Signature(ids, {"words": spec(tf.string, None)}, [{"words": [["cat"]]}]),
        "describe": describe_signature(),
        "count": Signature(
            lambda values: {"total": tf.reduce_sum(values), "values": values},
            {"values": spec(tf.int32, None)},
        ),
        "check": Signature(
            lambda x: {
                "y": tf.ensure_shape(x, (None, 3)) + 0.0,
                "long": tf.debugging.check_numerics(x, "m" * 2000),
            },
            {"x": spec(tf.float32, None)},
        ),
    }


@pytest.fixture(scope="session")
def exports(tmp_path_factory) -> Path:
    """A folder of two models: `half_plus_two` at version 123 and `words` at version 1."""
    folder = tmp_path_factory.mktemp("exports")
    first = write(folder / "half_plus_two", {"serving_default": half_signature()})
    first.rename(first.with_name("123"))
    table = vocabulary()
    write(folder / "words", words_signatures(table), resources=[table])
    return folder


@pytest.fixture(scope="session")
def server(exports):
    with DevServer(exports, grpc_port=0, rest_port=0) as running:
        yield running
