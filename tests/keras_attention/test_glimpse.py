"""Glimpses: what a retina sees, where it is turned, and that turning it is learned."""

from __future__ import annotations

import itertools
import warnings

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import (
    GlimpseNetwork,
    LocationSampler,
    RecurrentAttention,
    Retina,
    score_function,
)
from tests import toy_choices as toy
from tests.contract_rows import dtype_policy

draw = np.random.default_rng(3)
IMAGE = draw.random((5, 7, 11, 2)).astype("float32")
LOCATIONS = np.array([[0.0, 0.0], [0.31, -0.27], [-1.0, 1.0], [0.9, 0.77], [-3.0, 0.0]], "float32")


def slow_retina(image, location, size, scales):
    """Patches (scales, size, size, C) of one image, pixel by pixel."""
    height, width, channels = image.shape
    middle = (np.asarray(location, "float64") + 1) * (height, width) / 2 - 0.5
    patches = np.zeros((scales, size, size, channels))
    for k, i, j in itertools.product(range(scales), range(size), range(size)):
        n = 2**k
        for a, b in itertools.product(range(n), range(n)):
            corner = middle - (n * size - 1) / 2
            patches[k, i, j] += interpolated(image, corner + (n * i + a, n * j + b)) / n**2
    return patches


def interpolated(image, place):
    """The image between four of its pixels, which are 0 outside of it."""
    low = np.floor(place).astype(int)
    total = np.zeros(image.shape[-1])
    for step in itertools.product((0, 1), (0, 1)):
        y, x = pixel = low + step
        if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
            total += np.prod(1 - np.abs(place - pixel)) * image[y, x]
    return total


@pytest.mark.parametrize(("size", "scales"), [(1, 1), (3, 1), (4, 2), (3, 3)])
def test_the_retina_is_its_slow_oracle(size, scales):
    found = ops.convert_to_numpy(Retina(size, scales)(IMAGE, LOCATIONS))
    expected = [
        slow_retina(image, where, size, scales)
        for image, where in zip(IMAGE, LOCATIONS, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not found[4].any()  # It looked far beside the image.


def test_on_pixels_a_patch_is_a_part_of_the_image():
    image = draw.random((1, 8, 6, 1)).astype("float32")
    (patch,) = ops.convert_to_numpy(Retina(4)(image, np.zeros((1, 2))))
    np.testing.assert_allclose(patch[0], image[0, 2:6, 1:5], rtol=1e-5)
    corner = np.array([[-1.0, -1.0]])  # of the image, which is the patch's middle
    (patch,) = ops.convert_to_numpy(Retina(4)(image, corner))
    np.testing.assert_allclose(patch[0, 2:, 2:], image[0, :2, :2], rtol=1e-5)
    assert not patch[0, :2].any() and not patch[0, :, :2].any()


def test_an_image_of_bytes_is_seen_in_any_precision():
    image = (255 * IMAGE).astype("uint8")
    for policy, tolerance in (("float32", 1e-5), ("mixed_float16", 2e-2)):
        with dtype_policy(policy):
            retina = Retina(3, 2)
            patches = retina(image, LOCATIONS)
        assert keras.backend.standardize_dtype(patches.dtype) == retina.compute_dtype
        expected = [
            slow_retina(each, where, 3, 2) for each, where in zip(image, LOCATIONS, strict=True)
        ]
        patches = ops.convert_to_numpy(ops.cast(patches, "float32"))
        np.testing.assert_allclose(patches, expected, rtol=tolerance, atol=255 * tolerance)


def sampler(width=3, bias=(0.2, -0.4), **options):
    layer = LocationSampler(**options)
    layer.build((None, None, width))
    kernel = 0.1 * np.random.default_rng(4).normal(size=(width, 2))
    for variable, value in zip(layer.mean.weights, (kernel, bias), strict=True):
        variable.assign(value)
    return layer


def look(layer, features, training=True):
    """Locations, and the choice that was recorded, as arrays."""
    with score_function.collecting(score_function.Reinforce()) as collector:
        locations = layer(features, training=training)
    (choice,) = collector.choices
    return ops.convert_to_numpy(locations), choice


def means(layer, features):
    kernel, bias = (ops.convert_to_numpy(each) for each in layer.mean.weights)
    return np.tanh(features @ kernel + bias)


def test_locations_are_drawn_around_their_mean():
    layer, number = sampler(std=0.07), 4000
    features = np.repeat(draw.normal(size=(1, 2, 3)), number, axis=0)
    locations, choice = look(layer, features)
    error = 0.07 / np.sqrt(number)
    expected = means(layer, features[0])
    np.testing.assert_array_less(np.abs(locations.mean(0) - expected), 4 * error)
    np.testing.assert_allclose(locations.std(0), 0.07, rtol=0.06)
    squares = np.sum(((locations - expected) / 0.07) ** 2, axis=-1)
    density = np.exp(-squares / 2) / (2 * np.pi * 0.07**2)
    np.testing.assert_allclose(
        ops.convert_to_numpy(choice.log_prob), np.log(density), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(choice.entropy), 1 + np.log(2 * np.pi * 0.07**2), rtol=1e-5
    )
    np.testing.assert_allclose(ops.convert_to_numpy(choice.features), features, rtol=1e-6)
    assert not choice.in_time


def test_the_spread_can_be_lowered_in_training():
    layer, features = sampler(std=0.5), np.zeros((4000, 1, 3))
    layer.spread.assign(0.05)
    locations, choice = look(layer, features)
    np.testing.assert_allclose(locations.std(0), 0.05, rtol=0.06)
    expected = -1 - np.log(2 * np.pi * 0.05**2)
    assert abs(ops.convert_to_numpy(choice.log_prob).mean() - expected) < 4 / np.sqrt(4000)
    np.testing.assert_allclose(
        ops.convert_to_numpy(choice.entropy), 1 + np.log(2 * np.pi * 0.05**2), rtol=1e-4
    )
    assert layer.get_config()["std"] == 0.5


def test_a_draw_is_clipped_and_its_density_is_not():
    locations, choice = look(sampler(bias=(9.0, 9.0), std=0.5), np.zeros((4000, 1, 3)))
    assert locations.max() == 1.0 and 0.4 < (locations == 1.0).mean() < 0.6
    # Of a Gaussian in two directions, whose squares are 2 on average, give or take 2.
    expected = -1 - np.log(2 * np.pi * 0.5**2)
    assert abs(ops.convert_to_numpy(choice.log_prob).mean() - expected) < 4 / np.sqrt(4000)


def test_inference_looks_at_the_mean_or_a_sample():
    features = draw.normal(size=(2, 5, 3))
    layer = sampler(std=0.1)
    locations, choice = look(layer, features, training=False)
    np.testing.assert_allclose(locations, means(layer, features), rtol=1e-4, atol=1e-5)
    assert not ops.convert_to_numpy(choice.log_prob).any()
    layer = sampler(std=0.1, inference="sample")
    first, second = (look(layer, features, training=False)[0] for _ in range(2))
    assert (first != second).all()


def test_seeds_repeat_draws():
    features, bias = np.zeros((2, 5, 3)), (0.0, 0.0)
    first, again, other = (look(sampler(bias=bias, seed=s), features)[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_draws_that_nothing_credits_are_warned_of():
    with pytest.warns(UserWarning, match="no gradient reaches its mean: train with `score_func"):
        sampler()(np.zeros((1, 1, 3)), training=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*no gradient reaches.*")
        sampler()(np.zeros((1, 1, 3)))
        look(sampler(), np.zeros((1, 1, 3)))


def test_estimators_of_choices_among_values_are_refused():
    for estimator in (score_function.GumbelSoftmax(), score_function.Enumeration(3)):
        with score_function.collecting(estimator), pytest.raises(ValueError, match="a density"):
            sampler()(np.zeros((1, 1, 3)), training=True)


# A world of darts: the cost is the squared distance to a point, in each direction by itself.

COPIES, REPEATS, STD = 192, 60, 0.6
AIM = np.array([0.8, -0.9])


def expected_distance(bias):
    """E[(clip(tanh(b) + std z, -1, 1) - aim)^2], the mean of both directions, by integration."""
    z = np.linspace(-8, 8, 20001)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    places = np.clip(np.tanh(np.asarray(bias))[:, None] + STD * z, -1, 1)
    return float(np.mean(((places - AIM[:, None]) ** 2) @ density))


def derivative(function, point):
    """By central differences, flat."""
    point, slopes = np.asarray(point, "float64"), []
    for index in np.ndindex(point.shape):
        step = np.zeros_like(point)
        step[index] = 1e-4
        slopes.append((function(point + step) - function(point - step)) / 2e-4)
    return np.array(slopes)


@pytest.mark.parametrize(
    "estimator",
    [
        score_function.Reinforce(),
        score_function.MovingAverageBaseline(),
        score_function.LearnedBaseline(),
        score_function.LeaveOneOut(samples=3),
    ],
    ids=lambda each: type(each).__name__,
)
def test_the_gradient_of_where_to_look_is_unbiased(estimator):
    inputs = keras.Input((1, 3))
    layer = LocationSampler(STD)
    model = keras.Model(inputs, keras.layers.Reshape((2,))(layer(inputs)))
    layer.mean.bias.assign([0.5, -0.2])
    made = toy.trainer(model, estimator)
    data = np.zeros((COPIES, 1, 3), "float32"), np.tile(AIM.astype("float32"), (COPIES, 1))
    moments = score_function.gradient_moments(made, *data, repeats=REPEATS)
    found, variance = moments[layer.mean.bias.path]
    exact = derivative(expected_distance, [0.5, -0.2])
    toy.assert_unbiased(found, variance, REPEATS, exact)


# A world that is smooth, so that few nodes integrate it: two looks, the second from the first.

UNITS, SPREAD = 3, 0.12  # so small that no draw is clipped
SHAPES = {"kernel": (4, UNITS), "recurrent": (UNITS, UNITS), "where": (UNITS, 2), "bias": (2,)}
WEIGHTS = {name: draw.normal(size=shape) for name, shape in SHAPES.items()}
WEIGHTS["bias"] = np.array([0.1, -0.2])
WEIGHTS["where"] *= 0.2
HEAD = draw.normal(size=(UNITS, 1))
TRUTH = 0.9


@keras.saving.register_keras_serializable(package="tests")
class Waves(keras.layers.Layer):
    """A retina that sees a smooth function of where it looks."""

    def build(self, image_shape, location_shape):
        pass

    def call(self, image, location):
        return ops.sin(3.0 * location + image[:, 0, 0])

    def compute_output_shape(self, image_shape, location_shape):
        return location_shape


@keras.saving.register_keras_serializable(package="tests")
class Both(keras.layers.Layer):
    """A glimpse network without weights."""

    def build(self, patches_shape, location_shape):
        pass

    def call(self, patches, location):
        return ops.concatenate([patches, location], axis=-1)

    def compute_output_shape(self, patches_shape, location_shape):
        return patches_shape[0], patches_shape[-1] + location_shape[-1]


def expected_cost(where, num_objects):
    """The mean cost over two looks, by Gauss-Hermite quadrature in four directions."""
    kernel, bias = where[: 2 * UNITS].reshape(UNITS, 2), where[2 * UNITS :]
    z, weight = np.polynomial.hermite_e.hermegauss(9)
    z1, z2 = (np.array(list(itertools.product(z, z))),) * 2
    weight = np.prod(list(itertools.product(weight, weight)), axis=1) / (2 * np.pi)
    hidden, cost = np.zeros((1, 1, UNITS)), 0.0
    for t, noise in enumerate((z1[:, None], z2[None])):
        location = np.tanh(hidden @ kernel + bias) + SPREAD * noise
        seen = np.concatenate([np.sin(3 * location + 0.5), location], axis=-1)
        hidden = np.tanh(seen @ WEIGHTS["kernel"] + hidden @ WEIGHTS["recurrent"])
        if t == 1 or num_objects == 2:
            cost = cost + ((hidden @ HEAD)[..., 0] - TRUTH) ** 2 / num_objects
    return float(weight @ cost @ weight)


@pytest.mark.parametrize("num_objects", [1, 2])
def test_the_gradient_over_several_looks_is_unbiased(num_objects):
    image = keras.Input((1, 1, 2))
    cell = keras.layers.SimpleRNNCell(UNITS, use_bias=False)
    layer = RecurrentAttention(
        Waves(), Both(), cell, LocationSampler(SPREAD), 2 // num_objects, num_objects
    )
    states, _ = layer(image)
    head = keras.layers.Dense(1, use_bias=False)
    model = keras.Model(image, head(states))
    where = layer.sampler.mean
    for variable, value in (
        (cell.kernel, WEIGHTS["kernel"]), (cell.recurrent_kernel, WEIGHTS["recurrent"]),
        (where.kernel, WEIGHTS["where"]), (where.bias, WEIGHTS["bias"]), (head.kernel, HEAD),
    ):  # fmt: skip
        variable.assign(value)
    x = np.full((COPIES, 1, 1, 2), 0.5, "float32")
    y = np.full((COPIES, num_objects, 1), TRUTH, "float32")
    moments = score_function.gradient_moments(
        toy.trainer(model, score_function.LeaveOneOut(samples=4)), x, y, repeats=REPEATS
    )
    found, variance = (
        np.concatenate([moments[each.path][i].ravel() for each in (where.kernel, where.bias)])
        for i in (0, 1)
    )
    point = np.concatenate([WEIGHTS["where"].ravel(), WEIGHTS["bias"]])
    exact = derivative(lambda moved: expected_cost(moved, num_objects), point)
    toy.assert_unbiased(found, variance, REPEATS, exact)


def looking(**options):
    """A recurrent attention model of three classes, and the layer in it."""
    image = keras.Input((8, 6, 1))
    layer = RecurrentAttention(
        Retina(3, 2),
        GlimpseNetwork(11, 7),
        keras.layers.SimpleRNNCell(11, "relu"),
        LocationSampler(0.2),
        **{"num_glimpses": 3, **options},
    )
    logits = keras.layers.Dense(3, dtype="float32")(layer(image).states)
    return keras.Model(image, logits), layer


def batch(num_objects=1, size=16):
    rng = np.random.default_rng(1)
    images = rng.random((size, 8, 6, 1)).astype("float32")
    return images, rng.integers(0, 3, (size, num_objects))


@pytest.mark.parametrize("num_objects", [1, 2])
def test_no_gradient_is_none_or_zero(num_objects):
    model, _ = looking(num_objects=num_objects)
    made = toy.trainer(model, score_function.LearnedBaseline(), toy.crossentropy())
    moments = score_function.gradient_moments(made, *batch(num_objects), repeats=3)
    assert len(moments) == len(model.trainable_variables)
    for path, (mean, variance) in moments.items():
        assert (mean != 0.0).any() and (variance > 0.0).any(), path


def test_each_draw_is_credited_with_its_object_and_those_after():
    model, layer = looking(num_objects=2)
    with score_function.collecting(score_function.Reinforce()) as collector:
        model(batch(2)[0], training=True)
    assert [choice.log_prob.shape[1] for choice in collector.choices] == [2, 2, 2]
    assert all(choice.in_time for choice in collector.choices)
    first, *_, last = (ops.convert_to_numpy(choice.features) for choice in collector.choices)
    assert not first[:, 0].any() and first[:, 1].any() and last[:, 0].any()


def test_given_locations_are_looked_at():
    _, layer = looking(num_objects=2)
    images, _ = batch()
    chosen = layer(images)
    given = layer(images, locations=chosen.locations, training=True)
    pairs = [
        [ops.convert_to_numpy(each) for each in pair] for pair in zip(given, chosen, strict=True)
    ]
    np.testing.assert_allclose(*pairs[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(*pairs[1])
    other = layer(images, locations=-np.ones((16, 6, 2), "float32"))
    assert np.abs(ops.convert_to_numpy(other.states - chosen.states)).max() > 1e-3


def test_a_model_in_half_precision_learns_to_look():
    with dtype_policy("mixed_float16"):
        model, layer = looking()
        made = score_function.ScoreFunctionModel(model, score_function.LearnedBaseline())
        made.compile("adam", toy.crossentropy())
        before = [ops.convert_to_numpy(each) for each in layer.sampler.mean.weights]
        losses = made.fit(*batch(size=32), batch_size=16, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    for variable, old in zip(layer.sampler.mean.weights, before, strict=True):
        assert variable.dtype == "float32"
        assert (ops.convert_to_numpy(variable) != old).any()


def test_a_trainer_is_saved_and_loaded(tmp_path):
    model, _ = looking()
    made = score_function.ScoreFunctionModel(model, score_function.LearnedBaseline())
    made.compile("adam", toy.crossentropy())
    made.fit(*batch(), verbose=0)
    made.save(tmp_path / "trainer.keras")
    again = keras.models.load_model(tmp_path / "trainer.keras")
    np.testing.assert_array_equal(
        again.predict(batch()[0], verbose=0), made.predict(batch()[0], verbose=0)
    )
    again.fit(*batch(), verbose=0)


def test_the_place_that_tells_is_found():
    """All of an image is noise, but for a bright or dark place at the lower right."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, (512, 1))
    images = rng.normal(size=(512, 12, 12, 1)).astype("float32")
    images[:, 8:11, 8:11] = 2.0 * labels[:, :, None, None] - 1.0
    image = keras.Input((12, 12, 1))
    layer = RecurrentAttention(
        Retina(3),
        GlimpseNetwork(16, 16),
        keras.layers.SimpleRNNCell(16, "relu"),
        LocationSampler(0.25),
        num_glimpses=2,
    )
    model = keras.Model(image, keras.layers.Dense(2)(layer(image).states))
    made = score_function.ScoreFunctionModel(model, score_function.LearnedBaseline())
    made.compile(keras.optimizers.Adam(0.02), toy.crossentropy(), metrics=["accuracy"])
    made.fit(images, labels, batch_size=64, epochs=12, verbose=0)
    found = ops.convert_to_numpy(layer(images[:50]).locations)  # The place is around (0.58, 0.58).
    assert np.abs(found - 7 / 12).max(axis=-1).min(axis=-1).mean() < 0.3
    assert made.evaluate(images, labels, verbose=0)[1] > 0.95


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Retina(0), "`size` must be a positive integer. Received: size=0"),
        (lambda: Retina(3, 1.5), "`scales` must be a positive integer. Received: scales=1.5"),
        (lambda: Retina(3)(IMAGE[0], LOCATIONS), r"`image` must have shape \(batch, height, wid"),
        (lambda: Retina(3)(IMAGE, IMAGE), r"`location` must have shape \(batch, 2\)"),
        (lambda: GlimpseNetwork(0, 3), "`units` must be a positive integer. Received: units=0"),
        (lambda: GlimpseNetwork(3, -1), "`hidden_units` must be a positive integer. Received: hid"),
        (lambda: LocationSampler(0.0), "`std` must be positive. Received: std=0.0"),
        (lambda: LocationSampler(inference="mode"), '`inference` must be "mean" or "sample". Rec'),
        (lambda: LocationSampler()(np.zeros((3, 2))), "`features` must have shape"),
        (lambda: looking(num_glimpses=0), "`num_glimpses` must be a positive integer. Received: n"),
        (
            lambda: RecurrentAttention(Retina(3), GlimpseNetwork(5, 5), None, None, 3),
            "`cell` must be a Keras RNN cell, such as `SimpleRNNCell.*Received: cell=None",
        ),
        (
            lambda: looking()[1](batch()[0], locations=np.zeros((16, 4, 2), "float32")),
            r"`locations` must have shape \(batch, 3, 2\), for 1 objects with 3 glimpses each. Rec",
        ),
    ],
)
def test_what_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
