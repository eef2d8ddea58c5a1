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


LENGTHS = np.array([1, 2, 2, 9, 3, 12, 1, 4], "int32")


def search_by_lengths(name, lengths, batch_size, looked_at=lambda rows: None):
    """Sentences (B,) whose hypotheses end at so many tokens, as only the memory knows."""
    kind, own = SEARCHES[name]
    weights = ops.convert_to_tensor(WORLD.weights)

    def step(ids, state, memory):
        looked_at(ops.shape(ids)[0])
        log_probs, inner, _ = WORLD.step(ids, {"code": state["code"]})
        each = ops.shape(ids)[0] // ops.maximum(ops.shape(memory["lengths"])[0], 1)
        goes_on = (ops.repeat(memory["lengths"], each) > state["time"])[:, None]
        is_end = ops.arange(5) == TOKENS["end_id"]
        log_probs = ops.where(is_end == goes_on, -99.0, ops.where(is_end, 0.0, log_probs))
        seen = ops.take(weights, ops.repeat(memory["places"], each), axis=0)
        return log_probs, {**inner, "time": state["time"] + 1}, seen

    memory = {"lengths": lengths, "places": lengths * 3}
    state = {"code": lengths[:, None] + 1, "time": ops.zeros_like(lengths)}
    if "coverage_penalty" in own:
        places = ops.arange(7) < 2 + lengths[:, None]
        own = own | {"value_mask": places}
    own = TOKENS | own
    return kind(step, state, memory=memory, batch_size=batch_size, max_length=14, **own)


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in SEARCHES), ("beam", {"early_stopping": True})],
)
def test_sentences_that_are_done_are_left_out(name, options, monkeypatch):
    kind, own = SEARCHES[name]
    monkeypatch.setitem(SEARCHES, name, (kind, own | options))
    rows = tf.Variable(0)

    @tf.function(input_signature=[tf.TensorSpec((None,), "int32")])
    def graph(lengths):
        return search_by_lengths(name, lengths, ops.shape(lengths)[0], rows.assign_add)

    assert graph(LENGTHS[:0]).ids.shape == (0, own.get("num_hypotheses", 1), 14)
    for lengths in (LENGTHS, LENGTHS[:1]):
        rows.assign(0)
        found = graph(lengths)
        together = int(rows)
        assert_same(found, search_by_lengths(name, tf.constant(lengths), len(lengths)))
        alone = 0
        for length in lengths:
            rows.assign(0)
            graph(np.array([length]))
            alone += int(rows)
        assert together <= 1.5 * alone  # and not 8 times what the longest needs


@pytest.mark.parametrize("name", ["greedy", "sample"])
def test_other_searches_ask_for_the_memory_too(name):
    graph = tf.function(lambda: search_by_lengths(name, tf.constant(LENGTHS), len(LENGTHS)))
    found = graph()
    assert (found.lengths.numpy() == LENGTHS[:, None]).all()
    np.testing.assert_array_equal(found.weights[:, 0, 0], WORLD.weights[LENGTHS * 3])


@pytest.mark.parametrize("name", ["greedy", "beam", "coverage"])
def test_xla_takes_a_memory(name):
    def search():
        return search_by_lengths(name, tf.constant(LENGTHS), len(LENGTHS))

    assert_same(tf.function(search, jit_compile=True)(), search())


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
