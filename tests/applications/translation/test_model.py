"""The translator: its parts agree with each other, and it learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from applications.training import text
from applications.training.crossentropy import smoothed_crossentropy
from applications.translation.config import TranslationConfig
from applications.translation.data import Facts
from applications.translation.model import Translator, build
from keras_attention import AdditiveScore

KINDS = [
    *(("additive", False), ("bilinear", False), ("additive", True), ("none", False)),
    *(("monotonic", False), ("mocha", True), ("milk", False)),
]
LOOKS = {"monotonic": {"initial_bias": 0.5}, "mocha": {"chunk": 3, "noise": 0.5}}
RNG = np.random.default_rng(3)


def translator(attention="additive", input_feeding=False):
    keras.utils.set_random_seed(7)
    model = Translator(
        13,
        11,
        attention=attention,
        looks=LOOKS.get(attention),
        input_feeding=input_feeding,
        embedding_units=6,
        units=5,
    )
    model(batch())
    for weight in model.trainable_weights:  # larger than at first, so that nothing is near 0
        weight.assign(weight + tf.random.stateless_normal(weight.shape, (1, 2), stddev=0.5))
    return model


def batch(num_sources=3, num_values=7, num_steps=4):
    rng = np.random.default_rng(1)
    return {
        "source": rng.integers(4, 13, (num_sources, num_values)).astype("int32"),
        "source_lengths": np.array([7, 4, 2][:num_sources], "int32"),
        "target": rng.integers(4, 11, (num_sources, num_steps)).astype("int32"),
    }


@pytest.mark.parametrize(("attention", "input_feeding"), KINDS)
def test_padding_the_source_changes_nothing(attention, input_feeding):
    model, inputs = translator(attention, input_feeding), batch()
    longer = {**inputs, "source": np.pad(inputs["source"], ((0, 0), (0, 3)), constant_values=5)}
    np.testing.assert_allclose(model(longer), model(inputs), atol=1e-5)


@pytest.mark.parametrize(("attention", "input_feeding"), KINDS)
def test_greedy_search_scores_as_teacher_forcing_does(attention, input_feeding):
    model, inputs = translator(attention, input_feeding), batch()
    found = model.translate(inputs["source"], inputs["source_lengths"], max_length=6)
    ids = found.ids[:, 0].numpy()
    shifted = np.concatenate([np.full((3, 1), text.START), ids[:, :-1]], axis=1).astype("int32")
    # The search never gives padding, starts or what only rounds the vocabulary up.
    logits = np.array(model({**inputs, "target": shifted}))
    logits[..., [text.PAD, text.START]] = logits[..., 11:] = -np.inf
    log_probs = tf.nn.log_softmax(logits).numpy()
    steps = found.lengths[:, 0].numpy() + (found.lengths[:, 0].numpy() < 6)
    for row in range(3):
        chosen = [log_probs[row, t, ids[row, t]] for t in range(steps[row])]
        assert float(found.log_probs[row, 0]) == pytest.approx(sum(chosen), abs=1e-4)
        assert (log_probs[row, : steps[row]].argmax(-1) == ids[row, : steps[row]]).all()


@pytest.mark.parametrize(("attention", "input_feeding"), KINDS)
def test_a_batch_translates_as_its_sentences_do(attention, input_feeding):
    model, inputs = translator(attention, input_feeding), batch()
    search = {"beam_width": 3, "num_hypotheses": 2, "max_length": 6}
    search |= {"length_penalty": 0.6, "coverage_penalty": 0.2}
    together = model.translate(inputs["source"], inputs["source_lengths"], **search)
    for row in range(3):
        length = inputs["source_lengths"][row]
        alone = model.translate(
            inputs["source"][row : row + 1, :length],
            inputs["source_lengths"][row : row + 1],
            **search,
        )
        np.testing.assert_array_equal(together.ids[row], alone.ids[0])
        np.testing.assert_allclose(together.scores[row], alone.scores[0], rtol=1e-4)


def test_weights_are_a_distribution_over_the_real_source():
    model, inputs = translator(), batch()
    found = model.translate(
        inputs["source"], inputs["source_lengths"], max_length=5, beam_width=2, num_hypotheses=2
    )
    real = np.arange(7) < inputs["source_lengths"][:, None]
    weights = found.weights.numpy()
    assert (weights[~np.broadcast_to(real[:, None, None], weights.shape)] == 0.0).all()
    for row in range(3):
        for which in range(2):
            length = found.lengths[row, which]
            np.testing.assert_allclose(weights[row, which, :length].sum(-1), 1.0, atol=1e-5)


@pytest.mark.parametrize(("attention", "input_feeding"), KINDS)
def test_every_weight_has_a_gradient(attention, input_feeding):
    model, inputs = translator(attention, input_feeding), batch()
    labels = tf.reshape(tf.constant(inputs["target"]), (-1,))
    with tf.GradientTape() as tape:
        logits = tf.reshape(model(inputs, training=True), (labels.shape[0], -1))
        loss = tf.reduce_sum(smoothed_crossentropy(labels, logits, 0.1))
    for weight, gradient in zip(
        model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True
    ):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0.0, weight.path


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"attention": "monotonic", "pre_sigmoid_noise": (0.5, 4.0)}, (1, -1.0, 0.5)),
        ({"attention": "mocha", "chunk": 5, "initial_bias": -3.0}, (5, -3.0, 2.0)),
        ({"attention": "mocha", "chunk": 1}, (1, -1.0, 2.0)),
        ({"attention": "milk"}, (None, -1.0, 2.0)),
    ],
)
def test_a_run_has_the_attention_that_its_flags_say(changes, expected):
    tokenizer = text.train("characters", ["abc"], 9, False)
    config = TranslationConfig(units=4, embedding_units=3, **changes)
    attention = build(config, Facts(tokenizer, tokenizer)).decoder.cell.attention
    assert (attention.chunk_size, attention.initial_bias, attention.noise) == expected
    assert float(attention.bias) == expected[1] and attention.inference == "mode"
    assert isinstance(attention.score, AdditiveScore) and attention.score.normalize


def test_bfloat16_serves_training_only():
    """There it is near float32; an evaluation and a search stay as they are."""
    exact, inputs = translator(), batch()
    model = Translator.from_config({**exact.get_config(), "output_dtype": "bfloat16"})
    model(inputs)
    model.set_weights(exact.get_weights())
    np.testing.assert_array_equal(model(inputs), exact(inputs))
    rounded, wanted = model(inputs, training=True), exact(inputs, training=True)
    assert np.abs(rounded - wanted).max() > 0.0
    np.testing.assert_allclose(rounded, wanted, atol=0.02 * np.abs(wanted).max())


@pytest.mark.parametrize("attention", ["monotonic", "mocha", "milk"])
def test_by_mean_it_reads_in_a_search_what_training_reads(attention):
    """Without noise, that is; and the translator itself still reads the mode."""
    model, inputs = translator(attention), batch()
    model.decoder.cell.attention.noise = 0.0
    twin = model.by_mean()
    np.testing.assert_allclose(twin(inputs), model(inputs, training=True), atol=1e-5)
    assert np.abs(twin(inputs) - model(inputs)).max() > 1e-3
    found = twin.translate(inputs["source"], inputs["source_lengths"], max_length=2)
    assert np.ptp(found.weights[0, 0, 0, :]) < 1.0


@pytest.mark.parametrize(("attention", "most"), [("monotonic", 1), ("mocha", 3)])
def test_a_search_reads_a_chunk_that_never_moves_back(attention, most):
    model, inputs = translator(attention), batch()
    found = model.translate(inputs["source"], inputs["source_lengths"], max_length=6)
    looked = found.weights[:, 0].numpy() > 0.0
    assert looked.any() and looked.sum(axis=-1).max() <= most
    for rows in looked:
        ends = [row.nonzero()[0].max() for row in rows if row.any()]
        assert ends == sorted(ends)


@pytest.mark.parametrize("attention", ["bilinear", "mocha"])
def test_saved_and_loaded_it_gives_the_same_logits(tmp_path, attention):
    model, inputs = translator(attention, True), batch()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(inputs), model(inputs))
