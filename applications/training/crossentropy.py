"""Cross-entropy of sequences, averaged over real tokens."""

from __future__ import annotations

import keras
import tensorflow as tf

from applications.training import precision


@keras.saving.register_keras_serializable(package="keras_attention_applications")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy against the label, smoothed towards the uniform distribution.

    `loss = logsumexp(z) - (1 - smoothing) z_label - smoothing mean(z)`, for logits `z`

    Padding is left out by sample weights of 0, and the mean is over the weights. With several
    replicas it is over the weights of all, however the tokens fall among them.

    Args:
        smoothing: Share of the probability that is spread over all labels.

    Reference: Szegedy et al., 2016, Rethinking the Inception Architecture for Computer Vision,
    https://arxiv.org/abs/1512.00567 (section 7).
    """

    def __init__(self, smoothing: float = 0.0, name: str = "smoothed_crossentropy"):
        super().__init__(
            name=name, reduction="mean_with_sample_weight", dtype=precision.of_losses()
        )
        self.smoothing = smoothing

    def __call__(self, y_true, y_pred, sample_weight=None):
        loss = super().__call__(y_true, y_pred, sample_weight)
        if self.reduction is None or sample_weight is None:
            return loss
        return loss * _share(tf.reduce_sum(tf.cast(sample_weight, loss.dtype)))

    def call(self, y_true, y_pred):
        logits = tf.reshape(y_pred, (-1, y_pred.shape[-1]))
        labels = tf.cast(tf.reshape(y_true, (-1,)), tf.int32)  # Keras has made floats of them
        losses = smoothed_crossentropy(labels, logits, self.smoothing)
        return tf.reshape(losses, tf.shape(y_true))

    def get_config(self):
        return {"smoothing": self.smoothing, "name": self.name}


def smoothed_crossentropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float) -> tf.Tensor:
    """The loss of each row: labels (N,) and logits (N, V) to (N,).

    Over a large vocabulary this is most of a training step, and memory traffic most of it, so the
    gradient `softmax(z) - (1 - smoothing) onehot(label) - smoothing / V` is written in place into
    the exponentials that the forward pass left.
    """
    num_labels = logits.shape[-1]

    @tf.custom_gradient
    def loss(logits: tf.Tensor):
        highest = tf.reduce_max(logits, axis=-1, keepdims=True)
        exponentials = tf.exp(logits - highest)
        total = tf.reduce_sum(exponentials, axis=-1, keepdims=True)
        at_label = tf.gather(logits, labels, batch_dims=1)
        value = (tf.math.log(total) + highest)[:, 0] - (1.0 - smoothing) * at_label
        if smoothing > 0.0:
            value -= smoothing * tf.reduce_mean(logits, axis=-1)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            result = exponentials * (upstream[:, None] / total)
            if smoothing > 0.0:
                result -= upstream[:, None] * (smoothing / num_labels)
            places = tf.stack([tf.range(tf.size(labels)), labels], axis=1)
            return tf.tensor_scatter_nd_sub(result, places, (1.0 - smoothing) * upstream)

        return value, gradient

    return loss(logits)


def _share(weight: tf.Tensor) -> tf.Tensor:
    """What this replica has of the mean weight of all, so that the mean of their losses, each times
    its share, is the mean over all weights: 1 where there is one replica."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tf.ones_like(weight)
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, weight)
    return tf.math.divide_no_nan(weight * context.num_replicas_in_sync, total)
