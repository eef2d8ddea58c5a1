"""Everything works where Keras is set to compute in float64."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_attention
from keras_attention import masking, score_function, search


@pytest.fixture(autouse=True)
def float64():
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    # Keras reads floatx once, and an earlier test may have had it do so.
    keras.config.set_dtype_policy("float64")
    keras.utils.set_random_seed(1)
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


def numbers(*shape):
    return np.random.default_rng(2).normal(size=shape)


def test_masks():
    np.testing.assert_array_equal(masking.padding_mask([1, 3], 3), [[1, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(masking.causal_mask(2, 2), [[[1, 0], [1, 1]]])


@pytest.mark.parametrize("chunk_size", [1, 2, None])
@pytest.mark.parametrize("inference", ["mode", "mean"])
def test_monotonic_attention(chunk_size, inference):
    layer = keras_attention.MonotonicAttention(
        keras_attention.AdditiveScore(3),
        chunk_size,
        None if chunk_size == 1 else keras_attention.AdditiveScore(3),
        inference=inference,
    )
    for training in (False, True):
        context = layer(numbers(2, 3, 4), numbers(2, 5, 4), training=training)
        assert context.dtype == "float64" and np.isfinite(context).all()


@pytest.mark.parametrize("how", ["greedy", "sample", "beam"])
def test_searches(how):
    cell = keras_attention.AttentionCell(
        keras.layers.GRUCell(4), keras_attention.AdditiveSoftAttention(3)
    )
    decoder = keras_attention.AttentionDecoder(cell)
    table, value = numbers(6, 5), numbers(2, 7, 4)
    decoder(numbers(2, 1, 5), value)
    memory = decoder.prepare(value)

    def step(ids, state):
        done = decoder.step(ops.take(table, ids, axis=0), state, memory)
        logits = ops.matmul(done.output, numbers(4, 6))
        return ops.log_softmax(logits), done.state, done.weights

    options = {"batch_size": 2, "start_id": 1, "end_id": 2, "max_length": 5}
    if how == "beam":
        options |= {"beam_width": 3, "num_hypotheses": 2, "length_penalty": 0.6}
    if how == "sample":
        options["seed"] = 1
    run = {
        "greedy": search.greedy_search,
        "sample": search.sample_search,
        "beam": search.beam_search,
    }
    found = run[how](step, decoder.initial_state(memory), **options)
    assert np.isfinite(found.scores).all()


def test_time_with_blanks():
    layer = keras_attention.TimeWords(first_id=9, num_times=5, noise=0.5)
    ids = np.array([[[1, 2], [3, 0], [0, 0]]])
    found = np.array(layer(ids, training=True))
    np.testing.assert_array_equal(found[..., :-1], ids)
    assert (found[0, :2, -1] >= 9).all() and found[0, 2, -1] == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LearnedBaseline", {"units": 3}),
        ("MovingAverageBaseline", {}),
        ("LeaveOneOut", {"samples": 2}),
        ("SelfCriticalBaseline", {}),
        ("VIMCO", {"samples": 3}),
        ("GumbelSoftmax", {}),
    ],
)
def test_hard_attention_trains(name, options):
    estimator = getattr(score_function, name)(**options)
    query, value = keras.Input((1, 4)), keras.Input((5, 4))
    layer = keras_attention.HardAttention(keras_attention.AdditiveScore(3), semi_sampling=0.3)
    model = keras.Model([query, value], keras.layers.Dense(2)(layer(query, value)))
    trainer = score_function.ScoreFunctionModel(model, estimator, entropy_bonus=0.1)
    trainer.compile("sgd", "mse")
    x = [numbers(8, 1, 4), numbers(8, 5, 4)]
    before = [np.array(weight) for weight in layer.trainable_weights]
    history = trainer.fit(x, numbers(8, 1, 2), epochs=2, batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    after = layer.trainable_weights
    assert all(weight.dtype == "float64" for weight in trainer.trainable_weights)
    assert any((old != new.numpy()).any() for old, new in zip(before, after, strict=True))
