"""Losses over attention weights (B, T, Tv): T target steps read Tv values.

Each is a function, which keeps one value a step or a sequence and goes into `add_loss` or a
training step of your own, and a Keras loss for `compile`, where the weights are an output of the
model. How much a loss counts is said outside: by a factor, or by `loss_weights`.

A mask is boolean, `True` = real, and covers steps, (B, T), or pairs, broadcasting to (B, T, Tv).
What is masked adds nothing. All compute in at least float32, and their gradients are finite for
weights of exactly 0 and 1.
"""

from keras_attention.losses.compiled import (
    CoverageLoss,
    DoublyStochasticLoss,
    EntropyLoss,
    GuidedAlignmentLoss,
)
from keras_attention.losses.functions import (
    coverage,
    doubly_stochastic,
    entropy,
    guided_alignment,
)

__all__ = [
    "CoverageLoss",
    "DoublyStochasticLoss",
    "EntropyLoss",
    "GuidedAlignmentLoss",
    "coverage",
    "doubly_stochastic",
    "entropy",
    "guided_alignment",
]
