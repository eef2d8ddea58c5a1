"""Several trainings within one run: each from other weights, the best of them kept."""

from __future__ import annotations

import keras

from applications.question_answering import evaluation
from applications.question_answering.answering import Answer
from applications.question_answering.config import QuestionAnsweringConfig
from applications.question_answering.data import Facts
from applications.question_answering.encoding import Encoded
from applications.question_answering.model import initialize
from keras_attention import LinearStart


class LinearStartOfEach(LinearStart):
    """A `LinearStart` of every training, which takes at most half of it.

    Args:
        epochs: Of the start; `None`: until the validation loss does not fall.
        epochs_each: Of a training.
    """

    def __init__(self, epochs: int | None, epochs_each: int):
        super().__init__(epochs)
        self.epochs_each = epochs_each

    def on_epoch_begin(self, epoch, logs=None):
        at = epoch % self.epochs_each
        if at == 0:
            self.previous = float("inf")
        super().on_epoch_begin(at, logs)
        if self.epochs is None and at >= max(self.epochs_each // 2, 1):
            self._set(False)

    def on_train_end(self, logs=None):
        """A run that is cut short goes on without a softmax, if it was without."""


class Trainings(keras.callbacks.Callback):
    """Begins every training anew, halves its learning rate, and measures it at its end.

    `train_error`, by which the spine keeps the best weights, is infinite until the last epoch of a
    training: there it is the error on all training questions, without noise.

    Args:
        config: The run's.
        facts: What the model knows of its data.
        train: The training questions.

    Reference: Sukhbaatar et al., 2015, https://arxiv.org/abs/1503.08895 (section 4.2).
    """

    def __init__(
        self,
        config: QuestionAnsweringConfig,
        facts: Facts,
        train: Encoded,
    ):
        super().__init__()
        self.config, self.facts, self.train = config, facts, train
        self.settled = 0  # epochs of this training since its linear start

    def on_train_begin(self, logs=None):
        self.answer = Answer(self.model, self.facts)

    def on_epoch_begin(self, epoch, logs=None):
        training, at = divmod(epoch, self.config.epochs_each)
        if at == 0:
            initialize(self.model, self.config.seed, training)
            self.settled = 0
        rate = self.config.learning_rate * 0.5 ** (self.settled // self.config.halve_every)
        size = self.config.batch_size * self.config.accumulate
        self.model.optimizer.learning_rate = rate * size
        if not self._starts(at):
            self.settled += 1

    def on_epoch_end(self, epoch, logs=None):
        is_last = (epoch + 1) % self.config.epochs_each == 0
        error = evaluation.train_error(self.answer, self.train) if is_last else float("inf")
        logs["train_error"] = error

    def _starts(self, at: int) -> bool:
        if self.config.linear_start is not None:
            return at < self.config.linear_start
        return bool(self.model.memory.hops[0].normalizer.linear.numpy())


def callbacks(
    config: QuestionAnsweringConfig, facts: Facts, train: Encoded
) -> list[keras.callbacks.Callback]:
    """The linear start, where there is a softmax to leave out, and the trainings."""
    trainings = Trainings(config, facts, train)
    if config.attention != "softmax":
        return [trainings]
    return [LinearStartOfEach(config.linear_start, config.epochs_each), trainings]
