"""The additive score."""

from __future__ import annotations

import keras
from keras import ops

from keras_attention import blockwise
from keras_attention.scores.base import Score, multiply

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class AdditiveScore(Score):
    """Scores by a network with one hidden layer.

    `score_ij = v . tanh(W query_i + U key_j + b)`

    With `normalize=True`, `v` is `g v / |v|`, with a weight `g`: how large scores are is learned
    apart from what they depend on, which monotonic attention needs (Raffel et al.).

    Memory does not grow with Tq * Tv * units: see `keras_attention.blockwise`.

    Args:
        units: Width of the hidden layer, the paper's n'.
        use_bias: Whether to add `b`. The paper has none.
        normalize: Whether to normalise `v`. `g` begins at `1 / sqrt(units)`.
        kernel_initializer: Initializer of `W`, `U` and `v`.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq).
        key: Tensor of shape (B, Tv, Dk).

    Returns:
        Scores of shape (B, Tq, Tv).

    Example:

    >>> score = AdditiveScore(units=7)
    >>> score(keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 6))).shape
    TensorShape([2, 3, 5])

    Reference: Bahdanau, Cho & Bengio, 2014, Neural Machine Translation by Jointly Learning to
    Align and Translate, https://arxiv.org/abs/1409.0473 (appendix A.1.2); Raffel et al., 2017,
    Online and Linear-Time Attention by Enforcing Monotonic Alignments,
    https://arxiv.org/abs/1704.00784 (eq. 16, normalised).
    """

    def __init__(
        self,
        units,
        use_bias=False,
        kernel_initializer="glorot_uniform",
        normalize=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(units, int) or units <= 0:
            raise ValueError(f"`units` must be a positive integer. Received: units={units!r}.")
        self.units = units
        self.use_bias = use_bias
        self.normalize = normalize
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, query_shape, key_shape):
        def add(name, shape):
            initializer = keras.initializers.get(
                keras.initializers.serialize(self.kernel_initializer)
            )
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        self.query_kernel = add("query_kernel", (query_shape[-1], self.units))
        self.key_kernel = add("key_kernel", (key_shape[-1], self.units))
        self.v = add("v", (self.units,))
        if self.normalize:
            size = keras.initializers.Constant(self.units**-0.5)
            self.gain = self.add_weight(shape=(), initializer=size, name="gain")
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def project_key(self, key):
        keys = ops.matmul(key, self._read(self.key_kernel))
        return keys + self._read(self.bias) if self.use_bias else keys

    def score(self, query, keys):
        return blockwise.direct_scores(self._project_query(query), keys, self._vector())

    def score_sequence(self, query, keys, training=False):
        queries = self._project_query(query)
        return blockwise.additive_scores(queries, keys, self._vector(), training)

    def _vector(self):
        if not self.normalize:
            return self._read(self.v)
        v, gain = self.v.value, self.gain.value
        return ops.cast(gain * v / ops.norm(v), self.compute_dtype)

    def _project_query(self, query):
        return multiply(query, self._read(self.query_kernel))

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "normalize": self.normalize,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
