"""The memory network and its controls against loops over the paper's equations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from applications.question_answering import model
from applications.question_answering.config import QuestionAnsweringConfig
from applications.question_answering.data import Facts
from applications.training.text import VocabularyTokenizer
from keras_attention import compile

B, M, J, K, UNITS = 6, 5, 3, 2, 7
WORDS = tuple("abcdefghi")
FACTS = Facts(VocabularyTokenizer("words", WORDS, True), WORDS[:4], M, J, "a b c. d e", "f")
CONFIG = QuestionAnsweringConfig(
    units=UNITS, num_hops=K, epochs=3, linear_start=0, batch_size=B, noise=0.0
)


def build(**changes):
    made = model.build(QuestionAnsweringConfig(**{**vars(CONFIG), **changes}), FACTS)
    model.initialize(made, seed=3, training=0)
    for each in made.trainable_variables:
        each.assign(5.0 * each)  # weights far from uniform
    return made


def batch():
    draw = np.random.default_rng(1)
    story = draw.integers(4, 13, (B, M, J)).astype("int32")
    story[0, 3:] = 0  # two sentences short
    story[1, :, 2:] = 0  # short sentences
    question = draw.integers(4, 13, (B, J)).astype("int32")
    question[2, 1:] = 0
    return {"story": story, "question": question}, draw.integers(4, 8, B).astype("int32")


def sentence(ids, table, encoding):
    """A sentence as the sum of its words, weighed by the paper's authors' formula or not."""
    total, length = np.zeros(UNITS), J + 1
    for j, word in enumerate(ids, start=1):
        for k in range(1, UNITS + 1):
            weight = 1 + 4 * (j - (length + 1) / 2) * (k - (UNITS + 1) / 2) / (length * UNITS)
            if word:
                total[k - 1] += table[word, k - 1] * (weight if encoding == "position" else 1.0)
    return total


def oracle(tables, story, question, attention, encoding):
    """Logits and weights of one question: A_1 = B, A_{k+1} = C_k, W = C_K.

    To the softmax, places without a sentence have a score of 0, and nothing is read of them.
    """
    told = [list(ids) for ids in story if any(ids)]
    timed = [ids + [13 + len(told) - 1 - at] for at, ids in enumerate(told)]
    u, all_weights = sentence(question, tables[0], encoding), []
    for k in range(0 if attention == "none" else K):
        scores = np.array([u @ sentence(ids, tables[k], encoding) for ids in timed])
        scores = np.pad(scores, (0, M - len(timed)))
        weights = np.exp(scores) / np.exp(scores).sum()
        if attention == "uniform":
            weights = np.pad(np.full(len(timed), 1 / len(timed)), (0, M - len(timed)))
        u = u + sum(
            p * sentence(ids, tables[k + 1], encoding)
            for p, ids in zip(weights, timed, strict=False)
        )
        all_weights.append(weights)
    return tables[-1][:13] @ u, np.array(all_weights).reshape(-1, M)


@pytest.mark.parametrize("encoding", ["position", "bag"])
@pytest.mark.parametrize("attention", ["softmax", "uniform", "none"])
def test_answers_and_weights_are_the_papers(attention, encoding):
    made = build(attention=attention, encoding=encoding)
    tables = [np.array(each) for each in made.trainable_variables]
    assert len(tables) == (2 if attention == "none" else K + 1)
    inputs, _ = batch()
    found = made.answer(**inputs)
    assert found.weights.shape == (B, 0 if attention == "none" else K, M)
    for row in range(B):
        logits, weights = oracle(
            tables, inputs["story"][row], inputs["question"][row], attention, encoding
        )
        np.testing.assert_allclose(found.logits[row], logits, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.weights[row], weights, rtol=1e-3, atol=1e-5)


def test_a_step_is_the_papers_with_the_loss_summed_and_each_gradient_clipped(monkeypatch):
    monkeypatch.setattr(model, "CLIP", 2.0)
    made = build(learning_rate=0.03)
    inputs, answers = batch()
    before = [np.array(each) for each in made.trainable_variables]
    with tf.GradientTape() as tape:
        logits = tf.cast(made(inputs), tf.float64)
        every = tf.nn.sparse_softmax_cross_entropy_with_logits(answers, logits)
        summed = tf.reduce_sum(every)
    sparse = tape.gradient(summed, made.trainable_variables)
    gradients = [tf.convert_to_tensor(each).numpy() for each in sparse]
    norms = [np.linalg.norm(each) for each in gradients]
    assert min(norms) > 2.0
    made.fit(inputs, answers, batch_size=B, verbose=0)
    for variable, old, gradient, norm in zip(
        made.trainable_variables, before, gradients, norms, strict=True
    ):
        step = 0.03 * gradient * min(1.0, 2.0 / norm)
        np.testing.assert_allclose(old - np.array(variable), step, rtol=1e-3, atol=1e-5)


def test_under_xla_it_trains_the_same():
    inputs, answers = batch()
    losses = []
    for enabled in (False, True):
        compile.set_xla(enabled)
        made = build()
        assert made.jit_compile == enabled
        losses.append(made.fit(inputs, answers, batch_size=B, epochs=2, verbose=0).history["loss"])
    compile.set_xla(False)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_noise_moves_times_in_training_only():
    made = build(noise=1.0)
    inputs, _ = batch()
    fixed, again = (np.array(made(inputs)) for _ in range(2))
    np.testing.assert_array_equal(fixed, again)
    assert (np.array(made(inputs, training=True)) != fixed).any()


def test_initial_weights_follow_from_the_seed_and_the_number_of_the_training():
    made = build()

    def drawn(seed, training):
        model.initialize(made, seed, training)
        return np.concatenate([np.ravel(each) for each in made.trainable_variables])

    first = drawn(1, 0)
    np.testing.assert_array_equal(first, drawn(1, 0))
    assert (first != drawn(1, 1)).all() and (first != drawn(2, 0)).all()
    assert abs(first.std() - 0.1) < 0.02 and abs(first.mean()) < 0.02


@pytest.mark.parametrize("attention", ["softmax", "uniform", "none"])
def test_saved_and_loaded_it_gives_the_same_logits(attention, tmp_path):
    made = build(attention=attention)
    made.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    inputs, _ = batch()
    np.testing.assert_array_equal(again(inputs), made(inputs))


def test_parts_of_a_batch_are_summed_as_the_whole_is():
    whole = build(batch_size=12).optimizer
    parts = build(batch_size=6, accumulate=2).optimizer
    assert float(parts.learning_rate) == float(whole.learning_rate)
    assert parts.inner_optimizer.clipnorm == whole.clipnorm
