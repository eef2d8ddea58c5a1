"""How much an estimator's gradient scatters: its mean and variance over draws, on one batch."""

from __future__ import annotations

import keras
from keras import ops

from keras_attention.score_function.model import ScoreFunctionModel


class GradientMoments(keras.optimizers.Optimizer):
    """Moves no variable, and sums up the gradients and their squares."""

    def __init__(self):
        super().__init__(learning_rate=0.0, name="gradient_moments")

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.sums = self.add_optimizer_variables(variables, "sum")
            self.squares = self.add_optimizer_variables(variables, "square")

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, variable.dtype)
        self.assign_add(self.sums[index], gradient)
        self.assign_add(self.squares[index], ops.square(gradient))


def gradient_moments(trainer, x, y, sample_weight=None, repeats=100, estimator=None):
    """The gradient's mean and variance over draws, with all weights as they are.

    No weight and no other state is changed, neither the model's nor the estimator's.

    Args:
        trainer: A compiled `ScoreFunctionModel`.
        x: Inputs of one batch.
        y: Targets of this batch.
        sample_weight: Sample weights of this batch, or `None`.
        repeats: How many times to draw, at least 2.
        estimator: An `Estimator` to measure instead of the trainer's, with the same model, loss,
            cost and credit. Its own weights are not trained here.

    Returns:
        A dict from the path of each of the model's trainable variables to a pair of arrays of its
        shape: the mean, and the variance of a single gradient.

    Example:

    >>> inputs = [keras.Input((3, 4)), keras.Input((5, 4))]
    >>> attention = HardAttention(DotScore(trainable_scale=True))
    >>> trainer = ScoreFunctionModel(
    ...     keras.Model(inputs, attention(*inputs)), score_function.Reinforce()
    ... )
    >>> trainer.compile(loss="mse")
    >>> x = [keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 4))]
    >>> moments = gradient_moments(trainer, x, keras.ops.ones((2, 3, 4)), repeats=2)
    >>> [mean.shape for mean, variance in moments.values()]
    [()]
    """
    if repeats < 2:
        raise ValueError(f"A variance takes at least 2 `repeats`. Received: repeats={repeats!r}.")
    probe = _probe(trainer, trainer.estimator if estimator is None else estimator)
    return _measure(probe, x, y, sample_weight, repeats)


class GradientVariance(keras.callbacks.Callback):
    """Reports how much the gradient scatters, at the end of each epoch, on one batch.

    In the logs, `gradient_variance` is the variance of one gradient, summed over all weights of the
    model; or, where estimators are given, `gradient_variance_NAME` is that of each. What is trained
    by one estimator can so be measured under all; of their own weights, only those of the
    trainer's estimator are trained.

    Args:
        x: Inputs of one batch.
        y: Targets of this batch.
        sample_weight: Sample weights of this batch, or `None`.
        estimators: A dict of estimators by name, or `None` for the trainer's own.
        repeats: How many times to draw, at least 2.
        variables: The variables whose gradients count, such as
            `attention.score.trainable_variables`; all of the model's unless given.

    Example:

    >>> callback = GradientVariance(
    ...     keras.ops.ones((2, 3)),
    ...     keras.ops.ones((2, 1)),
    ...     estimators={
    ...         "reinforce": score_function.Reinforce(),
    ...         "leave_one_out": score_function.LeaveOneOut(samples=4),
    ...     },
    ... )
    """

    def __init__(self, x, y, sample_weight=None, estimators=None, repeats=64, variables=None):
        super().__init__()
        if repeats < 2:
            raise ValueError(
                f"A variance takes at least 2 `repeats`. Received: repeats={repeats!r}."
            )
        self.x, self.y, self.sample_weight = x, y, sample_weight
        self.estimators = estimators
        self.repeats = repeats
        self.variables = variables

    def on_train_begin(self, logs=None):
        if not isinstance(self.model, ScoreFunctionModel):
            raise ValueError(
                "`GradientVariance` measures a `ScoreFunctionModel` while it trains. "
                f"Received: model={self.model!r}."
            )
        named = self.estimators
        if named is None:
            named = {"": self.model.estimator}
        self.probes = {name: _probe(self.model, estimator) for name, estimator in named.items()}

    def on_epoch_end(self, epoch, logs=None):
        wanted = None if self.variables is None else {each.path for each in self.variables}
        for name, probe in self.probes.items():
            moments = _measure(probe, self.x, self.y, self.sample_weight, self.repeats)
            variances = [
                float(variance.sum())
                for path, (_, variance) in moments.items()
                if wanted is None or path in wanted
            ]
            if logs is not None:
                logs["gradient_variance" + (f"_{name}" if name else "")] = sum(variances)


def _probe(trainer, estimator):
    """A trainer of the same model that measures instead of training."""
    probe = ScoreFunctionModel(
        trainer.model, estimator, trainer.cost, trainer.credit, trainer.entropy_bonus
    )
    probe.compile(
        GradientMoments(),
        trainer.loss,
        trainer.loss_weights,
        run_eagerly=trainer.run_eagerly,
        jit_compile=trainer.jit_compile,
        auto_scale_loss=False,
    )
    return probe


def _measure(probe, x, y, sample_weight, repeats):
    moments = probe.optimizer
    if not moments.built:
        probe(x)  # builds the estimator
        moments.build(probe.trainable_variables)
    for each in (*moments.sums, *moments.squares):
        each.assign(ops.zeros(each.shape, each.dtype))
    states = [ops.convert_to_numpy(each) for each in probe.non_trainable_variables]
    for _ in range(repeats):
        probe.train_on_batch(x, y, sample_weight)
    for variable, state in zip(probe.non_trainable_variables, states, strict=True):
        variable.assign(state)
    measured = {}
    of_model = {each.path for each in probe.model.trainable_variables}
    for variable, *moment in zip(
        probe.trainable_variables, moments.sums, moments.squares, strict=True
    ):
        if variable.path in of_model:
            total, squares = (ops.convert_to_numpy(each).astype("float64") for each in moment)
            mean = total / repeats
            variance = (squares - repeats * mean**2) / (repeats - 1)
            measured[variable.path] = mean, variance.clip(min=0.0)  # Rounding may fall below 0.
    return measured
