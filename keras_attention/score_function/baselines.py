"""Unbiased estimators: the score function, less what was to be expected anyway.

Whatever does not depend on a choice may be subtracted from what it cost: the mean of the gradient
stays, and its variance falls as far as the baseline foresees the cost.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_attention import precision
from keras_attention.score_function.estimator import Estimator, two_or_more, without_value

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class Reinforce(Estimator):
    """The score function as it stands, with baseline 0.

    `gradient_t = cost_t grad log p(choice_t)`

    Args:
        samples: How many samples to take of each example; the gradient is their mean.

    Reference: Williams, 1992, Simple Statistical Gradient-Following Algorithms for Connectionist
    Reinforcement Learning, Machine Learning 8 (theorem 1).
    """

    def baseline(self, index, choice, credit):
        return 0.0


@register
class MovingAverageBaseline(Estimator):
    """Subtracts what a step cost on average in the batches before, for as many steps as follow.

    `baseline_t = average * remaining_t`, and after that, over a batch,
    `average <- momentum * average + (1 - momentum) * cost / steps`

    The average is used before this batch's costs enter it, which would tie it to the choices. It
    starts at the first batch's, by a division as in Adam, and is one average for all replicas.

    Args:
        momentum: How much of the average stays. The paper has 0.9.
        samples: How many samples to take of each example.

    Reference: Xu et al., 2015, Show, Attend and Tell, https://arxiv.org/abs/1502.03044 (section
    4.1, there one average of the cost of a whole sentence).
    """

    def __init__(self, momentum=0.9, samples=1, **kwargs):
        super().__init__(samples, **kwargs)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"`momentum` must be in [0, 1). Received: momentum={momentum!r}.")
        self.momentum = momentum

    def build(self, widths):
        super().build(widths)
        self.cost, self.steps = (
            self.add_weight(
                shape=(),
                initializer="zeros",
                dtype=precision.of_losses(),
                trainable=False,
                aggregation="mean",
                name=name,
            )
            for name in ("cost", "steps")
        )

    def baseline(self, index, choice, credit):
        return ops.divide_no_nan(self.cost.value, self.steps.value) * credit.remaining

    def objective(self, loss, step):
        loss = super().objective(loss, step)
        for average, seen in (
            (self.cost, step.credited.values),
            (self.steps, step.credited.weights),
        ):
            seen = ops.stop_gradient(ops.sum(seen))
            average.assign(self.momentum * average + (1.0 - self.momentum) * seen)
        return loss

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}


@register
class LearnedBaseline(Estimator):
    """Subtracts what a small network foretells from what was known when choosing.

    `baseline_t = remaining_t f(features_t)`, where `f` is trained by
    `(cost_t / remaining_t - f(features_t))^2`

    The features of a `HardAttention` are its query: the decoder's state. No gradient of this error
    goes into the model. Each layer that chooses has a network of its own.

    Args:
        units: Width of a hidden layer with a ReLU, or `None` for a linear network.
        samples: How many samples to take of each example.

    Reference: Mnih & Gregor, 2014, Neural Variational Inference and Learning in Belief Networks,
    https://arxiv.org/abs/1402.0030 (the input-dependent baseline); Mnih, Heess, Graves &
    Kavukcuoglu, 2014, Recurrent Models of Visual Attention, https://arxiv.org/abs/1406.6247
    (section 3).
    """

    def __init__(self, units=None, samples=1, **kwargs):
        super().__init__(samples, **kwargs)
        if units is not None and (not isinstance(units, int) or units < 1):
            raise ValueError(
                f"`units` must be a positive integer or `None`. Received: units={units!r}."
            )
        self.units = units

    def build(self, widths):
        super().build(widths)
        hidden = [] if self.units is None else [self.units]
        self.networks = []
        for index, width in enumerate(widths):
            layers = [keras.layers.Dense(u, "relu", dtype=precision.of_losses()) for u in hidden]
            layers.append(
                keras.layers.Dense(1, dtype=precision.of_losses(), kernel_initializer="zeros")
            )
            network = keras.Sequential(layers, name=f"network_{index}")
            network.build((None, None, width))
            self.networks.append(network)

    def baseline(self, index, choice, credit):
        return self._foretell(index, choice) * credit.remaining

    def objective(self, loss, step):
        loss = super().objective(loss, step)
        for index, (choice, credit) in enumerate(zip(step.choices, step.credits, strict=True)):
            average = ops.divide_no_nan(credit.returns, credit.remaining)
            error = ops.square(ops.stop_gradient(average) - self._foretell(index, choice))
            error = ops.sum(ops.where(credit.remaining > 0.0, error, 0.0))
            loss = loss + without_value(step.credited.factor * error)
        return loss

    def _foretell(self, index, choice):
        return ops.squeeze(self.networks[index](choice.features), -1)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@register
class SelfCriticalBaseline(Estimator):
    """Subtracts what the model would cost by its own way of inference.

    `baseline_t = cost_t(model(x, training=False))`

    The model runs twice. At inference a `HardAttention` takes the mode, or with
    `inference="mean"` the soft mean of the values, so that this is the soft pass.

    Args:
        samples: How many samples to take of each example.

    Reference: Rennie, Marcheret, Mroueh, Ross & Goel, 2017, Self-Critical Sequence Training for
    Image Captioning, https://arxiv.org/abs/1612.00563 (section 3); Deng, Kim, Chiu, Guo & Rush,
    2018, Latent Alignment and Variational Attention, https://arxiv.org/abs/1807.03756 (the soft
    pass).
    """

    needs_critic = True

    def baseline(self, index, choice, credit):
        return credit.critic


@register
class LeaveOneOut(Estimator):
    """Subtracts from each sample's cost the mean cost of the example's other samples.

    `baseline_st = sum_{r != s} cost_rt / (samples - 1)`

    Args:
        samples: How many samples to take of each example, at least 2.

    Reference: Kool, van Hoof & Welling, 2019, Buy 4 REINFORCE Samples, Get a Baseline for Free!,
    https://openreview.net/forum?id=r1lgTGL5DE; Mnih & Rezende, 2016,
    https://arxiv.org/abs/1602.06725 (per-sample learning signals).
    """

    def __init__(self, samples=4, **kwargs):
        super().__init__(samples, **kwargs)
        two_or_more(self)

    def baseline(self, index, choice, credit):
        together = self.groups(credit.returns)
        others = ops.sum(together, axis=1, keepdims=True) - together
        return ops.reshape(others / (self.samples - 1.0), ops.shape(credit.returns))
