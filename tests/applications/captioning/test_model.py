"""The captioner: its parts agree with each other, and it learns."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from applications.captioning import data
from applications.captioning import model as models
from applications.captioning.config import CaptioningConfig
from applications.captioning.model import Captioner, GatedAttention
from applications.captioning.pictures import Pictures
from applications.training import text
from keras_attention import AdditiveSoftAttention, score_function

KINDS = [("soft", True), ("soft", False), ("hard", True), ("none", False)]
LU = {"order": "update_then_look", "withhold_mean": 0.5}


def captioner(attention="soft", gate=True, cnn_units=(), **options):
    keras.utils.set_random_seed(7)
    sizes = {"embedding_units": 5, "units": 7}
    model = Captioner(11, cnn_units, attention, gate, **sizes, **options)
    model(batch(cnn_units))
    for weight in model.trainable_weights:  # larger than at first, so that nothing is near 0
        weight.assign(weight + tf.random.stateless_normal(weight.shape, (1, 2), stddev=0.5))
    return model


def batch(cnn_units=()):
    draw = np.random.default_rng(1)
    image = draw.normal(size=(3, 2, 3, 4)).astype("float32")
    if cnn_units:
        image = draw.integers(0, 256, (3, 16, 24, 1)).astype("uint8")
    return {"image": image, "caption": draw.integers(4, 11, (3, 4)).astype("int32")}


@pytest.mark.parametrize(("attention", "gate"), KINDS)
def test_greedy_search_scores_as_teacher_forcing_does(attention, gate):
    model, inputs = captioner(attention, gate), batch()
    found = model.caption(inputs["image"], max_length=6)
    ids = found.ids[:, 0].numpy()
    shifted = np.concatenate([np.full((3, 1), text.START), ids[:, :-1]], axis=1).astype("int32")
    outputs = model({**inputs, "caption": shifted})
    logits = np.array(outputs["logits"])
    logits[..., [text.PAD, text.START, text.UNKNOWN]] = -np.inf
    log_probs = tf.nn.log_softmax(logits).numpy()
    steps = found.lengths[:, 0].numpy() + (found.lengths[:, 0].numpy() < 6)
    for row in range(3):
        chosen = [log_probs[row, t, ids[row, t]] for t in range(steps[row])]
        assert float(found.log_probs[row, 0]) == pytest.approx(sum(chosen), abs=1e-4)
        np.testing.assert_allclose(
            found.weights[row, 0, : steps[row]], outputs["weights"][row, : steps[row]], atol=1e-5
        )


@pytest.mark.parametrize(("attention", "gate"), KINDS)
def test_a_batch_is_captioned_as_its_pictures_are(attention, gate):
    model, inputs = captioner(attention, gate), batch()
    search = {"beam_width": 3, "num_hypotheses": 2, "max_length": 6, "length_penalty": 0.6}
    together = model.caption(inputs["image"], **search)
    for row in range(3):
        alone = model.caption(inputs["image"][row : row + 1], **search)
        np.testing.assert_array_equal(together.ids[row], alone.ids[0])
        np.testing.assert_allclose(together.scores[row], alone.scores[0], rtol=1e-4)


def test_a_mean_that_is_withheld_always_tells_nothing():
    """Without it, and before anything was read, all pictures leave the LSTM alike."""
    inputs = batch()
    for share, same in ((0.0, False), (1.0, True)):
        model = captioner(order="update_then_look", withhold_mean=share)
        _, state = model.encode(inputs["image"])
        for each in state.cell:
            assert (np.ptp(np.array(each), axis=0).max() == 0.0) == same


def test_a_mean_is_withheld_from_some_pictures_in_training_and_from_none_after_it():
    model = captioner(order="update_then_look", withhold_mean=0.5)
    image = np.repeat(batch()["image"][:1], 200, axis=0)
    hidden = np.array(model.encode(image, training=True)[1].cell[0])
    assert 60 < (hidden == 0.0).all(axis=1).sum() < 140
    assert not (np.array(model.encode(image)[1].cell[0]) == 0.0).all(axis=1).any()


def test_update_then_look_tells_a_word_from_what_was_read_for_it():
    """What was read before changes nothing, unless Xu's order feeds it to the LSTM."""
    inputs = batch()
    for order, remembers in (("update_then_look", False), ("look_then_update", True)):
        model = captioner(order=order, withhold_mean=1.0)
        memory, state = model.encode(inputs["image"])
        other, _ = model.encode(inputs["image"][::-1])
        ids = model.embedding(inputs["caption"][:, 0])
        after = [model.decoder.step(ids, state, each).state for each in (memory, other)]
        last = [np.array(model.decoder.step(ids, each, memory).output) for each in after]
        assert (np.abs(last[0] - last[1]).max() > 1e-4) == remembers


def test_weights_are_a_distribution_over_the_places():
    model = captioner(cnn_units=(3, 5))
    outputs = model(batch((3, 5)))
    assert model.grid == (4, 6) and outputs["weights"].shape == (3, 4, 24)
    np.testing.assert_allclose(np.sum(outputs["weights"], axis=-1), 1.0, atol=1e-5)


@pytest.mark.parametrize(("attention", "gate"), [kind for kind in KINDS if kind[0] != "hard"])
def test_every_weight_has_a_gradient(attention, gate):
    model, inputs = captioner(attention, gate, (3, 5)), batch((3, 5))
    with tf.GradientTape() as tape:
        logits = model(inputs, training=True)["logits"]
        loss = tf.reduce_sum(logits * tf.random.stateless_normal(logits.shape, (3, 4)))
    gradients = tape.gradient(loss, model.trainable_weights)
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0.0, weight.path


def test_the_gate_scales_what_is_read():
    draw = np.random.default_rng(2)
    layer = GatedAttention(AdditiveSoftAttention(5))
    query, value = draw.normal(size=(2, 3, 4)), draw.normal(size=(2, 7, 6))
    layer.build(query.shape, value.shape)
    layer.gate.bias.assign([0.3])
    memory = layer.prepare(value)
    plain = layer.attention.attend(query, memory)
    gated = layer.attend(query, memory)
    beta = 1 / (1 + np.exp(-(query @ layer.gate.kernel.numpy() + 0.3)))
    np.testing.assert_allclose(gated.context, beta * plain.context, atol=1e-5)
    np.testing.assert_array_equal(gated.weights, plain.weights)


@pytest.mark.parametrize(("attention", "gate"), KINDS)
def test_saved_and_loaded_it_gives_the_same(attention, gate, tmp_path):
    model, inputs = captioner(attention, gate, (3, 5)), batch((3, 5))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for name, output in model(inputs).items():
        np.testing.assert_array_equal(again(inputs)[name], output)


# Compiled, as a run has it.

CONFIG = CaptioningConfig(
    embedding_units=8, units=16, cnn_units=(4, 8), dropout=0.0, learning_rate=0.02, gate=True
)


def facts():
    tokenizer = text.train("words", ["one two three four five six seven"], 99, lowercase=True)
    return data.Facts(tokenizer, Pictures(16, 1))


def task(count=64):
    """Pictures with one bright place of four, and the sentence that says which."""
    draw = np.random.default_rng(4)
    places = draw.integers(0, 4, count)
    image = draw.integers(0, 60, (count, 16, 16, 1)).astype("uint8")
    for number, place in enumerate(places):
        row, column = 8 * (place // 2), 8 * (place % 2)
        image[number, row : row + 8, column : column + 8] = 220
    labels = np.stack([4 + places, 10 - places, np.full(count, text.END)], axis=1).astype("int32")
    caption = np.concatenate([np.full((count, 1), text.START), labels[:, :-1]], axis=1)
    real = np.ones((count, 3), "float32")
    return (
        {"image": image, "caption": caption.astype("int32")},
        {"logits": labels, "weights": real > 0},
        {"logits": real, "weights": np.ones(count, "float32")},
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "soft"},
        {"attention": "soft", **LU},
        {"attention": "hard", **LU},
        {"attention": "none"},
        {"attention": "hard"},
        {"attention": "hard", "baseline": "leave_one_out", "samples": 2, "semi_sampling": 0.0},
        {"attention": "hard", "baseline": "self_critical"},
        {"attention": "hard", "baseline": "moving_average", "entropy_bonus": 0.01},
    ],
)
def test_it_learns_what_a_picture_shows(changes):
    keras.utils.set_random_seed(3)
    model = models.build(dataclasses.replace(CONFIG, doubly_stochastic=0.0, **changes), facts())
    x, y, weights = task()
    model.fit(x, y, sample_weight=weights, batch_size=16, epochs=35, verbose=0)
    found = models.captioner_of(model).caption(x["image"], max_length=4)
    right = (found.ids[:, 0, :3].numpy() == y["logits"]).all(axis=1)
    assert right.mean() > 0.9


def test_the_doubly_stochastic_loss_spreads_what_is_read():
    def unread(weight):
        keras.utils.set_random_seed(3)
        model = models.build(dataclasses.replace(CONFIG, doubly_stochastic=weight), facts())
        x, y, weights = task()
        history = model.fit(x, y, sample_weight=weights, batch_size=16, epochs=10, verbose=0)
        return history.history["weights_loss"][-1]

    # Three steps over 16 places leave this much, if all are read alike.
    assert unread(1.0) == pytest.approx(16 * (1 - 3 / 16) ** 2, abs=0.05)
    assert unread(0.0) > unread(1.0) + 0.1


def test_a_hard_captioner_credits_draws_with_words_alone():
    model = models.build(dataclasses.replace(CONFIG, attention="hard"), facts())
    assert isinstance(model, score_function.ScoreFunctionModel)
    assert list(model.cost) == ["logits"]
    assert isinstance(models.captioner_of(model), Captioner)


def test_a_trainer_is_saved_and_loaded_whole(tmp_path):
    model = models.build(dataclasses.replace(CONFIG, attention="hard"), facts())
    model.save(tmp_path / "model.keras")
    again = models.build(dataclasses.replace(CONFIG, attention="hard", seed=2), facts())
    again.load_weights(tmp_path / "model.keras")
    inputs = task(5)[0]
    for name, output in model(inputs).items():
        np.testing.assert_array_equal(again(inputs)[name], output)
