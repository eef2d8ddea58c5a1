"""What all estimators have in common: how a choice is made, and the score-function gradient."""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from keras_attention.score_function.choices import Choice
from keras_attention.score_function.costs import Costs, Credit


class Step(NamedTuple):
    """All that an estimator sees of a training step."""

    choices: list[Choice]
    credits: list[Credit]  # one for each of the choices
    credited: Costs  # what the choices are credited with
    own: Costs | None  # what the compiled loss is the mean of; the same, unless there is a `cost`


def choose(weights, perturbed, code):
    """Chooses the value that is largest after noise.

    Args:
        weights: Tensor of shape (B, Tq, Tv), the probability of each value, float32.
        perturbed: Tensor of shape (B, Tq, Tv), `log(weights) + gumbel`.
        code: Tensor of shape (B, Tq), as `Estimator.codes` gave it, or after the choice before.

    Returns:
        The choice, 1 for one value and 0 for all others, (B, Tq, Tv); and the next code.
    """
    chosen = ops.argmax(perturbed, axis=-1)
    return ops.one_hot(chosen, ops.shape(weights)[-1], dtype=weights.dtype), code


def without_value(loss):
    """A term that is 0 and has the gradient of `loss`, so that the loss shown is the cost."""
    return loss - ops.stop_gradient(loss)


class Estimator(keras.layers.Layer):
    """The base of all estimators, never used by itself.

    A member overrides `baseline`, or where it is no matter of baselines, another of the methods.

    Args:
        samples: How many samples to take of each example. The model then runs on batches of B * S
            rows, the S copies of an example side by side.
    """

    needs_critic = False  # whether the model runs once more, as at inference

    def __init__(self, samples=1, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(samples, int) or samples < 1:
            raise ValueError(
                f"`samples` must be a positive integer. Received: samples={samples!r}."
            )
        self.samples = samples

    def build(self, widths):
        """Makes the weights, given the widths F of the features of all choices of a model."""
        self.widths = list(widths)

    def codes(self, rows, choices):
        """What goes with an example from choice to choice, for `choices` side by side: integers of
        shape (rows, choices)."""
        return ops.zeros((rows, choices), "int32")

    def choose(self, weights, perturbed, code):
        """Makes a choice: see the function `choose`."""
        return choose(weights, perturbed, code)

    def relax(self, chosen, weights, perturbed):
        """What is read in place of the choice: the choice, through which no gradient goes."""
        del weights, perturbed
        return chosen

    def baseline(self, index, choice, credit):
        """What the choices, the model's number `index`, are expected to cost: broadcasts to
        (B * S, T). It must not depend on them, or the gradient is biased."""
        raise NotImplementedError(f"{type(self).__name__} must define `baseline`.")

    def objective(self, loss, step):
        """The loss to descend, given the compiled loss and a `Step`."""
        score = 0.0
        for index, (choice, credit) in enumerate(zip(step.choices, step.credits, strict=True)):
            advantage = credit.returns - self.baseline(index, choice, credit)
            score = score + ops.sum(ops.stop_gradient(advantage) * choice.log_prob)
        return loss + without_value(step.credited.factor * score)

    def groups(self, values):
        """The S samples of an example beside each other: (B * S, …) -> (B, S, …)."""
        return ops.reshape(values, (-1, self.samples, *ops.shape(values)[1:]))

    def get_config(self):
        return {**super().get_config(), "samples": self.samples}

    def get_build_config(self):
        return {"widths": self.widths} if self.built else None

    def build_from_config(self, config):
        self.build(config["widths"])


def two_or_more(estimator):
    """Refuses a single sample."""
    if estimator.samples < 2:
        raise ValueError(
            f"`{type(estimator).__name__}` compares the samples of an example with each other, so "
            f"`samples` must be at least 2. Received: samples={estimator.samples}."
        )
