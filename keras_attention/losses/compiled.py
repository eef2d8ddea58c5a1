"""The losses for `compile`, on a model of which the weights are an output."""

from __future__ import annotations

import keras
from keras import ops

from keras_attention import precision
from keras_attention.losses.functions import (
    coverage,
    doubly_stochastic,
    entropy,
    guided_alignment,
    over_pairs,
)

register = keras.saving.register_keras_serializable(package="keras_attention")


class AttentionLoss(keras.losses.Loss):
    """What the losses for `compile` have in common; never used by itself.

    The mean is over what has a sample weight, which is 0 where a step is padding.
    """

    def __init__(self, name, reduction):
        super().__init__(name=name, reduction=reduction, dtype=precision.of_losses())


@register
class GuidedAlignmentLoss(AttentionLoss):
    """Teaches the weights a known alignment: see `guided_alignment`.

    Args:
        squared: Whether to compare by squared error instead of cross-entropy.
        name: Name of the loss.
        reduction: How Keras reduces (B, T); by default to the mean over sample weights.

    Call arguments:
        y_true: The alignment, of shape (B, T, Tv).
        y_pred: Weights of shape (B, T, Tv).
        sample_weight: Tensor of shape (B, T), 0 at padded steps.

    Returns:
        A scalar, unless `reduction` says otherwise.

    Example:

    >>> query, value = keras.Input((3, 4)), keras.Input((5, 4))
    >>> context, weights = AdditiveSoftAttention(7)(query, value, return_attention_scores=True)
    >>> model = keras.Model([query, value], {"context": context, "weights": weights})
    >>> model.compile(
    ...     loss={"context": "mse", "weights": GuidedAlignmentLoss()},
    ...     loss_weights={"context": 1.0, "weights": 0.5},
    ... )
    >>> x = [keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 4))]
    >>> y = {"context": keras.ops.ones((2, 3, 4)), "weights": keras.ops.ones((2, 3, 5)) / 5}
    >>> real = keras.ops.array([[1, 1, 1], [1, 1, 0]])
    >>> round(model.evaluate(x, y, sample_weight={"context": real, "weights": real}, verbose=0,
    ...                      return_dict=True)["weights_loss"], 3)  # log 5
    1.609

    Reference: Chen, Matusov, Khadivi & Peter, 2016, https://arxiv.org/abs/1607.01628.
    """

    def __init__(self, squared=False, name="guided_alignment", reduction="mean_with_sample_weight"):
        super().__init__(name, reduction)
        self.squared = squared

    def call(self, y_true, y_pred):
        return guided_alignment(y_true, y_pred, squared=self.squared)

    def get_config(self):
        return {**super().get_config(), "squared": self.squared}


class StepLoss(AttentionLoss):
    """A loss a step, of weights alone: in place of a truth, `y_true` says which steps are real."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        pairs = ops.broadcast_to(over_pairs(ops.convert_to_tensor(y_true)), ops.shape(y_pred))
        real = ops.cast(ops.any(pairs, axis=-1), self.dtype)  # (B, T)
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight, dtype=self.dtype)
            of_sequences = len(sample_weight.shape) == 1
            real = real * (sample_weight[:, None] if of_sequences else sample_weight)
        return super().__call__(y_true, y_pred, real)


@register
class CoverageLoss(StepLoss):
    """Keeps steps from reading again what was read before: see `coverage`.

    Args:
        name: Name of the loss.
        reduction: How Keras reduces (B, T); by default to the mean over real steps.

    Call arguments:
        y_true: No truth is needed: the mask, over steps, (B, T), or pairs, (B, T, Tv).
        y_pred: Weights of shape (B, T, Tv).
        sample_weight: Tensor of shape (B, T) or (B,), if steps or sequences count differently.

    Returns:
        A scalar, unless `reduction` says otherwise.

    Example:

    >>> weights = keras.ops.array([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]])
    >>> float(CoverageLoss()(keras.ops.array([[True, True, False]]), weights))
    0.5

    Reference: See, Liu & Manning, 2017, https://arxiv.org/abs/1704.04368 (eqs. 10, 12 and 13; there
    the factor is 1).
    """

    def __init__(self, name="coverage", reduction="mean_with_sample_weight"):
        super().__init__(name, reduction)

    def call(self, y_true, y_pred):
        return coverage(y_pred, y_true)


@register
class EntropyLoss(StepLoss):
    """Sharpens the weights or, under a negative loss weight, spreads them: see `entropy`.

    Args:
        name: Name of the loss.
        reduction: How Keras reduces (B, T); by default to the mean over real steps.

    Call arguments:
        y_true: No truth is needed: the mask, over steps, (B, T), or pairs, (B, T, Tv).
        y_pred: Weights of shape (B, T, Tv).
        sample_weight: Tensor of shape (B, T) or (B,), if steps or sequences count differently.

    Returns:
        A scalar, unless `reduction` says otherwise.

    Example:

    >>> weights = keras.ops.array([[[0.5, 0.5], [0.25, 0.75]]])
    >>> round(float(EntropyLoss()(keras.ops.array([[True, False]]), weights)), 3)
    0.693
    """

    def __init__(self, name="entropy", reduction="mean_with_sample_weight"):
        super().__init__(name, reduction)

    def call(self, y_true, y_pred):
        return entropy(y_pred, y_true)


@register
class DoublyStochasticLoss(AttentionLoss):
    """Has every value read alike over all steps together: see `doubly_stochastic`.

    Args:
        tau: How much each value is to be read.
        name: Name of the loss.
        reduction: How Keras reduces (B,); by default to the mean over sample weights.

    Call arguments:
        y_true: No truth is needed: the mask, over steps, (B, T), or pairs, (B, T, Tv).
        y_pred: Weights of shape (B, T, Tv).
        sample_weight: Tensor of shape (B,), if sequences count differently.

    Returns:
        A scalar, unless `reduction` says otherwise.

    Example:

    >>> weights = keras.ops.array([[[0.75, 0.25], [0.75, 0.25], [1.0, 0.0]]])
    >>> float(DoublyStochasticLoss()(keras.ops.array([[True, True, False]]), weights))
    0.5

    Reference: Xu et al., 2015, https://arxiv.org/abs/1502.03044 (eq. 14, whose lambda is a loss
    weight here).
    """

    def __init__(self, tau=1.0, name="doubly_stochastic", reduction="mean_with_sample_weight"):
        super().__init__(name, reduction)
        self.tau = tau

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight, dtype=self.dtype)
            if sample_weight.shape[1:] not in ((), (1,)):
                raise ValueError(
                    "`sample_weight` must have one entry a sequence, as the loss is a sum over its "
                    "steps; steps are masked by `y_true`. "
                    f"Received: sample_weight.shape={tuple(sample_weight.shape)}."
                )
        # A new tensor, on which no mask rides: Keras would apply one over steps to sequences.
        weights = ops.where(over_pairs(ops.convert_to_tensor(y_true)), y_pred, 0.0)
        return super().__call__(y_true, weights, sample_weight)

    def call(self, y_true, y_pred):
        return doubly_stochastic(y_pred, y_true, self.tau)

    def get_config(self):
        return {**super().get_config(), "tau": self.tau}
