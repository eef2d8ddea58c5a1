"""A softmax that can be taken away for a while, and the callback that puts it back."""

from __future__ import annotations

import keras
from keras import ops

from keras_attention import normalizers
from keras_attention.normalizers.layer import Normalizer

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class RemovableSoftmax(Normalizer):
    """A softmax, or while `linear` is `True`, the scores themselves as weights.

    `linear` is a variable of the layer: it can be assigned to in training without tracing anything
    anew, and is saved with the weights.

    Call arguments:
        scores: Tensor of shape (..., n).
        mask: Boolean tensor that broadcasts to `scores`, or `None`.

    Returns:
        Weights of shape (..., n), 0 where masked.

    Example:

    >>> normalizer = RemovableSoftmax()
    >>> normalizer(keras.ops.zeros((1, 2))).numpy().tolist()
    [[0.5, 0.5]]
    >>> _ = normalizer.linear.assign(True)
    >>> normalizer(keras.ops.zeros((1, 2))).numpy().tolist()
    [[0.0, 0.0]]

    Reference: Sukhbaatar et al., 2015, https://arxiv.org/abs/1503.08895 (section 4.2).
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.linear = self.add_weight(
            shape=(), dtype="bool", initializer="zeros", trainable=False, name="linear"
        )

    def call(self, scores, mask=True):
        plain = ops.where(mask, scores, ops.zeros_like(scores))
        is_linear = ops.convert_to_tensor(self.linear)
        return ops.where(is_linear, plain, normalizers.softmax(scores, mask))


class LinearStart(keras.callbacks.Callback):
    """Trains a model without the softmax of its memories at first, and puts it back once.

    At the latest it is back when the training ends.

    With every hop linear, the model is a product of matrices up to its last layer, which is easier
    to train at first (Sukhbaatar et al., 2015, https://arxiv.org/abs/1503.08895, section 4.2).

    Args:
        epochs: After how many epochs the softmax comes back; `None` for as soon as `monitor` is no
            lower than at the epoch before, as in the paper.
        monitor: What must fall.
    """

    def __init__(self, epochs=None, monitor="val_loss"):
        super().__init__()
        if epochs is not None and (not isinstance(epochs, int) or epochs < 0):
            raise ValueError(
                f"`epochs` must be a whole number or `None`. Received: epochs={epochs!r}."
            )
        self.epochs = epochs
        self.monitor = monitor
        self.previous = float("inf")

    def on_train_begin(self, logs=None):
        self.previous = float("inf")

    def on_train_end(self, logs=None):
        """What is trained, saved and served has a softmax."""
        self._set(False)

    def on_epoch_begin(self, epoch, logs=None):
        """A run that is resumed late enough finds its softmax where it was: in the weights."""
        if epoch == 0:
            self._set(self.epochs != 0)
        elif self.epochs is not None:
            self._set(epoch < self.epochs)

    def on_epoch_end(self, epoch, logs=None):
        if self.epochs is not None:
            return
        if self.monitor not in (logs or {}):
            raise ValueError(
                f"`monitor` must be one of the logs of training. Received: monitor="
                f"{self.monitor!r}, logs: {sorted(logs or {})}."
            )
        if logs[self.monitor] >= self.previous:
            self._set(False)
        self.previous = logs[self.monitor]

    def _set(self, linear):
        found = [
            layer for layer in self.model._flatten_layers() if isinstance(layer, RemovableSoftmax)
        ]
        if not found:
            raise ValueError(
                "A model that starts linearly must have a `MemoryAddressing` layer. "
                f"Received: model={self.model.name!r}, which has none."
            )
        for layer in found:
            layer.linear.assign(linear)
