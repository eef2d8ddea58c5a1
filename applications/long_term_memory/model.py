"""The model: a layer at each step, feed-forward attention over time, and two layers after it."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from applications.long_term_memory.blocks import read_in_blocks
from applications.long_term_memory.config import LongTermMemoryConfig
from applications.long_term_memory.data import Facts
from applications.long_term_memory.problems import TOLERANCE
from applications.training import precision, updates
from keras_attention import FeedForwardAttention, compile, masking

register = keras.saving.register_keras_serializable(package="keras_attention_applications")


class Recalled(NamedTuple):
    """What is told of sequences, and what was attended to."""

    answers: Any  # (B, 1) numbers, or (B, K) logits
    weights: Any  # (B, T)


@register
class LongTermMemory(keras.Model):
    """Tells of sequences what their marked steps make (Raffel & Ellis, 2015, section 2).

    With x_t a step and f(x) = max(x, x / 100):

        h_t     = f(W x_t + b)                    the hidden layer at each step
        e_t     = tanh(w h_t + d)                 the score
        alpha_t = exp(e_t) / sum_k exp(e_k)       the weights; 1 / T in the control
        c       = sum_t alpha_t h_t               the context
        s       = f(V c + g)
        y       = f(U s + k)                      a number; K logits without f

    Nothing in it tells the order of steps, unless `positions` adds their time to x.

    Args:
        num_answers: K, or 0 where the answer is a number.
        attention: "learned", or "uniform", the unweighted mean.
        mask: Whether steps after a sequence's end are left out of the mean.
        position_scale: Steps that take the time that is added to each step from 0 to 1; 0: none is.
        units: Width of h and s.

    Call arguments:
        inputs: A dict of `sequence` (B, T, 2), zero where it is padded, and `lengths` (B,).

    Returns:
        Answers (B, 1), or logits (B, K), float32.

    Reference: Raffel & Ellis, 2015, Feed-Forward Networks with Attention Can Solve Some Long-Term
    Memory Problems, https://arxiv.org/abs/1512.08756.
    """

    def __init__(
        self,
        num_answers: int = 0,
        attention: str = "learned",
        mask: bool = True,
        position_scale: int = 0,
        units: int = 100,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_answers = num_answers
        self.attention = attention
        self.mask = mask
        self.position_scale = position_scale
        self.units = units
        with precision.policy(self.dtype_policy):
            self.hidden = layers.Dense(units, rectify, kernel_initializer=_normal(), name="hidden")
            if attention == "learned":
                self.pooling = FeedForwardAttention(kernel_initializer=_normal(), name="pooling")
            self.combine = layers.Dense(
                units, rectify, kernel_initializer=_normal(), name="combine"
            )
            self.answer = layers.Dense(
                num_answers or 1,
                None if num_answers else rectify,
                kernel_initializer=_normal(),
                dtype=precision.of_losses(),
                name="answer",
            )

    def build(self, inputs_shape):
        width = inputs_shape["sequence"][-1] + bool(self.position_scale)
        self.hidden.build((None, None, width))
        if self.attention == "learned":
            self.pooling.build((None, None, self.units))
        self.combine.build((None, self.units))
        self.answer.build((None, self.units))

    def call(self, inputs):
        return self.recall(inputs["sequence"], inputs["lengths"]).answers

    def recall(self, sequence, lengths, in_blocks=True) -> Recalled:
        """The same, with the weights; in blocks, or all at once, without a loop."""
        variables = [each.value for each in self._before_context]
        if in_blocks:
            context, weights = read_in_blocks(
                self._read, variables, sequence, lengths, self.units, mask=self.mask
            )
        else:
            context, weights = self._read(variables, sequence, lengths)
        return Recalled(self.answer(self.combine(context)), weights)

    @property
    def _before_context(self):
        pooling = self.pooling.trainable_variables if self.attention == "learned" else []
        return [*self.hidden.trainable_variables, *pooling]

    def _read(self, variables, sequence, lengths):
        """Contexts (B, U) and weights (B, T), of layers with the values `variables`."""
        hidden, _ = self.hidden.stateless_call(variables[:2], [], self._with_time(sequence))
        length = ops.shape(sequence)[1]
        if self.attention == "learned":
            mask = masking.padding_mask(lengths, length) if self.mask else None
            return self.pooling.stateless_call(
                variables[2:], [], hidden, mask=mask, return_attention_scores=True
            )[0]
        counted = lengths if self.mask else ops.full_like(lengths, length)
        weights = ops.cast(masking.padding_mask(counted, length), "float32")
        weights /= ops.maximum(ops.cast(counted, "float32"), 1.0)[:, None]
        weights = ops.cast(weights, hidden.dtype)
        return ops.squeeze(ops.matmul(ops.expand_dims(weights, 1), hidden), axis=1), weights

    def _with_time(self, sequence):
        if not self.position_scale:
            return sequence
        batch_size, length = ops.shape(sequence)[:2]
        time = ops.cast(ops.arange(length), "float32") / self.position_scale
        time = ops.cast(time, sequence.dtype)
        time = ops.broadcast_to(time[None, :, None], (batch_size, length, 1))
        return ops.concatenate([sequence, time], axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "num_answers": self.num_answers,
            "attention": self.attention,
            "mask": self.mask,
            "position_scale": self.position_scale,
            "units": self.units,
        }


@register
def rectify(x):
    """The leaky rectifier, max(x, x / 100)."""
    return ops.leaky_relu(x, negative_slope=0.01)


@register
def is_close(y_true, y_pred):
    """1 for each number that is near enough to the answer, else 0: (B, 1)."""
    return ops.cast(ops.abs(y_pred - ops.cast(y_true, y_pred.dtype)) < TOLERANCE, "float32")


@register
def is_chosen(y_true, y_pred):
    """1 for each answer with the greatest logit, else 0: (B, 1)."""
    chosen = ops.argmax(y_pred, axis=-1, keepdims=True)
    return ops.cast(chosen == ops.cast(y_true, chosen.dtype), "float32")


def build(config: LongTermMemoryConfig, facts: Facts) -> LongTermMemory:
    """The model of a run, compiled for training."""
    model = LongTermMemory(
        num_answers=len(facts.answers),
        attention=config.attention,
        mask=config.mask,
        position_scale=config.length if config.positions else 0,
        units=config.units,
    )
    model({"sequence": np.zeros((1, 2, 2), np.float32), "lengths": np.array([2], np.int32)})
    chooses = bool(facts.answers)
    model.compile(
        updates.of(keras.optimizers.Adam(config.learning_rate, epsilon=1e-8), config),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if chooses
        else keras.losses.MeanSquaredError(),
        metrics=[
            keras.metrics.MeanMetricWrapper(is_chosen if chooses else is_close, name="accuracy")
        ],
        steps_per_execution=min(20, config.updates),  # Keras spends a millisecond on each
        jit_compile=compile.uses_xla(training=True) and not tf.distribute.has_strategy(),
    )
    return model


class StopWhenSolved(keras.callbacks.Callback):
    """Ends the training once every answer of the validation is right."""

    def on_epoch_end(self, epoch, logs=None):
        if (logs or {}).get("val_accuracy", 0.0) >= 1.0:
            self.model.stop_training = True


def _normal():
    # Normal with a standard deviation of 1 / sqrt(inputs), as the paper and its authors' code have.
    return keras.initializers.VarianceScaling(1.0, "fan_in", "untruncated_normal")
