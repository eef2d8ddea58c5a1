"""Loops over time for all backends, and what they need: tapes, and picking rows of many at once.

`keras.ops.scan` cannot be differentiated under XLA on TensorFlow, and there drops every output that
is not part of the carry (Keras 3.15.1), so on TensorFlow the loop is written out. A tape, of which
each step writes a row, is a `TensorArray` there, since each `keras.ops.scatter_update` copies all
that was written before.
"""

from __future__ import annotations

import keras
from keras import ops


def scan(step, carry, inputs, output, variables=()):
    """Runs `carry, output = step(carry, inputs[t])` for one t after another.

    Args:
        step: A function of a tree of tensors and the inputs of one step to the next such tree,
            equal in structure, shapes and dtypes, and a tree of outputs.
        carry: The tree before the first step.
        inputs: Tensor of shape (T, …), or a tuple of such tensors.
        output: A tree of tensors shaped like the outputs of one step. Only its form matters.
        variables: Variables that a step may assign to, as seed generators do. (JAX hands on only
            what a loop carries, so there they are carried too.)

    Returns:
        The last carry, and the outputs of all steps, stacked to (T, …).
    """
    if keras.backend.backend() == "tensorflow":
        return _scan_tensorflow(step, carry, inputs, output)

    def advance(kept, now):
        carry, values, _ = kept
        _assign(variables, values)
        carry, outputs = step(carry, now)
        return ((carry, [each.value for each in variables], outputs),) * 2

    if keras.backend.backend() != "jax":
        variables = ()
    values = [each.value for each in variables]
    try:
        kept, (_, _, outputs) = ops.scan(advance, (carry, values, output), inputs)
        carry, values, _ = kept
    finally:  # Nothing that was traced stays in a variable.
        _assign(variables, values)
    return carry, outputs


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def new_tape(length, row):
    """A tape for `length` rows like `row`, which a `keras.ops.while_loop` may carry."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.TensorArray(
            row.dtype, length, element_shape=row.shape, clear_after_read=False, infer_shape=False
        )
    return ops.zeros((length, *ops.shape(row)), row.dtype)


def write(tape, time, row):
    """The tape with `row` written at `time`, each time at most once."""
    if keras.backend.backend() == "tensorflow":
        return tape.write(time, row)
    return ops.scatter_update(tape, ops.reshape(time, (1, 1)), ops.expand_dims(row, 0))


def read(tape):
    """All rows of a tape on which one is written at least: (length, …), 0 where none is."""
    return tape.stack() if keras.backend.backend() == "tensorflow" else tape


def pick(values, places):
    """Of each row, the values at some places: (R, S, …) and (R, k) to (R, k, …).

    On TensorFlow that is one operation in place of nine, which in a loop of short steps is time.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.gather(values, places, axis=1, batch_dims=1)
    rows, size, *rest = ops.shape(values)
    flat = ops.reshape(values, (rows * size, *rest))
    return ops.take(flat, end_to_end(places, size), axis=0)


def end_to_end(places, size):
    """Places (R, k) in rows of some size, as places in all rows laid end to end."""
    return ops.arange(ops.shape(places)[0], dtype="int32")[:, None] * size + places


def _scan_tensorflow(step, carry, inputs, output):
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(each) for each in keras.tree.flatten(inputs)]
    # A length known while tracing bounds the loop, without which XLA cannot differentiate it.
    bound = tensors[0].shape[0]
    length = tf.shape(tensors[0])[0] if bound is None else bound
    sources = [
        tf.TensorArray(each.dtype, length, element_shape=each.shape[1:]).unstack(each)
        for each in tensors
    ]
    sinks = [
        tf.TensorArray(each.dtype, length, element_shape=each.shape)
        for each in keras.tree.flatten(output)
    ]

    def advance(t, leaves, sinks):
        now = keras.tree.pack_sequence_as(inputs, [source.read(t) for source in sources])
        new, outputs = step(keras.tree.pack_sequence_as(carry, leaves), now)
        sinks = [
            sink.write(t, each)
            for sink, each in zip(sinks, keras.tree.flatten(outputs), strict=True)
        ]
        return t + 1, keras.tree.flatten(new), sinks

    leaves = [tf.convert_to_tensor(each) for each in keras.tree.flatten(carry)]
    _, leaves, sinks = tf.while_loop(
        lambda t, *_: t < length, advance, (0, leaves, sinks), maximum_iterations=bound
    )
    stacked = [sink.stack() for sink in sinks]
    return (
        keras.tree.pack_sequence_as(carry, leaves),
        keras.tree.pack_sequence_as(output, stacked),
    )
