"""All searches alike: eager, in a graph of unknown sizes, under XLA, and from a SavedModel."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_attention.search import beam_search, greedy_search, sample_search
from tests.keras_attention.search.worlds import World, assert_same, assert_true_to

WORLD = World.random(seed=13, vocabulary=5, num_values=7)
TOKENS = {"start_id": 0, "end_id": 1, "pad_id": 0}

SEARCHES = {
    "greedy": (greedy_search, {}),
    "sample": (sample_search, {"num_hypotheses": 3, "seed": 3}),
    "sample of few": (sample_search, {"num_hypotheses": 2, "seed": 3, "top_k": 3, "top_p": 0.9}),
    "beam": (beam_search, {"beam_width": 3, "num_hypotheses": 2, "length_penalty": 0.7}),
    "coverage": (beam_search, {"beam_width": 3, "coverage_penalty": 0.2, "min_length": 2}),
}

each_search = pytest.mark.parametrize("name", SEARCHES)


def search(name, code, weights, batch_size, max_length):
    """As a model has it: code (B, 1) to begin with, and weights (codes, Tv) from elsewhere."""
    kind, own = SEARCHES[name]
    if "coverage_penalty" in own:
        own = own | {"value_mask": ops.ones((batch_size, ops.shape(weights)[1]), "bool")}

    def step(ids, state):
        log_probs, state, _ = WORLD.step(ids, state)
        return log_probs, state, ops.take(weights, state["code"][:, 0], axis=0)

    state = {"code": code}
    return kind(step, state, batch_size=batch_size, max_length=max_length, **TOKENS | own)


CODE = np.array([[1], [2], [3], [5], [7]], "int32")


def compiled(name, jit_compile):
    return tf.function(
        lambda code: search(name, code, WORLD.weights, 5, 6), jit_compile=jit_compile
    )


@each_search
def test_a_graph_equals_eager(name):
    assert_same(compiled(name, False)(CODE), search(name, tf.constant(CODE), WORLD.weights, 5, 6))


@each_search
def test_xla_equals_eager(name):
    found = compiled(name, True)(CODE)
    if "seed" in SEARCHES[name][1]:  # XLA draws other numbers from a seed
        assert_true_to(WORLD, CODE[:, 0], found)
    else:
        assert_same(found, search(name, tf.constant(CODE), WORLD.weights, 5, 6))


def dynamic(name):
    """A graph in which no size is known, nor the length, nor the number of values."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 1), "int32"),
            tf.TensorSpec((None, None), "float32"),
            tf.TensorSpec((), "int32"),
        ]
    )
    def graph(code, weights, max_length):
        return search(name, code, weights, ops.shape(code)[0], max_length)._asdict()

    return graph


@each_search
def test_a_graph_of_unknown_sizes_equals_eager(name):
    graph = dynamic(name)
    for batch_size, num_values, max_length in ((5, 7, 6), (1, 3, 4)):
        code, weights = CODE[:batch_size], WORLD.weights[:, :num_values]
        found = graph(code, weights, max_length)
        eager = search(name, tf.constant(code), weights, batch_size, max_length)
        assert_same(type(eager)(**found), eager)


@each_search
def test_empty_batches_and_no_values(name):
    graph = dynamic(name)
    for batch_size, num_values in ((0, 7), (5, 0), (0, 0)):
        found = graph(CODE[:batch_size], WORLD.weights[:, :num_values], 6)
        assert found["weights"].shape[0] == batch_size
        assert found["weights"].shape[2:] == (6, num_values)


@pytest.mark.parametrize("name", ["greedy", "sample of few", "coverage"])
def test_saved_model_of_core_ops(name, tmp_path):
    module = tf.Module()
    module.search = dynamic(name)
    tf.saved_model.save(module, str(tmp_path))
    found = tf.saved_model.load(str(tmp_path)).search(CODE, WORLD.weights, tf.constant(6))
    eager = search(name, tf.constant(CODE), WORLD.weights, 5, 6)
    assert_same(type(eager)(**found), eager)
    graph = module.search.get_concrete_function().graph.as_graph_def()
    nodes = [
        *graph.node,
        *(node for function in graph.library.function for node in function.node_def),
    ]
    ops_used = {node.op for node in nodes} - {f.signature.name for f in graph.library.function}
    # What stock TensorFlow Serving has no kernel for, or needs XLA to run.
    assert not {op for op in ops_used if op.startswith(("Xla", "Py", "Eager"))}


def test_a_seed_generator_moves_on_in_a_graph():
    generator = keras.random.SeedGenerator(7)

    @tf.function
    def graph():
        code = tf.constant(CODE)
        return sample_search(
            WORLD.step, {"code": code}, batch_size=5, max_length=6, seed=generator, **TOKENS
        )

    first, second = graph(), graph()
    assert (first.ids.numpy() != second.ids.numpy()).any()
