"""Where to look next: a location drawn around one that a network proposes."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention import precision, replicas, score_function

register = keras.saving.register_keras_serializable(package="keras_attention")

NOT_FOR_LOCATIONS = (
    score_function.Enumeration,
    score_function.GumbelSoftmax,
    score_function.StraightThrough,
)


class Drawn(NamedTuple):
    """Where to look, and how probable that was."""

    location: Any  # (..., 2), within the image
    log_prob: Any  # (...), the log of the density, float32; 0 where nothing was drawn


@register
class LocationSampler(keras.layers.Layer):
    """Draws locations from Gaussians around means that a linear layer proposes.

    `mean = tanh(W features + b)`, `draw ~ Normal(mean, std^2 I)`, `location = clip(draw, -1, 1)`

    The density is that of the draw, before it is clipped. No gradient goes through a draw, so under
    a plain `keras.Model` W and b learn nothing, and a warning says so; they are trained by

        trainer = score_function.ScoreFunctionModel(model, score_function.LearnedBaseline(), cost)

    As in the paper, that trains W and b only: in training no gradient goes on into the features.
    W begins at 0: every glimpse is around the middle until there is a reason to look elsewhere.
    Estimators that need choices among values, such as `GumbelSoftmax`, are refused.

    Args:
        std: Standard deviation in either direction; an image is 2 wide. Much depends on it: with
            too small a one nothing is explored, with too large a one nothing is aimed at. It is
            kept in the weight `spread`, so that a callback can lower it in the course of training.
        inference: What is looked at where nothing is trained: the "mean", or a "sample".
        seed: Seed of the draws.

    Call arguments:
        features: Tensor of shape (B, T, F), what is known.
        training: Whether to draw.

    Returns:
        Locations of shape (B, T, 2), each credited with all that a step costs.

    Example:

    >>> sampler = LocationSampler(std=0.1)
    >>> sampler(keras.ops.ones((3, 5, 7))).shape
    TensorShape([3, 5, 2])

    Reference: Mnih, Heess, Graves & Kavukcuoglu, 2014, Recurrent Models of Visual Attention,
    https://arxiv.org/abs/1406.6247 (sections 3.1 and 3.2; the tanh is ours).
    """

    def __init__(self, std=0.1, inference="mean", seed=None, **kwargs):
        super().__init__(**kwargs)
        if not std > 0.0:
            raise ValueError(f"`std` must be positive. Received: std={std!r}.")
        if inference not in ("mean", "sample"):
            raise ValueError(f'`inference` must be "mean" or "sample". Received: {inference=!r}.')
        self.std = std
        self.inference = inference
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.mean = keras.layers.Dense(
            2, "tanh", kernel_initializer="zeros", name="mean", dtype=self.dtype_policy
        )

    def build(self, features_shape):
        if not self.mean.built:
            self.mean.build(features_shape)
        self.spread = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self.std),
            trainable=False,
            autocast=False,  # Half precision would do to its square what it does to small numbers.
            name="spread",
        )

    def call(self, features, training=False):
        if len(features.shape) != 3:
            raise ValueError(
                "`features` must have shape (batch, locations, width). "
                f"Received: features.shape={tuple(features.shape)}."
            )
        location, log_prob = self.draw(features, training)
        self.record(log_prob, features)
        return location

    def draw(self, features, training=False) -> Drawn:
        """Draws without a record, which a layer with a loop has to make after it.

        Args:
            features: Tensor of shape (..., F).
            training: Whether to draw.

        Returns:
            A `Drawn`: locations (..., 2), and log-densities (...).
        """
        if training:
            self._check_estimator()
            features = ops.stop_gradient(features)
        precise = precision.float32_or_wider(self.compute_dtype)
        mean = ops.cast(self.mean(features), precise)
        if not training and self.inference == "mean":
            return Drawn(ops.cast(mean, self.compute_dtype), ops.zeros_like(mean[..., 0]))
        noise = replicas.rows(
            lambda shape: keras.random.normal(shape, dtype="float32", seed=self.seed_generator),
            ops.shape(mean),
        )
        std = ops.cast(self.spread, precise)
        drawn = ops.stop_gradient(mean + std * ops.cast(noise, precise))
        squares = ops.sum(ops.square((drawn - mean) / std), axis=-1)
        log_prob = -0.5 * squares - math.log(2.0 * math.pi) - 2.0 * ops.log(std)
        return Drawn(ops.cast(ops.clip(drawn, -1.0, 1.0), self.compute_dtype), log_prob)

    def record(self, log_prob, features, in_time=False):
        """Tells the training step of draws: see `score_function.record`.

        Args:
            log_prob: Tensor of shape (B, T).
            features: Tensor of shape (B, T, F), what they were drawn from.
            in_time: Whether draw t can influence nothing before step t of the loss.
        """
        entropy = math.log(2.0 * math.pi * math.e) + 2.0 * ops.log(self.spread)
        entropy = ops.cast(entropy, log_prob.dtype) * ops.ones_like(log_prob)
        score_function.record(log_prob, entropy, features, in_time)

    def _check_estimator(self):
        collector = score_function.active()
        if collector is None:
            warnings.warn(
                f"`{self.name}` draws in training, and no gradient reaches its mean: train with "
                "`score_function.ScoreFunctionModel(model, estimator)`.",
                stacklevel=4,
            )
        elif isinstance(collector.estimator, NOT_FOR_LOCATIONS):
            raise ValueError(
                "Locations are drawn from a density, not chosen among values, which takes another "
                "estimator, such as `LearnedBaseline()`. "
                f"Received: estimator={collector.estimator!r}."
            )

    def get_config(self):
        return {
            **super().get_config(),
            "std": self.std,
            "inference": self.inference,
            "seed": self.seed,
        }
