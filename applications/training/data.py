"""Training data whose order in every epoch can be told in advance."""

from __future__ import annotations

import tensorflow as tf


def epoch_counter() -> tf.Variable:
    """The epoch as the input pipeline sees it; training sets it before each epoch."""
    with tf.device("CPU:0"):  # Input pipelines run on the CPU and may not read a GPU's memory.
        return tf.Variable(0, dtype=tf.int64, trainable=False, name="epoch")


def shuffled(
    dataset: tf.data.Dataset, buffer_size: int, seed: int, epoch: tf.Variable
) -> tf.data.Dataset:
    """`dataset` in an order that depends on `seed` and the current `epoch` and on nothing else.

    `Dataset.shuffle` alone depends on how often the data set was iterated before, which a resumed
    run cannot repeat: Keras iterates once or twice per epoch, by whether the length is known.
    """
    # The factor keeps epoch 1 of seed 1 apart from epoch 0 of seed 2.
    mixed = seed * 1_000_003

    def one_epoch(_: tf.Tensor) -> tf.data.Dataset:
        return dataset.shuffle(buffer_size, seed=mixed + epoch, reshuffle_each_iteration=False)

    result = tf.data.Dataset.from_tensors(0).flat_map(one_epoch)
    return result.apply(tf.data.experimental.assert_cardinality(dataset.cardinality()))


def ahead(dataset: tf.data.Dataset, count: int | None = None) -> tf.data.Dataset:
    """Makes a few batches before they are asked for.

    `count` tells how many there are in all, where the data set cannot, being a generator's.
    """
    if count is not None:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    # There is nothing to tune, and the thread that tunes can hold up an epoch's end by seconds.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(4).with_options(options)
