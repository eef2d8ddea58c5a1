"""Every estimator against the exact gradient of worlds in which all choices can be made."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest

from keras_attention import score_function
from tests import toy_choices as toy

COPIES, REPEATS = 192, 60
UNBIASED = {
    "reinforce": lambda: score_function.Reinforce(),
    "reinforce, 3 samples": lambda: score_function.Reinforce(samples=3),
    "moving average": lambda: score_function.MovingAverageBaseline(0.9),
    "learned": lambda: score_function.LearnedBaseline(units=5),
    "self-critical": lambda: score_function.SelfCriticalBaseline(),
    "leave one out": lambda: score_function.LeaveOneOut(samples=3),
}


def copies(array, number=COPIES):
    return np.repeat(array, number, axis=0)


def walks(number=COPIES):
    return [copies(each, number) for each in (toy.INPUTS, toy.VALUE, toy.TARGETS)]


@functools.cache
def exact_gradient():
    return toy.derivative(toy.expected_cost)


@pytest.fixture(scope="module")
def walker():
    """One model and trainer of the walk for all estimators."""
    keras.utils.set_random_seed(17)
    return toy.trainer(toy.walk(), loss=toy.crossentropy())


def test_enumeration_is_the_exact_gradient(walker):
    found, _ = toy.measure(walker, walks(1), 2, score_function.Enumeration(toy.Tv, toy.T))
    np.testing.assert_allclose(found, exact_gradient(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", UNBIASED)
def test_unbiased_over_two_steps(name, walker):
    estimator = UNBIASED[name]()
    if name == "learned":  # Whatever it says, the gradient is right.
        estimator.build([toy.UNITS])
        draw = np.random.default_rng(1)
        estimator.set_weights([draw.normal(size=w.shape) for w in estimator.get_weights()])
    found, variance = toy.measure(walker, walks(), REPEATS, estimator)
    toy.assert_unbiased(found, variance, REPEATS, exact_gradient())


def test_vimco_descends_the_bound_of_its_samples(walker):
    estimator = score_function.VIMCO(samples=2)
    found, variance = toy.measure(walker, walks(), REPEATS, estimator)
    exact = toy.derivative(toy.expected_bound)
    toy.assert_unbiased(found, variance, REPEATS, exact)
    with pytest.raises(AssertionError):  # It is another gradient, and the test can tell.
        toy.assert_unbiased(found, variance, REPEATS, exact_gradient())


@pytest.mark.parametrize(
    "estimator",
    [
        score_function.StraightThrough,
        score_function.GumbelSoftmax,
        functools.partial(score_function.GumbelSoftmax, 0.5, straight_through=True),
    ],
)
def test_controls_are_biased(estimator, walker):
    found, variance = toy.measure(walker, walks(), REPEATS, estimator())
    with pytest.raises(AssertionError):
        toy.assert_unbiased(found, variance, REPEATS, exact_gradient())
    # They point the right way all the same.
    exact = exact_gradient()
    assert found @ exact > 0.5 * np.linalg.norm(found) * np.linalg.norm(exact)


def test_all_of_the_cost_is_unbiased_too_and_scatters_more(walker):
    total = toy.trainer(walker.model, loss=toy.crossentropy(), credit="total")
    found, variance = toy.measure(total, walks(), REPEATS)
    toy.assert_unbiased(found, variance, REPEATS, exact_gradient())
    _, to_go = toy.measure(walker, walks(), REPEATS)
    assert to_go.sum() < 0.8 * variance.sum()


def test_several_hard_layers():
    """A look at the values before the decoder is credited with all that follows."""
    keras.utils.set_random_seed(2)
    inputs, value = keras.Input((toy.T, toy.D)), keras.Input((toy.Tv, toy.Dv))
    asked = keras.layers.Dense(toy.Dv)(inputs[:, :1])
    first = toy.HardAttention(toy.DotScore(scale=None))(asked, value)
    glimpsed = keras.layers.Concatenate()([inputs, keras.layers.UpSampling1D(toy.T)(first)])
    cell = toy.AttentionCell(
        keras.layers.SimpleRNNCell(toy.UNITS), toy.HardAttention(toy.BilinearScore())
    )
    decoded = toy.AttentionDecoder(cell)(glimpsed, value)
    model = keras.Model([inputs, value], keras.layers.Dense(toy.CLASSES)(decoded.outputs))
    made = toy.trainer(model, loss=toy.crossentropy())
    exact, _ = toy.measure(made, walks(1), 2, score_function.Enumeration(toy.Tv, toy.T + 1))
    found, variance = toy.measure(made, walks(), REPEATS, score_function.LeaveOneOut(samples=4))
    toy.assert_unbiased(found, variance, REPEATS, exact)


def test_no_gradient_is_none_or_zero(walker):
    for mean, variance in score_function.gradient_moments(
        walker, walks(1)[:2], toy.TARGETS, repeats=3
    ).values():
        assert (mean != 0.0).any() and (variance > 0.0).any()


# The urn, where all is known in closed form.


def urn_moments(estimator, number=256, repeats=50, **options):
    made = toy.trainer(toy.urn(), **options)
    inputs, targets = toy.urns(number)
    mean, variance = toy.measure(made, [*inputs, targets], repeats, estimator)
    return mean, variance, repeats


@pytest.mark.parametrize("name", ["moving average", "leave one out"])
def test_unbiased_on_the_urn(name):
    toy.assert_unbiased(*urn_moments(UNBIASED[name]()), toy.urn_gradient())


def test_baselines_cut_the_variance_in_the_known_order():
    """With cost c and score g = grad log p, E[g^2 (c - b)^2] falls from b = 0 to b = E[c]."""
    p = toy.reference.softmax(toy.LOGITS[0])
    scores = np.eye(3) - p  # of each draw, by each logit

    def known(baseline):
        advantage = (toy.COST - baseline)[:, None]
        return (p @ (scores * advantage) ** 2 - toy.urn_gradient() ** 2).sum()

    measured = {
        name: urn_moments(UNBIASED[name](), number=64, repeats=150)[1].sum() * 64
        for name in ("reinforce", "reinforce, 3 samples", "moving average", "leave one out")
    }
    np.testing.assert_allclose(measured["reinforce"], known(0.0), rtol=0.25)
    np.testing.assert_allclose(measured["reinforce, 3 samples"], known(0.0) / 3, rtol=0.25)
    # In the first batch there is no average yet.
    expected = (149 * known(p @ toy.COST) + known(0.0)) / 150
    np.testing.assert_allclose(measured["moving average"], expected, rtol=0.25)
    assert measured["leave one out"] < measured["reinforce, 3 samples"] / 3


def test_the_moving_average_is_used_before_it_is_updated():
    """Of one draw, an average of this draw's cost alone would leave no gradient."""
    estimator = score_function.MovingAverageBaseline(momentum=0.0)
    made = toy.trainer(toy.urn(), estimator)
    inputs, targets = toy.urns(1)
    inputs[1][:] = 5.0  # whatever is drawn
    made.compile(keras.optimizers.SGD(1.0), "mse")
    changes = []
    for _ in range(2):
        before = made.model.get_layer("logits").get_weights()[0]
        made.train_on_batch(inputs, targets)
        changes.append(np.abs(made.model.get_layer("logits").get_weights()[0] - before).max())
    assert changes[0] > 1.0  # The baseline is 0 still: 25 grad log p.
    assert changes[1] == 0.0  # The baseline is 25.
    assert float(estimator.cost) == 25.0 and float(estimator.steps) == 1.0


def test_a_cost_without_a_gradient():
    """The loss trains what it reaches, and choices are credited with the cost."""

    @keras.saving.register_keras_serializable(package="tests")
    def missed(y_true, y_pred):
        return keras.ops.cast(keras.ops.abs(y_pred[:, 0] - 5.0) > 0.5, "float32")

    mean, variance, repeats = urn_moments(score_function.LeaveOneOut(samples=2), cost=missed)
    exact = toy.urn_gradient(np.array([1.0, 0.0, 1.0]))
    toy.assert_unbiased(mean, variance, repeats, exact)
    mean, *_ = urn_moments(score_function.Enumeration(3), 1, 2, cost=missed)
    np.testing.assert_allclose(mean, exact, rtol=1e-5)


def test_the_entropy_bonus_spreads_the_weights():
    """d entropy / d logit_i = -p_i (log p_i + entropy)."""
    p = toy.reference.softmax(toy.LOGITS[0])
    with_bonus, *_ = urn_moments(score_function.Enumeration(3), 1, 2, entropy_bonus=7.0)
    without, *_ = urn_moments(score_function.Enumeration(3), 1, 2)
    expected = 7.0 * p * (np.log(p) - p @ np.log(p))
    np.testing.assert_allclose(with_bonus - without, expected, rtol=1e-3, atol=1e-3)


def test_the_learned_baseline_foresees_the_cost_and_leaves_the_model_alone():
    learned = score_function.LearnedBaseline()
    inputs, targets = toy.urns(64)
    with_it, without = (
        toy.measure(toy.trainer(toy.urn(seed=3), each), [*inputs, targets], 2)[0]
        for each in (learned, score_function.Reinforce())
    )
    np.testing.assert_array_equal(with_it, without)  # It foretells 0 yet.
    made = toy.trainer(toy.urn(), learned)
    made.model.trainable = False
    made.compile(keras.optimizers.Adam(0.3), "mse")
    inputs, targets = toy.urns(800)
    made.fit(inputs, targets, batch_size=4, verbose=0)
    p = toy.reference.softmax(toy.LOGITS[0])
    foretold = keras.ops.convert_to_numpy(learned.networks[0](toy.LOGITS[None]))
    np.testing.assert_allclose(foretold, [[[p @ toy.COST]]], rtol=0.05)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: score_function.Reinforce(0), "`samples` must be a positive integer. Received: sa"),
        (
            lambda: score_function.LeaveOneOut(1),
            "`samples` must be at least 2. Received: samples=1",
        ),
        (lambda: score_function.VIMCO(1), "`samples` must be at least 2. Received: samples=1"),
        (lambda: score_function.MovingAverageBaseline(1.0), r"`momentum` must be in \[0, 1\). Rec"),
        (lambda: score_function.LearnedBaseline(0), "`units` must be a positive integer or `None`"),
        (lambda: score_function.GumbelSoftmax(0.0), "`temperature` must be positive. Received: te"),
    ],
)
def test_what_an_estimator_refuses(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("estimator", "options", "words"),
    [
        (score_function.Enumeration(2, 2), {}, "among other than `num_values` values cannot be"),
        (score_function.Enumeration(3, 2), {}, "num_choices=2, choices made: 1"),
        (score_function.VIMCO(2), {"cost": "mae"}, "takes no other cost. Received: a `cost`"),
    ],
)
def test_what_an_estimator_refuses_of_a_model(estimator, options, words):
    inputs, targets = toy.urns(2)
    with pytest.raises(ValueError, match=words):
        toy.trainer(toy.urn(), estimator, **options).train_on_batch(inputs, targets)
