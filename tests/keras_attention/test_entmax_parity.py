"""Sparse normalisers against the authors' own, `pip install entmax torch`, where installed."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_attention import normalizers

if keras.backend.backend() != "tensorflow":
    pytest.skip("takes gradients by TensorFlow's own means", allow_module_level=True)
torch = pytest.importorskip("torch", reason="the authors' normalisers are not installed")
entmax = pytest.importorskip("entmax", reason="the authors' normalisers are not installed")

MASK = np.array([True, False, True, True, True, True, False, True, True, True, True])


def theirs(name, scores, mask, weighing, alpha):
    """Their weights, and the gradients of a weighing of them by the scores and alpha."""
    x = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    a = torch.tensor(alpha, dtype=torch.float64, requires_grad=name == "alpha_entmax")
    z = x if mask is None else x.masked_fill(~torch.tensor(mask), -torch.inf)
    weigh = {
        "sparsemax": entmax.sparsemax,
        "entmax15": entmax.entmax15,
        "alpha_entmax": lambda each: entmax.entmax_bisect(each, a, n_iter=80),
    }[name]
    weights = weigh(z)
    (weights * torch.tensor(weighing)).sum().backward()
    slope = [] if a.grad is None else [a.grad.numpy()]
    return [weights.detach().numpy(), x.grad.numpy(), *slope]


def ours(name, scores, mask, weighing, alpha, dtype):
    import tensorflow as tf

    x, a = tf.constant(scores, dtype), tf.constant(alpha, dtype)
    options = {"alpha": a} if name == "alpha_entmax" else {}
    with tf.GradientTape() as tape:
        tape.watch([x, a])
        weights = getattr(normalizers, name)(x, mask, **options)
        loss = tf.reduce_sum(weights * tf.constant(weighing, dtype))
    gradients = tape.gradient(loss, [x, a] if options else [x])
    return [weights.numpy(), *(each.numpy() for each in gradients)]


@pytest.mark.parametrize(
    ("name", "alpha"),
    [("sparsemax", 2.0), ("entmax15", 1.5), *(("alpha_entmax", a) for a in (1.1, 1.5, 1.8, 2.0))],
)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_and_gradients_are_theirs(name, alpha, masked, dtype):
    draw = np.random.default_rng(7)
    mask = MASK if masked else None
    for scale in (0.3, 1.5, 20.0):
        scores, weighing = scale * draw.normal(size=(5, 11)), draw.normal(size=(5, 11))
        expected = theirs(name, scores, mask, weighing, alpha)
        found = ours(name, scores, mask, weighing, alpha, dtype)
        for each, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(each, other, rtol=1e-5, atol=1e-5)
