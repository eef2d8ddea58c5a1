"""VIMCO: a bound on the likelihood that takes several samples together."""

from __future__ import annotations

import math

import keras
from keras import ops

from keras_attention.score_function.estimator import Estimator, two_or_more, without_value

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class VIMCO(Estimator):
    """Descends a bound that several samples give together, each against the mean of the others.

    `loss = -log(1/S sum_s exp(-cost_s))`, an upper bound of `-log sum p(choices) exp(-cost)`,
    `gradient_s = (loss - loss_{-s}) grad log p(choices_s)`, where in `loss_{-s}` the mean of the
    other samples' costs stands for `cost_s`

    The bound falls with the number of samples, and is the exact likelihood of the target in the
    end; the mean cost, which all other estimators descend, is its case S = 1. `cost` must be in
    nats: a cross-entropy, summed over the steps.

    Args:
        samples: S, how many samples to take of each example, at least 2.

    Reference: Mnih & Rezende, 2016, Variational Inference for Monte Carlo Objectives,
    https://arxiv.org/abs/1602.06725, with the prior as proposal.
    """

    def __init__(self, samples=4, **kwargs):
        super().__init__(samples, **kwargs)
        two_or_more(self)

    def objective(self, loss, step):
        if step.own is not step.credited:
            raise ValueError(
                "`VIMCO` bounds the likelihood that the compiled loss is the logarithm of, and "
                "takes no other cost. Received: a `cost`, which must be `None`."
            )
        costs = self.groups(step.own.total())  # (B, S)
        log_prob = sum(ops.sum(choice.log_prob, axis=1) for choice in step.choices)
        bound = self._bound(costs)  # (B,)
        # Each sample in turn is replaced by the mean of the others: (B, S, S).
        others = (ops.sum(costs, axis=1, keepdims=True) - costs) / (self.samples - 1.0)
        replaced = ops.where(
            ops.eye(self.samples, dtype="bool"), others[:, :, None], costs[:, None, :]
        )
        signal = ops.stop_gradient(bound[:, None] - self._bound(replaced))
        score = ops.sum(signal * self.groups(log_prob))
        gain = ops.sum(bound - ops.mean(costs, axis=1))
        return loss + step.own.factor * self.samples * (gain + without_value(score))

    def _bound(self, costs):
        return math.log(self.samples) - ops.logsumexp(-costs, axis=-1)
