"""Losses over weights against loops, at their corners, under masks, and in `fit`."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import (
    AdditiveSoftAttention,
    AttentionCell,
    AttentionDecoder,
    losses,
    masking,
    normalizers,
)
from tests.contract_rows import dtype_policy

B, T, Tv = 3, 5, 7
tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="takes gradients by TensorFlow's own means"
)


def some_weights(seed=0, shape=(B, T, Tv)):
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1]).astype("float32")


WEIGHTS, ALIGNMENT = some_weights(), some_weights(seed=1)
STEPS = np.arange(T) < np.array([[5], [3], [1]])
VALUES = np.arange(Tv) < np.array([[4], [7], [2]])
PAIRS = STEPS[:, :, None] & VALUES[:, None, :]

# Oracles: of one sequence of weights, with the steps and values that are real, to one number a
# step (or a sequence), 0 where it is masked.


def guided_alignment(weights, steps, values, squared=False):
    found = np.zeros(len(weights))
    for t in np.flatnonzero(steps):
        for i in np.flatnonzero(values):
            truth, weight = guided_alignment.truth[t, i], weights[t, i]
            found[t] += (truth - weight) ** 2 if squared else -truth * np.log(weight)
    return found


def doubly_stochastic(weights, steps, values, tau=1.0):
    """Xu et al., 2015, eq. 14, without lambda."""
    found = 0.0
    for i in np.flatnonzero(values):
        found += (tau - sum(weights[t, i] for t in np.flatnonzero(steps))) ** 2
    return found


def coverage(weights, steps, values):
    """See et al., 2017, eqs. 10 and 12."""
    found, covered = np.zeros(len(weights)), np.zeros(weights.shape[1])
    for t in np.flatnonzero(steps):
        for i in np.flatnonzero(values):
            found[t] += min(weights[t, i], covered[i])
            covered[i] += weights[t, i]
    return found


def entropy(weights, steps, values):
    found = np.zeros(len(weights))
    for t in np.flatnonzero(steps):
        for i in np.flatnonzero(values):
            found[t] -= weights[t, i] * np.log(weights[t, i])
    return found


CASES = {
    "cross-entropy": (losses.guided_alignment, guided_alignment, {}),
    "squared error": (losses.guided_alignment, guided_alignment, {"squared": True}),
    "doubly stochastic": (losses.doubly_stochastic, doubly_stochastic, {}),
    "doubly stochastic, tau": (losses.doubly_stochastic, doubly_stochastic, {"tau": 0.3}),
    "coverage": (losses.coverage, coverage, {}),
    "entropy": (losses.entropy, entropy, {}),
}
cases = pytest.mark.parametrize("case", CASES)


def loss_of(case, weights, mask=None, alignment=ALIGNMENT):
    function, _, options = CASES[case]
    given = (alignment, weights) if function is losses.guided_alignment else (weights,)
    return function(*map(ops.convert_to_tensor, given), mask, **options)


def oracle_of(case, steps, values):
    _, oracle, options = CASES[case]
    found = []
    for b in range(B):
        guided_alignment.truth = ALIGNMENT[b].astype("float64")
        found.append(oracle(WEIGHTS[b].astype("float64"), steps[b], values[b], **options))
    return np.array(found)


EVERY_STEP, EVERY_VALUE = np.ones_like(STEPS), np.ones_like(VALUES)


@pytest.mark.parametrize(
    ("mask", "steps", "values"),
    [
        (None, EVERY_STEP, EVERY_VALUE),
        (STEPS, STEPS, EVERY_VALUE),
        (PAIRS, STEPS, VALUES),
        (VALUES[:, None, :], EVERY_STEP, VALUES),
        (STEPS.astype("float32"), STEPS, EVERY_VALUE),
    ],
    ids=["no mask", "steps", "pairs", "values", "floats"],
)
@cases
def test_a_loss_is_the_loop_over_what_is_real(case, mask, steps, values):
    found = loss_of(case, WEIGHTS, None if mask is None else ops.convert_to_tensor(mask))
    np.testing.assert_allclose(
        ops.convert_to_numpy(found), oracle_of(case, steps, values), rtol=1e-4, atol=2e-6
    )


@cases
def test_padding_a_batch_further_changes_no_loss(case):
    mask = masking.combine(
        masking.over_queries(ops.convert_to_tensor(STEPS)),
        masking.over_values(ops.convert_to_tensor(VALUES)),
    )
    room = ((0, 0), (0, 2), (0, 3))
    further = loss_of(
        case,
        np.pad(WEIGHTS, room, constant_values=0.4),
        ops.pad(mask, room),
        np.pad(ALIGNMENT, room, constant_values=0.6),
    )
    found, further = ops.convert_to_numpy(loss_of(case, WEIGHTS, mask)), np.array(further)
    np.testing.assert_allclose(further[:, :T] if found.ndim == 2 else further, found, atol=1e-6)
    assert found.ndim == 1 or (further[:, T:] == 0.0).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@cases
def test_half_precision_is_computed_in_float32(case, dtype):
    found = loss_of(case, ops.cast(WEIGHTS, dtype), ops.convert_to_tensor(PAIRS))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(
        ops.convert_to_numpy(found), oracle_of(case, STEPS, VALUES), rtol=0.05, atol=0.02
    )


def gradient_of(case, weights, alignment=ALIGNMENT):
    import tensorflow as tf

    weights = tf.constant(weights)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = ops.sum(loss_of(case, weights, None, alignment))
    return float(loss), tape.gradient(loss, weights).numpy()


@tensorflow_only
@cases
def test_weights_of_0_and_1_have_finite_losses_and_gradients(case):
    corners = np.eye(Tv, dtype="float32")[np.arange(B * T).reshape(B, T) % Tv]
    for weights in (corners, np.zeros_like(corners)):
        for alignment in (corners, np.roll(corners, 1, axis=-1)):
            loss, gradient = gradient_of(case, weights, alignment)
            assert np.isfinite(loss) and np.isfinite(gradient).all()


@tensorflow_only
@cases
def test_gradients_are_derivatives(case):
    weights, alignment = 0.1 + WEIGHTS.astype("float64"), ALIGNMENT.astype("float64")
    _, gradient = gradient_of(case, weights, alignment)
    direction = np.random.default_rng(3).normal(size=weights.shape)
    step = 1e-6 * direction
    measured = (
        gradient_of(case, weights + step, alignment)[0]
        - gradient_of(case, weights - step, alignment)[0]
    ) / 2e-6
    np.testing.assert_allclose(np.sum(gradient * direction), measured, rtol=1e-5)


@tensorflow_only
def test_a_weight_of_nearly_0_is_still_pulled_up_to_its_truth():
    truth = np.array([[[1.0, 0.0]]], "float32")
    for weight in (0.0, 1e-12, 1e-9, 1e-6):
        _, gradient = gradient_of("cross-entropy", np.array([[[weight, 1.0 - weight]]]), truth)
        assert gradient[0, 0, 0] < -1e5 and gradient[0, 0, 1] == 0.0


def test_corners_have_the_losses_they_should():
    same, turns = np.tile(np.eye(3, dtype="float32")[:1], (1, 3, 1)), np.eye(3)[None]
    for case, of_same, of_turns in [
        ("doubly stochastic", [(1 - 3) ** 2 + 1 + 1], [0.0]),
        ("coverage", [[0, 1, 1]], [[0, 0, 0]]),
        ("entropy", [[0, 0, 0]], [[0, 0, 0]]),
    ]:
        np.testing.assert_allclose(loss_of(case, same), of_same, atol=1e-6)
        np.testing.assert_allclose(loss_of(case, turns.astype("float32")), of_turns, atol=1e-6)
    uniform = np.full((1, 1, 7), 1 / 7, "float32")
    np.testing.assert_allclose(loss_of("entropy", uniform), [[np.log(7)]], rtol=1e-5)
    zero = np.zeros((1, 1, 7), "float32")
    np.testing.assert_allclose(loss_of("cross-entropy", uniform, None, zero), [[0.0]])


# Keras losses


def number(loss):
    return float(ops.convert_to_numpy(loss))


def mean(values, real):
    return float(np.sum(np.asarray(values) * real) / np.sum(real))


def test_step_losses_are_means_over_the_real_steps():
    for loss, case in [(losses.CoverageLoss(), "coverage"), (losses.EntropyLoss(), "entropy")]:
        assert number(loss(STEPS, WEIGHTS)) == pytest.approx(
            mean(oracle_of(case, STEPS, EVERY_VALUE), STEPS), rel=1e-4
        )
        assert number(loss(PAIRS, WEIGHTS)) == pytest.approx(
            mean(oracle_of(case, STEPS, VALUES), STEPS), rel=1e-4
        )
        every = oracle_of(case, EVERY_STEP, VALUES)
        assert number(loss(VALUES[:, None], WEIGHTS)) == pytest.approx(every.mean(), rel=1e-4)


def test_steps_and_sequences_may_count_differently():
    of_steps = np.random.default_rng(5).uniform(size=(B, T)).astype("float32")
    of_sequences = np.array([2.0, 3.0, 5.0], "float32")
    expected = oracle_of("entropy", STEPS, EVERY_VALUE)
    loss = losses.EntropyLoss()
    for sample_weight in (of_steps, of_sequences, of_sequences[:, None]):
        counted = STEPS * sample_weight.reshape(B, -1)
        assert number(loss(STEPS, WEIGHTS, sample_weight)) == pytest.approx(
            mean(expected, counted), rel=1e-4
        )


@pytest.mark.parametrize("squared", [False, True])
def test_a_guided_alignment_leaves_out_steps_of_sample_weight_0(squared):
    loss = losses.GuidedAlignmentLoss(squared)
    case = "squared error" if squared else "cross-entropy"
    expected = mean(oracle_of(case, STEPS, EVERY_VALUE), STEPS)
    assert number(loss(ALIGNMENT, WEIGHTS, STEPS)) == pytest.approx(expected, rel=1e-4)


def test_doubly_stochastic_is_the_mean_over_sequences():
    loss = losses.DoublyStochasticLoss(tau=0.3)
    expected = oracle_of("doubly stochastic, tau", STEPS, VALUES)
    assert number(loss(PAIRS, WEIGHTS)) == pytest.approx(expected.mean(), rel=1e-4)
    counted = np.array([1.0, 0.0, 3.0], "float32")
    for sample_weight in (counted, counted[:, None]):
        assert number(loss(PAIRS, WEIGHTS, sample_weight)) == pytest.approx(
            mean(expected, counted), rel=1e-4
        )


def all_losses():
    return [
        losses.GuidedAlignmentLoss(squared=True, name="aligned"),
        losses.DoublyStochasticLoss(tau=0.3, reduction="sum"),
        losses.CoverageLoss(),
        losses.EntropyLoss(),
    ]


@pytest.mark.parametrize("loss", all_losses(), ids=lambda loss: type(loss).__name__)
def test_a_loss_is_registered_and_revived_from_its_config(loss):
    name = keras.saving.get_registered_name(type(loss))
    assert name == f"keras_attention>{type(loss).__name__}"
    revived = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(revived) is type(loss) and revived.get_config() == loss.get_config()


def truth_for(loss):
    return ALIGNMENT if isinstance(loss, losses.GuidedAlignmentLoss) else STEPS


def looking_model():
    query, value = keras.Input((T, 2), name="query"), keras.Input((Tv, 3), name="value")
    attention = AdditiveSoftAttention(5)
    context, weights = attention(query, value, return_attention_scores=True)
    return keras.Model([query, value], {"context": context, "weights": weights})


def looking_data():
    draw = np.random.default_rng(7)
    return [draw.normal(size=shape).astype("float32") for shape in ((B, T, 2), (B, Tv, 3))]


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("loss", all_losses(), ids=lambda loss: type(loss).__name__)
def test_a_loss_trains_in_fit_and_is_saved_with_the_model(loss, policy, tmp_path):
    targets = {"context": np.zeros((B, T, 3), "float32"), "weights": truth_for(loss)}
    sample_weight = {"context": STEPS * 1.0, "weights": STEPS * 1.0}
    if isinstance(loss, losses.DoublyStochasticLoss):
        sample_weight["weights"] = np.ones(B)
    with dtype_policy(policy):
        model = looking_model()
        model.compile(
            keras.optimizers.SGD(0.5),
            loss={"context": "mse", "weights": loss},
            loss_weights={"context": 0.0, "weights": 1.0},
        )
        fitted = model.fit(
            looking_data(), targets, sample_weight=sample_weight, epochs=5, verbose=0
        ).history["weights_loss"]
        model.save(tmp_path / "model.keras")
        revived = keras.saving.load_model(tmp_path / "model.keras")
    assert np.isfinite(fitted).all() and fitted[-1] < fitted[0]
    found, expected = (
        each.evaluate(looking_data(), targets, sample_weight=sample_weight, verbose=0)
        for each in (revived, model)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_weights_are_taught_an_alignment():
    model, truth = looking_model(), np.eye(Tv, dtype="float32")[np.arange(T)][None].repeat(B, 0)
    teacher = {"context": None, "weights": losses.GuidedAlignmentLoss()}
    model.compile(keras.optimizers.Adam(0.2), loss=teacher)
    # One value for each query, by which it can be told.
    query = np.stack([np.arange(T), np.arange(T) ** 2], axis=1)[None].repeat(B, 0) / T
    value = np.stack([np.arange(Tv), np.arange(Tv) ** 2, np.ones(Tv)], 1)[None].repeat(B, 0) / T
    history = model.fit(
        [query, value], {"context": truth[..., :3], "weights": truth}, epochs=50, verbose=0
    ).history["loss"]
    assert history[-1] < 0.7 * history[0]


def decoding_model():
    """The weights of a decoder, with a mask over steps that rides on them."""
    ids, value = keras.Input((None,), name="ids"), keras.Input((None, 2), name="value")
    inputs = keras.layers.Embedding(11, 3, mask_zero=True)(ids)
    cell = AttentionCell(keras.layers.GRUCell(3), AdditiveSoftAttention(5))
    weights = AttentionDecoder(cell)(inputs, value).weights
    return keras.Model({"ids": ids, "value": value}, {"weights": weights})


def decoding_data():
    draw = np.random.default_rng(7)
    ids = np.where(STEPS, draw.integers(1, 11, (B, T)), 0)
    return {"ids": ids, "value": draw.normal(size=(B, Tv, 2)).astype("float32")}


@pytest.mark.parametrize("loss", all_losses(), ids=lambda loss: type(loss).__name__)
def test_a_mask_that_rides_on_the_weights_changes_no_loss_under_the_same_mask(loss):
    inputs, targets = decoding_data(), {"weights": truth_for(loss)}
    model = decoding_model()
    weights = model(inputs)["weights"]
    assert weights._keras_mask is not None
    guided = isinstance(loss, losses.GuidedAlignmentLoss)
    expected = loss(targets["weights"], ops.convert_to_numpy(weights), STEPS if guided else None)
    assert number(loss(targets["weights"], weights)) == pytest.approx(number(expected), rel=1e-5)
    model.compile(loss={"weights": loss}, run_eagerly=True)
    found = model.evaluate(inputs, targets, verbose=0)
    np.testing.assert_allclose(found, number(expected), rtol=1e-5)


def test_padding_a_batch_further_changes_no_loss_of_a_masked_decoder():
    inputs = decoding_data()
    further = {**inputs, "ids": np.pad(inputs["ids"], ((0, 0), (0, 2)))}
    model, steps = decoding_model(), np.pad(STEPS, ((0, 0), (0, 2)))
    for loss in (losses.CoverageLoss(), losses.EntropyLoss(), losses.DoublyStochasticLoss()):
        shorter, longer = (model(each)["weights"] for each in (inputs, further))
        assert number(loss(steps, longer)) == pytest.approx(number(loss(STEPS, shorter)), rel=1e-5)


def test_losses_take_sparse_weights():
    scores = np.random.default_rng(9).normal(size=(B, T, Tv)) * 3.0
    sparse = normalizers.sparsemax(ops.convert_to_tensor(scores.astype("float32")))
    assert float(ops.min(sparse)) == 0.0
    for case in CASES:
        assert np.isfinite(ops.convert_to_numpy(loss_of(case, sparse))).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: losses.entropy(WEIGHTS[0]),
            r"`weights` must have shape \(batch, steps, values\). Received: weights.shape=\(5, 7\)",
        ),
        (
            lambda: losses.coverage(WEIGHTS, STEPS[:, :3]),
            r"A mask must cover the steps or the pairs of the weights. "
            r"Received: mask.shape=\(3, 3\), weights.shape=\(3, 5, 7\)",
        ),
        (
            lambda: losses.coverage(WEIGHTS, STEPS[0]),
            r"shape \(batch, steps\) or \(batch, steps, values\). Received: mask.shape=\(5,\)",
        ),
        (
            lambda: losses.guided_alignment(STEPS, WEIGHTS),
            r"`alignment` must have the shape of the weights, \(batch, steps, values\). "
            r"Received: alignment.shape=\(3, 5\), weights.shape=\(3, 5, 7\)",
        ),
        (
            lambda: losses.guided_alignment(ALIGNMENT[:, :, :2], WEIGHTS),
            r"Received: alignment.shape=\(3, 5, 2\), weights.shape=\(3, 5, 7\)",
        ),
        (
            lambda: losses.DoublyStochasticLoss()(STEPS, WEIGHTS, STEPS),
            r"`sample_weight` must have one entry a sequence, as the loss is a sum over its "
            r"steps; steps are masked by `y_true`. Received: sample_weight.shape=\(3, 5\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
