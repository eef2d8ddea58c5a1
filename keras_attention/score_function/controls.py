"""What estimators are to be measured against: two biased ones, and the exact gradient."""

from __future__ import annotations

import keras
from keras import ops

from keras_attention import normalizers
from keras_attention.score_function.choices import active
from keras_attention.score_function.estimator import Estimator, without_value

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class StraightThrough(Estimator):
    """Reads the choice, and has the gradient of the mean: biased.

    `read = choice + weights - stop_gradient(weights)`

    Args:
        samples: How many samples to take of each example.

    Reference: Bengio, Léonard & Courville, 2013, Estimating or Propagating Gradients Through
    Stochastic Neurons for Conditional Computation, https://arxiv.org/abs/1308.3432.
    """

    def relax(self, chosen, weights, perturbed):
        return chosen + without_value(weights)

    def objective(self, loss, step):
        return loss


@register
class GumbelSoftmax(Estimator):
    """Reads a softmax of the noisy log-weights, which is near a choice where it is cold: biased.

    `read = softmax((log(weights) + gumbel) / temperature)`

    Args:
        temperature: How soft the softmax is.
        straight_through: Whether to read the choice itself, with this softmax's gradient.
        samples: How many samples to take of each example.

    Reference: Jang, Gu & Poole, 2017, Categorical Reparameterization with Gumbel-Softmax,
    https://arxiv.org/abs/1611.01144 (eqs. 1 and 2, section 2.2); Maddison, Mnih & Teh, 2017, The
    Concrete Distribution, https://arxiv.org/abs/1611.00712.
    """

    def __init__(self, temperature=1.0, straight_through=False, samples=1, **kwargs):
        super().__init__(samples, **kwargs)
        if temperature <= 0.0:
            raise ValueError(
                f"`temperature` must be positive. Received: temperature={temperature!r}."
            )
        self.temperature = temperature
        self.straight_through = straight_through

    def relax(self, chosen, weights, perturbed):
        soft = normalizers.softmax(perturbed / self.temperature, weights > 0.0)
        return chosen + without_value(soft) if self.straight_through else soft

    def objective(self, loss, step):
        return loss

    def get_config(self):
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "straight_through": self.straight_through,
        }


@register
class Enumeration(Estimator):
    """The exact gradient: every sequence of choices is made once, and counts as it is probable.

    `loss = sum_s p(choices_s) cost_s`, over `num_values ** num_choices` sequences

    An oracle for small models, with lengths known beforehand. What other random numbers do, such as
    dropout's and semi-sampling's, is not enumerated.

    Args:
        num_values: How many values a choice is among.
        num_choices: How many choices are made of an example, by all layers together.
    """

    def __init__(self, num_values, num_choices=1, **kwargs):
        super().__init__(num_values**num_choices, **kwargs)
        self.num_values = num_values
        self.num_choices = num_choices

    def codes(self, rows, choices):
        # A sequence's number, written in base `num_values`, has a digit for each of its choices.
        collector = active()
        earlier = [] if collector is None else collector.choices
        made = sum(choice.log_prob.shape[1] for choice in earlier)
        number = ops.arange(rows, dtype="int32") % self.samples // self.num_values**made
        digits = self.num_values ** ops.arange(choices, dtype="int32")
        return number[:, None] // digits

    def choose(self, weights, perturbed, code):
        if weights.shape[-1] not in (None, self.num_values):
            raise ValueError(
                "A choice among other than `num_values` values cannot be enumerated. "
                f"Received: num_values={self.num_values}, weights.shape={tuple(weights.shape)}."
            )
        chosen = ops.one_hot(code % self.num_values, self.num_values, dtype=weights.dtype)
        return chosen, code // self.num_values

    def objective(self, loss, step):
        made = sum(choice.log_prob.shape[1] for choice in step.choices)
        if made != self.num_choices:
            raise ValueError(
                "`num_choices` must be how many choices the model makes of an example, by all "
                f"layers together. Received: num_choices={self.num_choices}, choices made: {made}."
            )
        log_prob = sum(ops.sum(choice.log_prob, axis=1) for choice in step.choices)
        prob = self.groups(ops.exp(log_prob))  # (B, S)
        # A choice among nothing, such as a masked step's, has probability 1 under every digit.
        prob = ops.divide_no_nan(prob, ops.stop_gradient(ops.sum(prob, axis=1, keepdims=True)))
        prob = ops.reshape(prob, (-1,))
        score = step.credited.factor * self.samples * ops.stop_gradient(step.credited.total())
        loss = loss + without_value(ops.sum(score * prob))
        if step.own is None:
            return loss
        # In the compiled loss all sequences count alike.
        change = step.own.factor * (ops.stop_gradient(prob) * self.samples - 1.0)
        return loss + ops.sum(change * step.own.total())
