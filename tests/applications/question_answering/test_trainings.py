"""What happens at which epoch: the linear start, the learning rate, and new beginnings."""

import keras
import numpy as np
import pytest

from applications.question_answering import data, model, trainings
from applications.question_answering.config import QuestionAnsweringConfig
from applications.training.data import epoch_counter


class Watch(keras.callbacks.Callback):
    """Writes down what each epoch is trained with."""

    def __init__(self):
        super().__init__()
        self.rates, self.linear, self.weights = [], [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.rates.append(round(float(self.model.optimizer.learning_rate) / 8, 6))
        self.weights.append(np.array(self.model.trainable_variables[0]))
        if self.model.attention == "softmax":
            self.linear.append(
                [bool(hop.normalizer.linear.numpy()) for hop in self.model.memory.hops]
            )


def fit(**changes):
    config = QuestionAnsweringConfig(
        **{"num_questions": 40, "tasks": (1,), "units": 3, "num_hops": 2, "batch_size": 8,
           "learning_rate": 0.16, "halve_every": 2, **changes}
    )  # fmt: skip
    read = data.datasets(config, epoch_counter())
    made, watch = model.build(config, read.facts), Watch()
    callbacks = trainings.callbacks(config, read.facts, read.examples.train)
    logs = made.fit(
        read.train,
        validation_data=read.validation,
        epochs=config.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, watch],
    )
    return watch, logs.history


def test_every_training_starts_linearly_anew_and_from_other_weights():
    watch, logs = fit(epochs=12, restarts=2, linear_start=2)
    assert watch.linear == 2 * ([[True] * 2] * 2 + [[False] * 2] * 4)
    assert watch.rates == 2 * [0.16, 0.16, 0.16, 0.16, 0.08, 0.08]
    assert (watch.weights[0] != watch.weights[6]).all()
    assert np.isfinite(logs["train_error"]).tolist() == [False] * 5 + [True] + [False] * 5 + [True]


@pytest.mark.parametrize("attention", ["uniform", "none"])
def test_controls_keep_the_schedule(attention):
    watch, _ = fit(epochs=5, linear_start=2, halve_every=1, attention=attention)
    assert watch.rates == [0.16, 0.16, 0.16, 0.08, 0.04] and not any(map(any, watch.linear))


def test_the_softmax_comes_back_when_the_validation_loss_does_not_fall(monkeypatch):
    def falling_until(epochs):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = float(-epoch if epoch % 10 < epochs else 0.0)
            end(self, epoch, logs)

        return on_epoch_end

    end = trainings.LinearStartOfEach.on_epoch_end
    monkeypatch.setattr(trainings.LinearStartOfEach, "on_epoch_end", falling_until(2))
    watch, _ = fit(epochs=20, restarts=2, linear_start=None)
    one = [True] * 3 + [False] * 7
    assert [all(each) for each in watch.linear] == one * 2
    assert watch.rates == 2 * ([0.16] * 5 + [0.08] * 2 + [0.04] * 2 + [0.02])
    monkeypatch.setattr(trainings.LinearStartOfEach, "on_epoch_end", falling_until(99))
    watch, _ = fit(epochs=6, linear_start=None)
    assert [all(each) for each in watch.linear] == [True] * 3 + [False] * 3
