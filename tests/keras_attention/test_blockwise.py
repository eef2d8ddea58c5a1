"""Additive scores by blocks, against the formula; on each backend, and on both roads there are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import AdditiveScore, blockwise, compile

BACKEND = keras.backend.backend()
SHAPES = [(3, 29, 37, 19), (1, 131, 7, 33), (5, 2, 601, 40), (2, 300, 1, 64)]  # B, Tq, Tv, units
needs_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="about graphs, which only TensorFlow has"
)


@pytest.fixture(params=[True, False] if BACKEND == "tensorflow" else [None])
def road(request):
    """Under XLA and without, where there is a choice."""
    compile.set_xla(request.param)
    yield request.param
    compile.set_xla(None)


def draw(batch_size, num_queries, num_values, units, scale=1.0):
    """Queries, keys, v, and a gradient of the scores."""
    rng = np.random.default_rng(3)
    shapes = (
        (batch_size, num_queries, units),
        (batch_size, num_values, units),
        (units,),
        (batch_size, num_queries, num_values),
    )
    return [rng.normal(scale=scale, size=shape).astype("float32") for shape in shapes]


def expected(queries, keys, v, upstream):
    """The scores, and the gradients of queries, keys and v, pair by pair in float64."""
    queries, keys, v, upstream = (x.astype("float64") for x in (queries, keys, v, upstream))
    scores = np.zeros(upstream.shape)
    gradients = np.zeros_like(queries), np.zeros_like(keys), np.zeros_like(v)
    for b, i, j in np.ndindex(*upstream.shape):
        hidden = np.tanh(queries[b, i] + keys[b, j])
        scores[b, i, j] = v @ hidden
        slope = upstream[b, i, j] * v * (1.0 - hidden**2)
        gradients[0][b, i] += slope
        gradients[1][b, j] += slope
        gradients[2][:] += upstream[b, i, j] * hidden
    return scores, *gradients


def found(queries, keys, v, upstream, training=False):
    """The same by blocks, by each backend's own means."""
    arguments = [ops.convert_to_tensor(each) for each in (queries, keys, v)]
    upstream = ops.convert_to_tensor(upstream)
    if BACKEND == "jax":
        import jax

        scores, pull_back = jax.vjp(blockwise.additive_scores, *arguments)
        return [np.asarray(each) for each in (scores, *pull_back(upstream))]
    if BACKEND == "torch":
        for each in arguments:
            each.requires_grad_(True)
        scores = blockwise.additive_scores(*arguments)
        scores.backward(upstream)
        return [ops.convert_to_numpy(each) for each in (scores, *(x.grad for x in arguments))]
    return [each.numpy() for each in with_tape(*arguments, upstream, training)]


def with_tape(queries, keys, v, upstream, training=False):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch([queries, keys, v])
        scores = blockwise.additive_scores(queries, keys, v, training)
    return scores, *tape.gradient(scores, [queries, keys, v], upstream)


def assert_close(found, expected, rtol=1e-5):
    """Each array within `rtol` of the other, relative to its largest entry."""
    for name, one, other in zip(("scores", "queries", "keys", "v"), found, expected, strict=True):
        assert one.shape == other.shape, name
        assert np.abs(one - other).max() <= rtol * np.abs(other).max(), name


@pytest.mark.parametrize("shape", SHAPES)
def test_scores_and_gradients_are_those_of_the_formula(road, shape):
    assert_close(found(*draw(*shape)), expected(*draw(*shape)))


def test_blocks_may_be_as_small_as_a_query_and_need_not_divide_the_queries(road, monkeypatch):
    shape = 3, 29, 37, 19
    for block in (1, 5 * 3 * 37 * 19, 10**9):
        monkeypatch.setattr(blockwise, "_BLOCK", block)
        assert_close(found(*draw(*shape)), expected(*draw(*shape)))


def test_saturated_is_finite_and_right(road):
    """Up to 43 + 43, far beyond where a product of exponentials overflows; and beyond that."""
    for scale in (20.0, 60.0):
        queries, keys, v, upstream = draw(3, 29, 37, 19)
        queries, keys = np.sign(queries) * scale, np.sign(keys) * scale
        assert_close(found(queries, keys, v, upstream), expected(queries, keys, v, upstream))


def test_numbers_beyond_the_limit_count_as_the_limit(road):
    queries, keys, v, upstream = draw(3, 29, 37, 19, scale=50.0)
    values = found(queries, keys, v, upstream)
    limited = expected(queries.clip(-43, 43), keys.clip(-43, 43), v, upstream)
    assert_close(values, limited, rtol=1e-4)  # A step of float32 at 43 is 4e-6.


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_half_precision_is_computed_in_float32(road, dtype, tolerance):
    """Sums of 601 terms, and exponentials of 40, would be wrong or infinite in half precision."""
    queries, keys, v, upstream = draw(5, 2, 601, 40, scale=4.0)
    half = [ops.cast(each, dtype) for each in (queries, keys, v)]
    scores = blockwise.additive_scores(*half)
    assert keras.backend.standardize_dtype(scores.dtype) == dtype
    rounded = [ops.convert_to_numpy(ops.cast(each, "float32")) for each in half]
    wanted = expected(*rounded, upstream)[0]
    scores = ops.convert_to_numpy(ops.cast(scores, "float32"))
    assert np.abs(scores - wanted).max() <= tolerance * np.abs(wanted).max()


@needs_tensorflow
def test_gradients_are_summed_in_float32_and_come_in_the_dtype_of_their_argument(road):
    import tensorflow as tf

    queries, keys, v, upstream = draw(5, 2, 601, 40)
    half = [tf.cast(each, "float16") for each in (queries, keys, v)]
    _, *gradients = with_tape(*half, tf.cast(upstream, "float16"))
    assert [each.dtype for each in gradients] == [tf.float16] * 3
    _, *wanted = expected(*(each.numpy() for each in half), upstream)
    for one, other in zip(gradients, wanted, strict=True):
        assert np.abs(one.numpy() - other).max() <= 2e-3 * np.abs(other).max()


@needs_tensorflow
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_lengths_may_be_unknown_while_tracing(training, jit_compile):
    """One trace serves all lengths, on either road, and also inside somebody else's XLA."""
    import tensorflow as tf

    traces = []

    def run(queries, keys, v, upstream):
        traces.append(1)
        return with_tape(queries, keys, v, upstream, training)

    unknown = [(None, None, 19), (None, None, 19), (19,), (None, None, None)]
    run = tf.function(run, [tf.TensorSpec(shape) for shape in unknown], jit_compile=jit_compile)
    for shape in ((3, 29, 37, 19), (2, 131, 7, 19), (1, 1, 41, 19)):
        results = run(*draw(*shape))
        assert_close([each.numpy() for each in results], expected(*draw(*shape)))
    for shape in (
        (0, 29, 37, 19),
        (2, 0, 7, 19),
        (2, 3, 0, 19),
    ):  # A replica may get an empty batch.
        for one, other in zip(run(*draw(*shape)), expected(*draw(*shape)), strict=True):
            np.testing.assert_array_equal(one, other)
    assert traces == [1]


@needs_tensorflow
def test_lengths_alike_share_what_xla_has_compiled():
    import tensorflow as tf

    compile.set_xla(True)
    fused = compile.under_xla(blockwise._fused_roomy_scores)
    shapes = set()
    try:
        for num_queries, num_values in ((65, 50), (77, 64), (80, 57)):
            arguments = [tf.constant(x) for x in draw(3, num_queries, num_values, 19)[:3]]
            shapes.add(tuple(tuple(each.shape) for each in blockwise._roomy(*arguments)))
            blockwise.additive_scores(*arguments)
            shapes.add(fused.experimental_get_tracing_count())
    finally:
        compile.set_xla(None)
    assert len(shapes) == 2  # One set of shapes, and one number of traces.


def test_a_room_is_at_most_a_quarter_too_large_from_64_on_and_divisible():
    for length in [*range(1, 300), *range(300, 5000, 7)]:
        room = blockwise._room(length)
        assert 0 <= room - length < max(16, length / 4)
        assert room % blockwise._ROUND == 0
        assert blockwise._room(room) == room
    assert [blockwise._room(length) for length in (1, 5, 9, 17, 129, 257)] == [
        *(4, 8, 16, 32, 160, 320)
    ]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        assert int(blockwise._room(tf.constant(129))) == 160


@pytest.mark.parametrize("road", [False] if BACKEND == "tensorflow" else [None], indirect=True)
def test_gradients_have_gradients_without_xla(road):
    if BACKEND != "tensorflow":
        pytest.skip("takes gradients by TensorFlow's own means")
    import tensorflow as tf

    queries, keys, v = (tf.constant(each) for each in draw(2, 17, 23, 53)[:3])

    def second(score):
        with tf.GradientTape() as outer:
            outer.watch([queries, keys, v])
            with tf.GradientTape() as inner:
                inner.watch(queries)
                loss = tf.reduce_sum(score(queries, keys, v) ** 2)
            norm = tf.reduce_sum(inner.gradient(loss, queries) ** 2)
        return outer.gradient(norm, [queries, keys, v])

    wanted = [loss.numpy() for loss in second(blockwise.direct_scores)]
    values = [loss.numpy() for loss in second(blockwise.additive_scores)]
    for one, other in zip(values, wanted, strict=True):
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()


@pytest.mark.parametrize(
    ("shape", "small"),
    [
        ((7, 1, 5000, 256), True),  # One query: a step of a decoder.
        ((99, 16, 16, 64), True),
        ((1, 16, 16, 65), False),
        ((99, None, 2, 2), False),  # Not known to be small.
    ],
)
def test_small_goes_direct(shape, small):
    batch_size, num_queries, num_values, units = shape
    queries = keras.KerasTensor((batch_size, num_queries, units))
    keys = keras.KerasTensor((batch_size, num_values, units))
    assert blockwise.is_small(queries, keys) == small


def test_blocks_fill_the_cache_and_those_of_a_gpu_are_larger(monkeypatch):
    queries, keys = np.zeros((8, 250, 256)), np.zeros((8, 128, 256))
    assert blockwise._block_shape(queries, keys) == (8, 4, 128)
    monkeypatch.setattr(compile, "has_gpu", lambda: True)
    assert blockwise._block_shape(queries, keys) == (8, 63, 128)  # 4 of them, all alike


def test_a_sequence_goes_by_blocks_and_a_look_with_prepared_keys_does_not(monkeypatch):
    layer, query, key = AdditiveScore(67), np.ones((2, 17, 3), "float32"), np.ones((2, 19, 5))
    layer.build(query.shape, key.shape)
    monkeypatch.setattr(blockwise, "direct_scores", None)
    assert layer(query, key).shape == (2, 17, 19)
    with pytest.raises(TypeError, match="not callable"):
        layer.score(query, layer.project_key(ops.convert_to_tensor(key, "float32")))


PEAK = """
import resource, sys
import numpy as np, tensorflow as tf
from keras_attention import blockwise, compile

compile.set_xla(sys.argv[1] == "xla")

@tf.function(input_signature=[tf.TensorSpec((None, None, 128))] * 2 + [tf.TensorSpec((128,))])
def step(queries, keys, v):
    with tf.GradientTape() as tape:
        tape.watch([queries, keys, v])
        loss = tf.reduce_sum(blockwise.additive_scores(queries, keys, v) ** 2)
    return tape.gradient(loss, [queries, keys, v])

def peak(length):
    rows = np.random.default_rng(0).normal(size=(4, length, 128)).astype("float32")
    step(rows, rows, rows[0, 0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB

before = peak(64)
print(peak(640) - before)
"""


@needs_tensorflow
@pytest.mark.parametrize("way", ["xla", "plain"])
def test_memory_does_not_grow_with_pairs_times_units(way):
    """4 * 640 * 640 pairs of 128 units are 800 MiB, of which the formula keeps several."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, way],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert float(done.stdout.splitlines()[-1]) < 100.0
