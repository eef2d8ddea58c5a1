"""Our translator against the same model in PyTorch, which shares no code with it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from applications.training import text
from applications.translation.config import TranslationConfig
from applications.translation.data import Facts
from applications.translation.encoded import Encoded, Most
from applications.translation.model import build

pytest.importorskip("torch", reason="PyTorch is installed by `make benchmark` only")

from benchmarks.peers import translator_torch as peer  # noqa: E402

SOURCE_SIZE, TARGET_SIZE, SMOOTHING = 29, 23, 0.1
END_BIAS = 2.0  # so that translations differ in length


@pytest.fixture(scope="module")
def ours():
    config = TranslationConfig(
        embedding_units=5, units=7, dropout=0.0, label_smoothing=SMOOTHING, tokens="words"
    )
    sizes = (SOURCE_SIZE, TARGET_SIZE)
    words = ([f"w{i}" for i in range(size - len(text.SPECIAL))] for size in sizes)
    facts = Facts(*(text.VocabularyTokenizer("words", each, False) for each in words))
    model = build(config, facts)
    rng = np.random.default_rng(3)  # biases too, which are zero at first, and some far from it
    for weight in model.trainable_variables:
        weight.assign(rng.normal(scale=0.6, size=weight.shape))
    model.output_bias.assign(model.output_bias + np.eye(64)[text.END] * END_BIAS)
    return model


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(5)
    sources, targets = (
        [rng.integers(text.UNKNOWN, size, rng.integers(1, 11)).astype(np.int32) for _ in range(13)]
        for size in (SOURCE_SIZE, TARGET_SIZE)
    )
    encoded = Encoded([np.append(ids, text.END) for ids in sources], targets)
    return next(encoded.in_order(Most(13)).as_numpy_iterator())


def test_both_give_the_same_logits(ours, batch):
    theirs = peer.transplant(ours).eval()
    assert peer.largest_difference(theirs, ours, batch[0]) < 1e-5
    theirs.output_bias.data[7] += 0.5
    assert peer.largest_difference(theirs, ours, batch[0]) == pytest.approx(0.5, rel=1e-4)


def test_both_give_the_same_loss_and_the_same_gradients(ours, batch):
    inputs, labels, weights = batch
    trainer = peer.Trainer(peer.transplant(ours), SMOOTHING)
    expected = trainer.loss(peer.tensors({**inputs, "labels": labels}))
    expected.backward()
    with tf.GradientTape() as tape:
        loss = ours.loss(labels, ours(inputs, training=True), sample_weight=weights)
    variables = ours.trainable_variables
    gradients = [tf.convert_to_tensor(each) for each in tape.gradient(loss, variables)]

    np.testing.assert_allclose(float(loss), expected.item(), rtol=1e-5)
    kept = [variable.numpy() for variable in variables]
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign(gradient)
    renamed = peer.transplant(ours)  # Our gradients, in the places of their weights.
    for variable, value in zip(variables, kept, strict=True):
        variable.assign(value)
    named = dict(trainer.model.named_parameters())
    assert set(named) == {name for name, _ in renamed.named_parameters()}
    for name, gradient in renamed.named_parameters():
        np.testing.assert_allclose(
            gradient.detach(), named[name].grad, rtol=1e-3, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_both_beams_find_the_same_translations(ours, batch, length_penalty):
    inputs = batch[0]
    options = {"beam_width": 3, "max_length": 11, "length_penalty": length_penalty}
    found = ours.translate(
        inputs["source"], inputs["source_lengths"], early_stopping=True, **options
    )
    given = peer.tensors(inputs)
    expected = peer.beam_search(
        peer.transplant(ours),
        given["source"],
        given["source_lengths"],
        target_size=TARGET_SIZE,
        **options,
    )
    rows = zip(found.ids.numpy()[:, 0], found.lengths.numpy()[:, 0], strict=True)
    assert [ids[:length].tolist() for ids, length in rows] == expected
    assert len({len(ids) for ids in expected}) > 1  # some end early, or the test shows little
