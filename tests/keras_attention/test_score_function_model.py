"""The trainer under compile and fit: what it credits, learns, keeps and refuses."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import (
    AdditiveScore,
    AttentionCell,
    AttentionDecoder,
    HardAttention,
    score_function,
)
from keras_attention.score_function import costs
from tests import toy_choices as toy
from tests.contract_rows import dtype_policy

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="is TensorFlow's own"
)
B, T = 3, 5
draw = np.random.default_rng(3)
STEPS, WHOLE = draw.normal(size=(B, T, 2)), draw.normal(size=(B, 7))
STEP_WEIGHTS, WHOLE_WEIGHTS = draw.random((B, T)), draw.random(B)
MASK = np.arange(T)[None] < np.array([[5], [2], [3]])


def masked(tensor):
    """The tensor, with a Keras mask that rides on it."""
    tensor = ops.convert_to_tensor(tensor)
    return keras.layers.Masking()(ops.where(MASK[:, :, None], tensor, 0.0))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_the_loss_is_the_factor_times_the_sum_of_the_costs(reduction, mask, weighted):
    y_pred = masked(STEPS) if mask else STEPS.astype("float32")
    weights = STEP_WEIGHTS if weighted else None
    loss = keras.losses.MeanAbsoluteError(reduction=reduction)
    measured = costs.measure(loss, 0.7, np.zeros((B, T, 2)), y_pred, weights)
    expected = 0.7 * loss(np.zeros((B, T, 2)), y_pred, weights)
    found = measured.factor * ops.sum(measured.values)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    values = ops.convert_to_numpy(measured.values)
    assert values.shape == (B, T) and measured.whole == 0
    assert (values[~MASK] == 0.0).all() == mask


@pytest.mark.parametrize(
    ("loss", "loss_weights"),
    [
        ("mse", None),
        ({"steps": "mae", "whole": keras.losses.Huber()}, {"steps": 0.3, "whole": 1.7}),
        ({"whole": keras.losses.Huber(), "steps": None}, {"whole": 1.7, "steps": 1.0}),
    ],
)
def test_costs_of_several_outputs_are_those_of_keras(loss, loss_weights):
    inputs = {"steps": keras.Input((T, 2), name="steps"), "whole": keras.Input((7,), name="whole")}
    model = keras.Model(inputs, {"whole": inputs["whole"], "steps": inputs["steps"]})
    model.compile(loss=loss, loss_weights=loss_weights)
    x = {"steps": STEPS.astype("float32"), "whole": WHOLE.astype("float32")}
    y = {name: np.zeros_like(each) for name, each in x.items()}
    weights = {"steps": STEP_WEIGHTS, "whole": WHOLE_WEIGHTS}
    measured = costs.measure(loss, loss_weights, y, x, weights)
    expected = model.compute_loss(x, y, model(x), weights)
    np.testing.assert_allclose(measured.factor * ops.sum(measured.values), expected, rtol=1e-5)
    has_steps = not isinstance(loss, dict) or loss["steps"] is not None
    assert measured.values.shape == (B, T * has_steps + 1) and measured.whole == 1


def test_a_choice_is_credited_with_what_follows_it():
    values = ops.convert_to_tensor([[1.0, 2.0, 4.0, 8.0]])
    steps = costs.Costs(values, ops.ones((1, 4)), 1.0, whole=0)
    ended = costs.Costs(values, ops.convert_to_tensor([[1.0, 1.0, 1.0, 0.0]]), 1.0, whole=1)
    whole = costs.Costs(values[:, 3:], ops.ones((1, 1)), 1.0, whole=1)

    def credited(costs_, number, in_time, to_go=True):
        nothing = ops.zeros((1, number))
        choice = score_function.Choice(nothing, nothing, nothing[..., None], in_time)
        credit = costs.assign(choice, costs_, None, to_go)
        return [ops.convert_to_numpy(each)[0].tolist() for each in credit[:2]]

    assert credited(steps, 4, True) == [[15.0, 14.0, 12.0, 8.0], [4.0, 3.0, 2.0, 1.0]]
    assert credited(ended, 3, True) == [[15.0, 14.0, 12.0], [3.0, 2.0, 1.0]]
    for arguments in ((steps, 4, False), (steps, 4, True, False), (steps, 7, False)):
        assert credited(*arguments) == [[15.0], [4.0]]
    assert credited(whole, 4, True) == [[8.0], [1.0]]
    with pytest.raises(ValueError, match='use `credit="total"`. Received: 3 choices and 4 steps'):
        credited(steps, 3, True)


def test_fit_shows_the_loss_that_evaluate_shows():
    inputs, targets = toy.urns(7)
    inputs[1][:] = np.arange(7)[:, None, None]  # Each urn costs the same, whatever is drawn.
    for estimator in (score_function.LearnedBaseline(samples=2), score_function.VIMCO(2)):
        made = toy.trainer(toy.urn(), estimator, entropy_bonus=0.3 * (estimator.samples == 2))
        (shown,) = made.fit(inputs, targets, verbose=0).history["loss"]
        np.testing.assert_allclose(shown, np.square(np.arange(7)).mean(), rtol=1e-5)
        np.testing.assert_allclose(made.evaluate(inputs, targets, verbose=0), shown, rtol=1e-5)


def test_padding_changes_no_gradient():
    made = toy.trainer(toy.walk(), loss=toy.crossentropy())
    made.compile(keras.optimizers.SGD(0.0), made.loss)
    gradients = []
    for by in (0, 1):
        inputs = np.pad(toy.INPUTS, ((0, 0), (0, by), (0, 0)), constant_values=9.0)
        targets, real = np.pad(toy.TARGETS, ((0, 0), (0, by))), np.ones((toy.B, toy.T + by))
        real[:, toy.T :] = 0.0
        estimator = score_function.Enumeration(toy.Tv, toy.T + by)
        moments = score_function.gradient_moments(
            toy.trainer(made.model, loss=_mean_over_real(), entropy_bonus=0.1),
            [inputs, toy.VALUE],
            targets,
            real.astype("float32"),
            repeats=2,
            estimator=estimator,
        )
        gradients.append(np.concatenate([mean.ravel() for mean, _ in moments.values()]))
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-6)


def _mean_over_real():
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )


def pointer():
    """Which of 7 keys is marked, and what does its value say? The query is the same for all."""
    dummy, value, key = keras.Input((1, 1)), keras.Input((7, 4)), keras.Input((7, 2))
    layer = HardAttention(AdditiveScore(8))
    context, weights = layer(dummy, value, key, return_attention_scores=True)
    logits = keras.layers.Dense(4)(keras.layers.Flatten()(context))
    inputs = [dummy, value, key]
    return keras.Model(inputs, logits), keras.Model(inputs, weights)


def pointing(number, seed=0):
    """Values say one of 4 classes, one-hot; keys have noise, and a mark of 1 where it counts."""
    draw = np.random.default_rng(seed)
    says, marked = draw.integers(0, 4, (number, 7)), draw.integers(0, 7, number)
    rows = np.arange(number)
    key = draw.normal(size=(number, 7, 2)).astype("float32")
    key[..., 0] = 0.0
    key[rows, marked, 0] = 1.0
    value = np.eye(4, dtype="float32")[says]
    return [np.ones((number, 1, 1), "float32"), value, key], says[rows, marked], marked


def test_fit_teaches_a_locator_where_to_look():
    model, weights = pointer()
    made = score_function.ScoreFunctionModel(model, score_function.LeaveOneOut(samples=4))
    made.compile(keras.optimizers.Adam(0.1), toy.crossentropy(), metrics=["accuracy"])
    inputs, targets, _ = pointing(1600)
    made.fit(inputs, targets, batch_size=32, epochs=2, verbose=0)
    inputs, targets, marked = pointing(200, seed=1)
    assert made.evaluate(inputs, targets, verbose=0)[1] > 0.95  # Chance is 0.25.
    found = ops.convert_to_numpy(weights(inputs)).argmax(-1)[:, 0]
    assert (found == marked).mean() > 0.95  # Chance is 1 in 7.


def decoder_model():
    inputs, value = keras.Input((None, 2)), keras.Input((None, 11))
    cell = AttentionCell(
        keras.layers.SimpleRNNCell(7), HardAttention(AdditiveScore(3), semi_sampling=0.3), 5
    )
    decoded = AttentionDecoder(cell)(inputs, keras.layers.Dense(11)(value))
    return keras.Model([inputs, value], keras.layers.Dense(3, dtype="float32")(decoded.outputs))


def decoder_data():
    draw = np.random.default_rng(1)
    shapes = (4, T, 2), (4, 3, 11), (4, T, 3)
    inputs, value, target = (draw.normal(size=shape).astype("float32") for shape in shapes)
    return [inputs, value], target


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_one_step_of_fit_moves_every_weight_and_leaves_it_finite(policy):
    """The clause of the contract, which no model without a trainer can keep."""
    with dtype_policy(policy):
        made = score_function.ScoreFunctionModel(
            decoder_model(), score_function.LearnedBaseline(units=3), entropy_bonus=0.01
        )
    optimizer = keras.optimizers.SGD(0.1)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
    made.compile(optimizer, "mse")
    inputs, targets = decoder_data()
    made.predict(inputs, verbose=0)
    before = [v.numpy() if hasattr(v, "numpy") else v for v in made.trainable_variables]
    made.fit(inputs, targets, epochs=3, verbose=0)
    assert before
    for variable, old in zip(made.trainable_variables, before, strict=True):
        new = ops.convert_to_numpy(variable)
        assert np.isfinite(new).all(), variable.path
        assert np.abs(new - np.asarray(old)).max() > 0.0, variable.path


@tensorflow_only
def test_it_compiles_under_xla():
    made = toy.trainer(toy.walk(), score_function.Enumeration(toy.Tv, toy.T), toy.crossentropy())
    made.compile(keras.optimizers.SGD(0.0), made.loss, jit_compile=True)
    found, _ = toy.measure(made, [toy.INPUTS, toy.VALUE, toy.TARGETS], 2)
    np.testing.assert_allclose(found, toy.derivative(toy.expected_cost), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "estimator",
    [
        functools.partial(score_function.LearnedBaseline, units=3, samples=2),
        functools.partial(score_function.MovingAverageBaseline, momentum=0.8),
    ],
)
def test_a_trainer_is_saved_and_goes_on(estimator, tmp_path):
    made = score_function.ScoreFunctionModel(
        toy.urn(), estimator(), cost="mae", credit="total", entropy_bonus=0.1
    )
    made.compile(keras.optimizers.Adam(0.01), "mse")
    inputs, targets = toy.urns(4)
    made.fit(inputs, targets, epochs=2, verbose=0)
    made.save(tmp_path / "trainer.keras")
    revived = keras.saving.load_model(tmp_path / "trainer.keras")
    assert revived.estimator.get_config() == made.estimator.get_config()
    assert (revived.cost, revived.credit, revived.entropy_bonus) == ("mae", "total", 0.1)
    for found, expected in zip(revived.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert int(revived.optimizer.iterations) == 2
    np.testing.assert_array_equal(
        revived.predict(inputs, verbose=0), made.predict(inputs, verbose=0)
    )
    revived.fit(inputs, targets, verbose=0)
    made.model.save(tmp_path / "model.keras")  # What is served has nothing of the trainer.
    plain = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(plain.predict(inputs, verbose=0), made.predict(inputs, verbose=0))


def test_the_callback_reports_the_variance_of_each_estimator_and_changes_nothing():
    inputs, targets = toy.urns(8)
    histories = []
    for callbacks in (
        [],
        [
            score_function.GradientVariance(
                inputs,
                targets,
                estimators={
                    "reinforce": score_function.Reinforce(),
                    "leave_one_out": score_function.LeaveOneOut(samples=4),
                },
                repeats=20,
            )
        ],
    ):
        keras.utils.set_random_seed(5)
        made = score_function.ScoreFunctionModel(
            toy.urn(seed=1), score_function.MovingAverageBaseline()
        )
        made.compile(keras.optimizers.SGD(0.001), "mse")
        histories.append(
            made.fit(inputs, targets, epochs=2, callbacks=callbacks, verbose=0).history
        )
    plain, reported = histories
    assert plain["loss"] == reported["loss"]
    for one, other in zip(
        reported["gradient_variance_leave_one_out"],
        reported["gradient_variance_reinforce"],
        strict=True,
    ):
        assert 0.0 < 10.0 * one < other


def test_the_callback_measures_the_trainer_s_own_estimator_and_some_variables():
    inputs, targets = toy.urns(8)
    made = toy.trainer(toy.urn())
    for variables, expected in ((None, True), ([], False)):
        callback = score_function.GradientVariance(inputs, targets, repeats=3, variables=variables)
        history = made.fit(inputs, targets, callbacks=[callback], verbose=0).history
        assert (history["gradient_variance"][0] > 0.0) == expected


SCRIPT = """
import numpy as np, keras, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_visible_devices([], "GPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_attention import score_function
from tests import toy_choices as toy
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert mirrored.num_replicas_in_sync == 2

def train(strategy, estimator, inputs, targets, steps, loss="mse", model=toy.urn, rate=0.1):
    with strategy.scope():
        made = score_function.ScoreFunctionModel(model(), estimator())
        made.compile(keras.optimizers.SGD(rate), loss)
    losses = made.fit(inputs, targets, batch_size=4, epochs=steps, verbose=0).history["loss"]
    return losses, made

one = tf.distribute.get_strategy()
exact = lambda: score_function.Enumeration(toy.Tv, toy.T)
data = [np.repeat(each, 2, axis=0) for each in (toy.INPUTS, toy.VALUE)], toy.TARGETS.repeat(2, 0)
alone, together = (
    train(each, exact, *data, 3, toy.crossentropy(), toy.walk) for each in (one, mirrored)
)
np.testing.assert_allclose(alone[0], together[0], rtol=1e-5)
for a, b in zip(alone[1].get_weights(), together[1].get_weights(), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

inputs, targets = toy.urns(4)
inputs[1][:] = np.array([1.0, 2.0, 3.0, 4.0])[:, None, None]  # The replicas have unlike costs.
average = lambda: score_function.MovingAverageBaseline(0.5)
estimator = train(mirrored, average, inputs, targets, 2)[1].estimator
for cost, steps in zip(estimator.cost.value.values, estimator.steps.value.values):
    assert abs(float(cost / steps) - 7.5) < 1e-5, (cost, steps)
learned = lambda: score_function.LearnedBaseline(samples=2)
losses, _ = train(mirrored, learned, inputs, targets, 1, rate=0.001)
assert np.isfinite(losses).all()
print("done")
"""


@tensorflow_only
def test_two_replicas_train_as_one_and_share_one_average():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "done"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: toy.trainer(toy.urn(), "reinforce"), "such as `LearnedBaseline\\(\\)`. Received"),
        (lambda: toy.trainer(toy.urn(), credit="step"), '`credit` must be "to_go" or "total". Rec'),
        (lambda: score_function.gradient_moments(None, 0, 0, repeats=1), "at least 2 `repeats`. "),
        (
            lambda: score_function.GradientVariance(0, 0, repeats=1),
            "at least 2 `repeats`. Received",
        ),
    ],
)
def test_what_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("model", "loss", "words"),
    [
        (lambda: keras.Sequential([keras.layers.Dense(1)]), "mse", "which recorded no choice"),
        (toy.urn, lambda y, y_pred: ops.mean(y - y_pred), "must have one value an example, or one"),
        (toy.urn, None, "Received: neither"),
    ],
)
def test_what_is_refused_in_training(model, loss, words):
    inputs, targets = toy.urns(2)
    made = toy.trainer(model(), loss=loss)
    if loss is None:
        made.model.get_layer("logits").kernel.regularizer = keras.regularizers.L2(0.1)
    with pytest.raises(ValueError, match=words):
        made.train_on_batch(inputs if model is toy.urn else targets, targets)


def test_the_callback_refuses_another_model():
    callback = score_function.GradientVariance(0, 0)
    callback.set_model(toy.urn())
    with pytest.raises(ValueError, match="measures a `ScoreFunctionModel` while it trains. Rec"):
        callback.on_train_begin()


def test_a_recorded_choice_must_have_the_right_shape():
    with score_function.collecting(score_function.Reinforce()):
        with pytest.raises(
            ValueError, match=r"Received: log_prob.shape=\(3,\), entropy.shape=\(3,"
        ):
            score_function.record(ops.zeros(3), ops.zeros((3, 1)), ops.zeros((3, 1, 2)))
    score_function.record(ops.zeros(3), ops.zeros(3), ops.zeros(3))  # Nobody listens.
