"""What all scores have in common."""

from __future__ import annotations

import keras
from keras import ops


class Score(keras.layers.Layer):
    """The base of all scores, never used by itself.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq).
        key: Tensor of shape (B, Tv, Dk).

    Returns:
        Scores of shape (B, Tq, Tv).
    """

    def build(self, query_shape, key_shape):
        """Makes the weights, of which there are none unless a subclass has some."""
        del query_shape, key_shape

    def call(self, query, key, training=False):
        return self.score_sequence(query, self.project_key(key), training=training)

    def project_key(self, key):
        """The part of the score that needs no query: (B, Tv, Dk) -> (B, Tv, any width)."""
        return key

    def score(self, query, keys):
        """Compares queries (B, Tq, Dq) with projected keys: -> scores (B, Tq, Tv)."""
        raise NotImplementedError(f"{type(self).__name__} must define `score(query, keys)`.")

    def score_sequence(self, query, keys, *state, training=False):
        """What `score` gives, of a whole sequence of queries by whatever road is fastest."""
        del training
        return self.score(query, keys, *state)

    def initial_state(self, keys):
        """The state before the first look at keys (B, Tv, …), one query each: a tuple of tensors
        (B, …); () if the score does not look back."""
        del keys
        return ()

    def next_state(self, weights, *state):
        """The state after a look with weights (B, Tq, Tv)."""
        del weights
        return state

    def _read(self, variable):
        """A weight in the compute dtype, also where Keras' autocast does not reach."""
        return ops.cast(variable, self.compute_dtype)


def multiply(inputs, kernel):
    """`inputs @ kernel` for inputs (…, D) and a kernel (D, units), as one product of two matrices.

    TensorFlow would take the tensor apart at run time, which is slower, and which XLA cannot
    compile inside the gradient of a loop over batches of unknown size.
    """
    rows = ops.matmul(ops.reshape(inputs, (-1, inputs.shape[-1])), kernel)
    return ops.reshape(rows, (*ops.shape(inputs)[:-1], kernel.shape[-1]))
