"""What each example, and each step of it, cost, read off the losses that `compile` was given."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention import precision
from keras_attention.score_function.choices import Choice


class Costs(NamedTuple):
    """The costs of a batch in the units of its loss: `loss = factor * sum(values)`."""

    values: Any  # (B * S, T), of each step, under sample weights and masks
    weights: Any  # (B * S, T), these weights
    factor: Any  # (), one over the number of examples or steps, where the loss is their mean
    whole: int  # how many of the T, 0 or 1, are no steps but the last costs of an example as such

    def total(self):
        """The cost of each example: (B * S,)."""
        return ops.sum(self.values, axis=1)


class Credit(NamedTuple):
    """What a choice is credited with."""

    returns: Any  # (B * S, T), or (B * S, 1) alike for all choices: the cost that followed
    remaining: Any  # of this shape: how many steps, or what weight, that cost is the sum of
    critic: Any  # of this shape: what followed in the critic's pass, where there was one


def measure(loss, loss_weights, y, y_pred, sample_weight) -> Costs:
    """The costs of a batch under losses as `compile` takes them.

    Args:
        loss: A loss, by name, function or object; or a dict or list of them, one an output.
        loss_weights: A number, or a dict or list of them; or `None`.
        y: Targets, in the structure of the outputs.
        y_pred: Outputs.
        sample_weight: Sample weights, in the structure of the outputs, or one for all; or `None`.

    Returns:
        `Costs`. The costs of several outputs are summed step by step, and an output that has one
        cost an example has it after the last step.
    """
    names: list[Any] = [None]
    if keras.tree.is_nested(y_pred):
        names = list(y_pred) if isinstance(y_pred, dict) else list(range(len(y_pred)))

    def of(tree, name):
        if not keras.tree.is_nested(tree):
            return tree
        if name is None:
            return keras.tree.flatten(tree)[0]
        return tree.get(name) if isinstance(tree, dict) else tree[name]

    measured = [
        _measure(*(of(each, name) for each in (loss, loss_weights, y, y_pred, sample_weight)))
        for name in names
        if of(loss, name) is not None
    ]
    return measured[0] if len(measured) == 1 else _sum(measured)


def _measure(loss, loss_weight, y, y_pred, sample_weight):
    loss = loss if isinstance(loss, keras.losses.Loss) else _Function(keras.losses.get(loss))
    arguments = y, y_pred, sample_weight
    values = _with(loss, reduction=None)(*arguments)
    if len(values.shape) == 0:
        raise ValueError(
            "A loss that choices are credited with must have one value an example, or one a step. "
            f"Received: {loss!r}, which gives a scalar."
        )
    # The loss of ones, by all its ways of weighing, masking and reducing, says what these are.
    ones = _with(loss, call=lambda y, y_pred: ops.ones_like(values))
    weights = _with(ones, reduction=None)(*arguments)
    factor = ops.divide_no_nan(ones(*arguments), ops.sum(weights))
    if loss_weight is not None:
        factor = factor * loss_weight
    values, weights, factor = (
        ops.cast(each, precision.of_losses()) for each in (values, weights, factor)
    )
    values, weights = (_over_steps(each) for each in (values, weights))
    return Costs(values, weights, factor, whole=int(values.shape[1] == 1))


class _Function(keras.losses.Loss):
    """A loss function as Keras makes a loss of it."""

    def __init__(self, function):
        super().__init__(name="function")
        self.function = function

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred)


def _with(loss, **attributes):
    """The loss with other attributes. `copy.copy` would save and load it, and lose the attributes
    that its config does not have."""
    other = object.__new__(type(loss))
    other.__dict__.update(loss.__dict__, **attributes)
    return other


def _over_steps(values):
    """One value a step, (B, T), which is (B, 1) where there is one an example."""
    rank = len(values.shape)
    if rank == 1:
        return ops.expand_dims(values, 1)
    return values if rank == 2 else ops.sum(values, axis=tuple(range(2, rank)))


def _sum(several):
    """The costs of all outputs together, in the units of the first with steps."""
    over_steps = [costs for costs in several if not costs.whole]
    wholes = [costs for costs in several if costs.whole]
    first = (over_steps or wholes)[0]

    def total(costs):
        return sum(ops.divide_no_nan(c.factor, first.factor) * c.values for c in costs)

    if not (over_steps and wholes):
        return first._replace(values=total(several))
    values = ops.concatenate([total(over_steps), total(wholes)], axis=1)
    weights = ops.pad(first.weights, ((0, 0), (0, 1)))
    return Costs(values, weights, first.factor, whole=1)


def assign(choice: Choice, costs: Costs, critic: Costs | None, to_go: bool) -> Credit:
    """The cost that followed a choice: from its step on if it was made in time, else all of it."""
    every = [costs.values, costs.weights, None if critic is None else critic.values]
    num_choices, num_columns = choice.log_prob.shape[1], costs.values.shape[1]
    if not (to_go and choice.in_time) or num_columns == costs.whole:
        return Credit(*(each if each is None else _total(each) for each in every))
    if None not in (num_choices, num_columns) and num_choices != num_columns - costs.whole:
        raise ValueError(
            "Choices that are made step by step must be as many as the steps of the loss, so that "
            "each is credited with the cost that follows it; if they belong to steps of another "
            'kind, use `credit="total"`. '
            f"Received: {num_choices} choices and {num_columns - costs.whole} steps."
        )
    steps = ops.shape(choice.log_prob)[1]
    return Credit(*(each if each is None else _from_here_on(each)[:, :steps] for each in every))


def _total(values):
    return ops.sum(values, axis=1, keepdims=True)


def _from_here_on(values):
    return ops.flip(ops.cumsum(ops.flip(values, axis=1), axis=1), axis=1)
