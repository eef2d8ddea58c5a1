"""What normalisers have in common: precision, masks, and rows that begin at 0."""

from keras import ops

from keras_attention import precision


def at_least_float32(scores):
    return ops.cast(scores, precision.float32_or_wider(scores.dtype))


def lowest(dtype):
    return -1.7e308 if dtype == "float64" else -3.4e38


def finish(weights, mask, dtype):
    """The weights in the dtype of the scores, exactly 0 where masked."""
    if mask is not None:
        weights = ops.where(mask, weights, 0.0)
    return ops.cast(weights, dtype)


def below_zero(z, mask, floor):
    """Shifts each row so that its largest real entry is 0, and cuts it off at a floor.

    Thresholds are below the largest entry by so much at most, so an entry at the floor, cut off or
    masked, has weight 0 and no influence, and no number grows large. A row with nothing real is 0
    throughout, and `finish` clears it.
    """
    real = z if mask is None else ops.where(mask, z, lowest(z.dtype))
    return ops.maximum(real - ops.stop_gradient(ops.max(real, axis=-1, keepdims=True)), floor)
