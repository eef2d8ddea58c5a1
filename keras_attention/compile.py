"""The one switch between XLA and plain execution, of the blocks that know both.

XLA fuses what plain execution would write to memory between one operation and the next. But a graph
that asks for XLA cannot be served where it is disabled, as stock TensorFlow Serving has it. So on
TensorFlow blocks run under XLA in training, and where there is no graph to be exported, and never
in the graph of an inference. JAX runs everything under XLA and torch nothing.
"""

from __future__ import annotations

import functools

import keras

_asked: bool | None = None


def set_xla(enabled):
    """Says whether blocks run under XLA on TensorFlow, for all that is traced or called from here.

    Args:
        enabled: `False` for nowhere, `True` for everywhere, also in graphs for inference, which
            then cannot be served where XLA is disabled; `None`, as it is at first, for wherever
            XLA is available and safe.

    Example: trains without the second or two that XLA takes to compile each new shape.

    >>> from keras_attention import compile
    >>> compile.set_xla(False)
    >>> compile.uses_xla(training=True)
    False
    >>> compile.set_xla(None)
    """
    global _asked
    if enabled not in (True, False, None):
        raise ValueError(f"`enabled` must be True, False or None. Received: enabled={enabled!r}.")
    _asked = enabled


def uses_xla(training=False):
    """Whether blocks that are called here and now run under XLA."""
    if keras.backend.backend() != "tensorflow":
        return keras.backend.backend() == "jax"
    if _asked is not None:
        return _asked
    import tensorflow as tf

    return bool(training or tf.executing_eagerly()) and _xla_works()


@functools.cache
def under_xla(function):
    """A function of tensors whose every call, within a graph or without, XLA compiles as one.

    It is compiled anew for each new shape of what it is given.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False, reduce_retracing=True)


@functools.cache
def has_gpu():
    """Whether TensorFlow has a GPU, for which small blocks are a waste."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


@functools.cache
def _xla_works():
    """Whether this process can compile: not all builds can, and a server may have disabled it."""
    import tensorflow as tf

    try:
        with tf.init_scope():
            tf.function(lambda x: x + x, jit_compile=True, autograph=False)(tf.constant(1.0))
    except tf.errors.OpError:
        return False
    return True
