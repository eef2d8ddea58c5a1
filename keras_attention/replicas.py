"""Draws that do not depend on how many replicas share a batch, under `tf.distribute`."""

from __future__ import annotations

import keras


def rows(draw, shape):
    """What `draw(shape)` gives, as the rows of what would be drawn for the batch of all replicas.

    Replicas have the same seeds: without this, each would draw the same numbers for other rows.

    Args:
        draw: A function of a shape, whose first axis is that of the batch.
        shape: A tuple, of this replica's part of the batch.
    """
    context = _context()
    if context is None:
        return draw(shape)
    first, *others = shape
    whole = draw((context.num_replicas_in_sync * first, *others))
    begin = context.replica_id_in_sync_group * first
    return whole[begin : begin + first]


def _context():
    """That of this replica, if there are others."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return None if context is None or context.num_replicas_in_sync == 1 else context
