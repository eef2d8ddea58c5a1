"""The model that trains another one by a score-function estimator, under plain compile and fit."""

from __future__ import annotations

import contextlib

import keras
from keras import ops

from keras_attention.score_function.choices import active, collecting
from keras_attention.score_function.costs import assign, measure
from keras_attention.score_function.estimator import Estimator, Step, without_value

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class ScoreFunctionModel(keras.Model):
    """Trains a model in which layers choose at random, such as `HardAttention`.

    It computes what the model computes. In `fit`, to the compiled loss comes the estimator's term,
    which adds no value to it, only a gradient: what `fit` shows is the loss that it descends.

    The loss must have one value an example, or one a step, before it is reduced. What layers add
    by `add_loss` counts as it does otherwise, but no choice is credited with it.

    Args:
        model: A Keras model, of any kind. It, and not this one, is what to export and serve.
        estimator: An `Estimator`. Where it takes S samples of each example, all of the model runs
            on S copies of the batch.
        cost: What choices are credited with instead of the compiled loss, which then trains only
            what it reaches by itself: a function `(y_true, y_pred)` to (B,) or (B, T), a Keras
            loss, or a dict or list of them, one an output. It needs no gradient; nor does the
            compiled loss, so that a cost which alone is to be descended can be that.
        credit: "to_go", each choice of a decoder with the cost of its own step and those that
            follow, or "total", all choices with all of it. Where something after the decoder looks
            back from a step to one before it, only the latter is unbiased.
        entropy_bonus: How much the entropy of the distributions chosen from, summed over choices
            as costs are over steps, is subtracted from the loss.

    Call arguments:
        inputs: The model's inputs.
        training: Whether the model is to choose and drop.

    Returns:
        The model's outputs.

    Example:

    >>> inputs = [keras.Input((3, 4)), keras.Input((5, 4))]
    >>> outputs = keras.layers.Dense(1)(HardAttention(DotScore(trainable_scale=True))(*inputs))
    >>> model = keras.Model(inputs, outputs)
    >>> trainer = ScoreFunctionModel(model, score_function.MovingAverageBaseline())
    >>> trainer.compile("adam", "mse")
    >>> x = [keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 4))]
    >>> history = trainer.fit(x, keras.ops.ones((2, 3, 1)), verbose=0)

    Reference: Schulman, Heess, Weber & Abbeel, 2015, Gradient Estimation Using Stochastic
    Computation Graphs, https://arxiv.org/abs/1506.05254 (corollary 1, the surrogate loss).
    """

    def __init__(self, model, estimator, cost=None, credit="to_go", entropy_bonus=0.0, **kwargs):
        # The model casts its inputs by itself, or does not want them cast.
        super().__init__(**{"dtype": model.dtype_policy, "autocast": False, **kwargs})
        if not isinstance(estimator, Estimator):
            raise ValueError(
                "`estimator` must be an estimator, such as `LearnedBaseline()`. "
                f"Received: estimator={estimator!r}."
            )
        if credit not in ("to_go", "total"):
            raise ValueError(f'`credit` must be "to_go" or "total". Received: {credit=!r}.')
        self.model = model
        self.estimator = estimator
        self.cost = cost
        self.credit = credit
        self.entropy_bonus = entropy_bonus

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, **options):
        super().compile(optimizer, loss, loss_weights, **options)
        self.loss_weights = loss_weights  # Keras keeps `loss`, and this one nowhere in the open.

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def build(self, inputs_shape):
        del inputs_shape  # The model is built by its call, and the estimator after it.

    def call(self, inputs, training=False):
        if self.estimator.built:
            return self.model(inputs, training=training)
        within = active()  # Keras may build a model in its first training step.
        with contextlib.nullcontext(within) if within else collecting(self.estimator) as collector:
            outputs = self.model(inputs, training=training)
        self.estimator.build([choice.features.shape[-1] for choice in collector.choices])
        return outputs

    def train_step(self, *arguments):
        *state, data = arguments  # On JAX there is a state, and otherwise not.
        samples = self.estimator.samples
        if samples > 1:
            data = keras.tree.map_structure(
                lambda each: None if each is None else ops.repeat(each, samples, axis=0), data
            )
        with collecting(self.estimator):
            return super().train_step(*state, data)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        collector = active()
        if collector is None:
            return loss
        if self.loss is None and self.cost is None:
            raise ValueError(
                "Choices are credited with a `loss` given to `compile`, or with a `cost`. "
                "Received: neither."
            )
        if not collector.choices:
            raise ValueError(
                "The model must choose at random in training, as by a `HardAttention`. "
                f"Received: model={self.model!r}, which recorded no choice."
            )
        return self._objective(loss, collector.choices, x, y, y_pred, sample_weight)

    def _objective(self, loss, choices, x, y, y_pred, sample_weight):
        own, credited = self._costs(y, y_pred, sample_weight)
        critic = None
        if self.estimator.needs_critic:
            with collecting(self.estimator):  # What is recorded here is no choice of this step.
                y_critic = self.model(x, training=False)
            critic = self._costs(y, y_critic, sample_weight)[1]
        credits = [assign(each, credited, critic, self.credit == "to_go") for each in choices]
        entropy = sum(
            ops.sum(ops.where(due.remaining > 0.0, choice.entropy, 0.0))
            for choice, due in zip(choices, credits, strict=True)
        )
        loss = loss - without_value(self.entropy_bonus * credited.factor * entropy)
        return self.estimator.objective(loss, Step(choices, credits, credited, own))

    def _costs(self, y, y_pred, sample_weight):
        """What the compiled loss is made of, and what choices are credited with."""
        own = None
        if self.loss is not None:
            own = measure(self.loss, self.loss_weights, y, y_pred, sample_weight)
        if self.cost is None:
            return own, own
        return own, measure(self.cost, None, y, y_pred, sample_weight)

    def get_config(self):
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.model),
            "estimator": keras.saving.serialize_keras_object(self.estimator),
            "cost": keras.saving.serialize_keras_object(self.cost),
            "credit": self.credit,
            "entropy_bonus": self.entropy_bonus,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("model", "estimator", "cost")
        }
        return cls(**{**config, **parts})

    def get_build_config(self):
        return {"built": True} if self.built else None

    def build_from_config(self, config):
        self.built = config["built"]  # The parts were built by their own configs.
