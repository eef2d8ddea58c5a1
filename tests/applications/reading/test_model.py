"""The reader and its control against loops over the papers' equations."""

import dataclasses

import keras
import numpy as np
import pytest

from applications.reading import model
from applications.reading.config import PRESETS
from applications.reading.data import Facts
from applications.reading.encoding import permute

B, P, Q, E, UNITS = 5, 7, 4, 3, 2
FACTS = Facts(("@placeholder", "a", "b", "c"), E, 99, "@A a @B", "@placeholder a")
FIRST = 6
CONFIG = dataclasses.replace(PRESETS["generated"], embedding_units=3, units=UNITS, dropout=0.0)
READERS = [("attentive", "learned"), ("attentive", "uniform"), ("bilinear", "learned")]


def build(kind="attentive", attention="learned", **changes):
    config = dataclasses.replace(CONFIG, model=kind, attention=attention, **changes)
    made = model.build(config, FACTS)
    draw = np.random.default_rng(2)
    for each in made.trainable_variables:  # weights far from uniform
        each.assign(draw.normal(0.0, 1.0, each.shape))
    return made


def batch():
    draw = np.random.default_rng(1)
    passage = draw.integers(1, FIRST + E, (B, P)).astype(np.int32)
    query = draw.integers(1, FIRST + E, (B, Q)).astype(np.int32)
    passage[:, 0] = FIRST + 1
    passage[0, 4:] = query[1, 2:] = 0
    passage[2] = [FIRST + 1, FIRST + 2, 1, 2, 3, 4, 5]
    return passage, query


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(cell, inputs):
    """All states of a GRU that resets before it multiplies or after, as Keras' has it."""
    kernel, recurrent, bias = (np.array(each, np.float64) for each in cell.trainable_variables)
    state, states = np.zeros(UNITS), []
    for x in inputs:
        z, r, h = np.split(x @ kernel + bias[0], 3)
        zs, rs, hs = np.split(state @ recurrent + bias[1], 3)
        update = sigmoid(z + zs)
        new = np.tanh(h + sigmoid(r + rs) * hs)
        state = update * state + (1 - update) * new
        states.append(state)
    return states


def both_ways(encoder, inputs):
    return gru(encoder.forward.cell, inputs), gru(encoder.backward.cell, inputs[::-1])[::-1]


def oracle(made, kind, attention, passage, query):
    """Logits and weights of one question."""
    table = np.array(made.embedding.embeddings, np.float64)
    passage, query = passage[passage != 0], query[query != 0]
    ahead, behind = both_ways(made.passage_encoder, table[passage])
    annotations = np.concatenate([ahead, behind], axis=1)
    ahead, behind = both_ways(made.query_encoder, table[query])
    u = np.concatenate([ahead[-1], behind[0]])
    weights = np.full(len(passage), 1 / len(passage))
    if attention == "learned":
        by_name = {each.name: np.array(each) for each in made.attention.trainable_variables}
        scores = []
        for y in annotations:
            if kind == "bilinear":
                scores.append(u @ (y @ by_name["kernel"]))
            else:
                asked, read, vector = _additive(made.attention.score)
                scores.append(vector @ np.tanh(u @ asked + y @ read))
        weights = np.exp(scores) / np.exp(scores).sum()
    r = weights @ annotations
    if kind == "attentive":
        kernel = np.array(made.joint.kernel)
        r = np.tanh(r @ kernel[: 2 * UNITS] + u @ kernel[2 * UNITS :])
    logits = r @ np.array(made.answers.kernel)
    present = [FIRST + at in passage for at in range(E)]
    return np.where(present, logits, -np.inf), np.pad(weights, (0, P - len(passage)))


def _additive(score):
    return (
        np.array(score.query_kernel),
        np.array(score.key_kernel),
        np.array(score.v),
    )


@pytest.mark.parametrize(("kind", "attention"), READERS)
def test_answers_and_weights_are_the_papers(kind, attention):
    made, (passage, query) = build(kind, attention), batch()
    found = made.read(passage, query)
    np.testing.assert_array_equal(made({"passage": passage, "query": query}), found.logits)
    for row in range(B):
        logits, weights = oracle(made, kind, attention, passage[row], query[row])
        present = np.isfinite(logits)
        np.testing.assert_array_equal(found.candidates[row], present)
        np.testing.assert_allclose(np.array(found.logits[row])[present], logits[present], rtol=1e-3)
        assert (np.array(found.logits[row])[~present] == model.NEVER).all()
        np.testing.assert_allclose(found.weights[row], weights, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("kind", "attention"), READERS)
def test_more_padding_changes_nothing_and_nothing_can_be_read(kind, attention):
    made, (passage, query) = build(kind, attention), batch()
    found = made.read(passage, query)
    wider = made.read(np.pad(passage, ((0, 0), (0, 3))), np.pad(query, ((0, 0), (0, 2))))
    np.testing.assert_allclose(wider.logits, found.logits, rtol=1e-5)
    assert not np.array(wider.weights[:, P:]).any()
    nothing = made.read(np.zeros((2, 1), np.int32), np.zeros((2, 1), np.int32))
    assert np.isfinite(nothing.logits).all() and not np.array(nothing.candidates).any()
    assert not np.array(nothing.weights).any()


def test_only_entities_of_the_passage_are_answered_in_training_too():
    made, (passage, query) = build(), batch()
    answers = np.full(B, 1, np.int32)
    made.fit({"passage": passage, "query": query}, answers, batch_size=B, epochs=2, verbose=0)
    told = np.array(made({"passage": passage, "query": query}))[2]
    assert told[0] == model.NEVER and (told[1:] > model.NEVER).all()


def test_a_gradient_reaches_every_weight():
    import tensorflow as tf

    for kind, attention in READERS:
        made, (passage, query) = build(kind, attention), batch()
        with tf.GradientTape() as tape:
            logits = made({"passage": passage, "query": query}, training=True)
            loss = tf.reduce_sum(
                tf.nn.sparse_softmax_cross_entropy_with_logits(np.full(B, 1), logits)
            )
        for each in tape.gradient(loss, made.trainable_variables):
            gradient = tf.convert_to_tensor(each).numpy()
            assert np.isfinite(gradient).all() and gradient.any()


def test_other_markers_give_other_numbers_to_a_reader_that_knows_them():
    """So dealing them in training matters: nothing in the form of the model makes them equal."""
    made, (passage, query) = build(), batch()
    answers = np.full(B, 1, np.int32)
    dealt, asked, _ = permute((passage, query), answers, FACTS.encoder(), np.random.default_rng(5))
    same, other = made.read(passage, query).weights, made.read(dealt, asked).weights
    assert not np.allclose(same, other, atol=1e-3)


@pytest.mark.parametrize(("kind", "attention"), READERS)
def test_saved_and_loaded_it_gives_the_same_logits(kind, attention, tmp_path):
    made, (passage, query) = build(kind, attention), batch()
    made.fit({"passage": passage, "query": query}, np.full(B, 1, np.int32), verbose=0)
    made.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again.read(passage, query).logits, made.read(passage, query).logits
    )
