"""Where blocks run under XLA and where not, and that all of Keras goes with both."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import AdditiveSoftAttention, compile

B, Tq, Tv, Dq, Dv, units = 6, 17, 19, 5, 7, 67  # enough pairs for blocks
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="elsewhere there is no choice"
)


@pytest.fixture(autouse=True)
def nothing_asked():
    yield
    compile.set_xla(None)


def model():
    """Attention over lengths unknown, with a weight before it that a gradient must reach."""
    query, value = keras.Input((None, Dq), name="query"), keras.Input((None, Dv), name="value")
    read = AdditiveSoftAttention(units)(keras.layers.Dense(Dq)(query), value)
    return keras.Model({"query": query, "value": value}, read)


def data(batch_size=B, num_queries=Tq, num_values=Tv):
    rng = np.random.default_rng(5)
    inputs = {
        "query": rng.normal(size=(batch_size, num_queries, Dq)).astype("float32"),
        "value": rng.normal(size=(batch_size, num_values, Dv)).astype("float32"),
    }
    return inputs, rng.normal(size=(batch_size, num_queries, Dv)).astype("float32")


def asks_for_xla(graph_def):
    """Whether a graph, or any function that it calls, must be compiled."""
    functions = graph_def.library.function
    nodes = itertools.chain(graph_def.node, *(each.node_def for each in functions))
    return any(
        name in each.attr and each.attr[name].b
        for each in itertools.chain(nodes, functions)
        for name in ("_XlaMustCompile", "_XlaCompile")
    )


def graph_of(function, *arguments):
    import tensorflow as tf

    return tf.function(function).get_concrete_function(*arguments).graph.as_graph_def()


def test_xla_is_for_training_and_for_where_there_is_no_graph():
    import tensorflow as tf

    assert compile.uses_xla() and compile.uses_xla(training=True)
    found = []
    graph_of(lambda: found.append([compile.uses_xla(training) for training in (False, True)]))
    assert found == [[False, True]]
    assert asks_for_xla(graph_of(lambda: compile.under_xla(tf.abs)(tf.constant(1.0))))


def test_xla_may_be_asked_for_and_refused():
    found = []
    for asked in (True, False):
        compile.set_xla(asked)
        graph_of(lambda: found.append((compile.uses_xla(), compile.uses_xla(training=True))))
    assert found == [(True, True), (False, False)]


def test_other_words_are_refused():
    with pytest.raises(
        ValueError, match="`enabled` must be True, False or None. Received: enabled='no'"
    ):
        compile.set_xla("no")


def test_where_xla_is_not_to_be_had_it_is_not_used(monkeypatch):
    monkeypatch.setattr(compile, "_xla_works", lambda: False)
    assert not compile.uses_xla() and not compile.uses_xla(training=True)


def test_only_a_graph_that_trains_asks_for_xla(tmp_path):
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    trained = model()
    trained.compile("sgd", "mse")
    inputs, target = data()
    trained.fit(inputs, target, verbose=0)  # What was traced in training must not be exported.
    tensors = {name: tf.constant(each) for name, each in inputs.items()}
    assert not asks_for_xla(graph_of(lambda x: trained(x), tensors))
    assert not asks_for_xla(graph_of(lambda x: trained(x, training=False), tensors))
    assert asks_for_xla(graph_of(lambda x: trained(x, training=True), tensors))

    trained.export(tmp_path, verbose=False)
    saved = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    assert len(saved.meta_graphs[0].graph_def.library.function) > 0
    assert not asks_for_xla(saved.meta_graphs[0].graph_def)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_fit_learns_alike_under_xla_and_without_and_all_under_xla(policy):
    """The last with `jit_compile`, where the whole step is compiled, blocks and all."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    losses = []
    try:
        for asked, jit_compile in ((True, False), (False, False), (None, True), (False, True)):
            compile.set_xla(asked)
            keras.utils.set_random_seed(17)
            trained = model()
            trained.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
            losses.append(trained.fit(*data(), batch_size=4, epochs=2, verbose=0).history["loss"])
            evaluated = trained.predict(data()[0], verbose=0)
            assert np.isfinite(evaluated).all()
    finally:
        keras.config.set_dtype_policy(before)
    tolerance = {"float32": 1e-5, "mixed_float16": 2e-3, "mixed_bfloat16": 2e-2}[policy]
    assert losses[0][1] < losses[0][0]
    for other in losses[1:]:
        np.testing.assert_allclose(other, losses[0], rtol=tolerance)


def test_lengths_change_from_batch_to_batch_without_another_trace():
    traces = []

    class Counting(keras.layers.Layer):
        def call(self, inputs):
            traces.append(1)
            return inputs

    counted = model()
    trained = keras.Model(counted.input, Counting()(counted.output))
    trained.compile("sgd", "mse")
    for num_queries, num_values in ((17, 19), (31, 18), (20, 23), (18, 32)):
        trained.train_on_batch(*data(B, num_queries, num_values))
        if (num_queries, num_values) == (31, 18):
            traces.clear()  # Keras traces a second time, for the first lengths that differ.
    assert traces == []


@pytest.mark.parametrize("jit_compile", [False, True])
def test_predict_says_the_same_as_the_layer_called(jit_compile):
    predicting, (inputs, _) = model(), data()
    predicting.compile(jit_compile=jit_compile)
    called = ops.convert_to_numpy(predicting(inputs))
    np.testing.assert_allclose(predicting.predict(inputs, verbose=0), called, rtol=1e-5, atol=1e-6)


SETUP = """
import numpy as np, tensorflow as tf, keras
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_attention import compile
from tests.keras_attention.test_compile import data, model

def losses():
    keras.utils.set_random_seed(17)
    trained = model()
    trained.compile(keras.optimizers.SGD(0.1), "mse")
    return trained.fit(*data(), batch_size=6, epochs=2, verbose=0, shuffle=False).history["loss"]
"""
MIRRORED = """
alone = losses()
assert compile.uses_xla()
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    together = losses()
np.testing.assert_allclose(together, alone, rtol=1e-5)
"""
DETERMINISTIC = """
tf.config.experimental.enable_op_determinism()
first = losses()
assert compile.uses_xla() and losses() == first
"""
DISABLED = """
import ctypes, pathlib
compile.set_xla(False)
plain = losses()
compile.set_xla(None)
library = pathlib.Path(tf.__file__).parent / "libtensorflow_cc.so.2"
ctypes.CDLL(str(library))._ZN10tensorflow21DisableXlaCompilationEv()
assert not compile.uses_xla(training=True)
np.testing.assert_allclose(losses(), plain, rtol=1e-6)
"""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(MIRRORED, id="two devices learn as one"),
        pytest.param(DETERMINISTIC, id="deterministic operations"),
        pytest.param(DISABLED, id="XLA disabled"),
    ],
)
def test_in_a_process_of_its_own(script):
    """Devices, determinism and XLA are settled once for a process."""
    done = subprocess.run(
        [sys.executable, "-c", SETUP + script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
