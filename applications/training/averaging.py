"""Which weights a training leaves: those of the best epoch, or the mean of the last ones."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from applications.training.config import TrainConfig


def weights_to_keep(
    settings: TrainConfig, monitor: str, mode: str
) -> keras.callbacks.EarlyStopping:
    """The callback that keeps weights during a training, and leaves them in the model at its end.

    Args:
        settings: Of the run.
        monitor: The validation metric by which an epoch is the best.
        mode: Whether that is "min" or "max".
    """
    if settings.average_epochs:
        return LastEpochs(settings.epochs - settings.average_epochs)
    return keras.callbacks.EarlyStopping(
        monitor=monitor,
        mode=mode,
        patience=settings.patience or settings.epochs,  # Never reached: only keeps the best.
        restore_best_weights=True,
    )


class LastEpochs(keras.callbacks.EarlyStopping):
    """Keeps the mean of what the last epochs left: it never stops, and none is the best.

    `mean <- mean + (weights - mean) / count`, after each epoch from the number `first` on

    Means and variances of a batch normalisation are averaged as weights are. It is in the place of
    Keras' callback, so that a checkpoint holds the mean and the count as it does the best weights.

    Args:
        first: The first epoch that counts, from 0.

    Reference: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762 (section 6.1, which averages
    the last checkpoints).
    """

    def __init__(self, first: int) -> None:
        super().__init__(monitor="loss", mode="min", restore_best_weights=True)
        self.first = first
        self.best_weights: list[Any] | None = None
        self.count = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self.count = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch < self.first:
            return
        self.count += 1
        weights = self.model.get_weights()
        pairs = zip(self.best_weights or weights, weights, strict=True)
        self.best_weights = [_with(mean, weight, self.count) for mean, weight in pairs]


def _with(mean: np.ndarray, weight: np.ndarray, count: int) -> np.ndarray:
    """The mean of `count` weights, of which `weight` is the last; of switches, the last."""
    return weight if weight.dtype.kind in "biu" else mean + (weight - mean) / count
