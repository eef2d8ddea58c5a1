"""Scores: how relevant each value is to a query, before any normalising.

Every score answers the same two questions, so that keys are projected once a sequence and compared
once a query: `project_key(key)` and `score(query, keys)`. Adding a score means overriding these.

Shapes: B batch, Tq queries, Tv values (as many as keys), Dq and Dk their widths.
"""

from __future__ import annotations

import keras
from keras import ops

register = keras.saving.register_keras_serializable(package="keras_attention")


class Score(keras.layers.Layer):
    """The base of all scores, never used by itself.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq).
        key: Tensor of shape (B, Tv, Dk).

    Returns:
        Scores of shape (B, Tq, Tv).
    """

    def call(self, query, key):
        return self.score(query, self.project_key(key))

    def project_key(self, key):
        """The part of the score that needs no query: (B, Tv, Dk) -> (B, Tv, any width)."""
        return key

    def score(self, query, keys):
        """Compares queries (B, Tq, Dq) with projected keys: -> scores (B, Tq, Tv)."""
        raise NotImplementedError(f"{type(self).__name__} must define `score(query, keys)`.")

    def _read(self, variable):
        """A weight in the compute dtype, also where Keras' autocast does not reach."""
        return ops.cast(variable, self.compute_dtype)


@register
class AdditiveScore(Score):
    """Scores by a network with one hidden layer.

    `score_ij = v . tanh(W query_i + U key_j + b)`

    Args:
        units: Width of the hidden layer, the paper's n'.
        use_bias: Whether to add `b`. The paper has none.
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
    Align and Translate, https://arxiv.org/abs/1409.0473 (appendix A.1.2).
    """

    def __init__(self, units, use_bias=False, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        if not isinstance(units, int) or units <= 0:
            raise ValueError(f"`units` must be a positive integer. Received: units={units!r}.")
        self.units = units
        self.use_bias = use_bias
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
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def project_key(self, key):
        keys = ops.matmul(key, self._read(self.key_kernel))
        return keys + self._read(self.bias) if self.use_bias else keys

    def score(self, query, keys):
        queries = _multiply(query, self._read(self.query_kernel))
        # TensorFlow's gradient of `keys[:, None]` is several times slower than `expand_dims`' own.
        hidden = ops.tanh(ops.expand_dims(queries, 2) + ops.expand_dims(keys, 1))
        return ops.squeeze(_multiply(hidden, self._read(self.v)[:, None]), axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@register
class DotScore(Score):
    """Scores by the dot product, which needs queries and keys of one width.

    `score_ij = scale * query_i . key_j`

    Args:
        scale: A number, or `None` for `1 / sqrt(Dk)`, which keeps the scores of wide vectors from
            saturating a softmax.
        trainable_scale: Whether `scale` is only where a learned scalar begins.

    Call arguments:
        query: Tensor of shape (B, Tq, D).
        key: Tensor of shape (B, Tv, D).

    Returns:
        Scores of shape (B, Tq, Tv).

    Example:

    >>> query, key = keras.ops.ones((1, 2, 4)), keras.ops.ones((1, 3, 4))
    >>> DotScore()(query, key).numpy().tolist()
    [[[4.0, 4.0, 4.0], [4.0, 4.0, 4.0]]]
    >>> DotScore(scale=None)(query, key).numpy().tolist()
    [[[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]]

    Reference: Luong, Pham & Manning, 2015, Effective Approaches to Attention-based Neural Machine
    Translation, https://arxiv.org/abs/1508.04025 (eq. 8, "dot"); Vaswani et al., 2017, Attention
    Is All You Need, https://arxiv.org/abs/1706.03762 (eq. 1, scaled).
    """

    def __init__(self, scale: float | None = 1.0, trainable_scale=False, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale
        self.trainable_scale = trainable_scale

    def build(self, query_shape, key_shape):
        if query_shape[-1] != key_shape[-1]:
            raise ValueError(
                "A dot product needs queries and keys of one width; `BilinearScore` does not. "
                f"Received: query.shape={tuple(query_shape)}, key.shape={tuple(key_shape)}."
            )
        self._factor = key_shape[-1] ** -0.5 if self.scale is None else self.scale
        if self.trainable_scale:
            self.learned_scale = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(self._factor),
                name="scale",
            )

    def score(self, query, keys):
        factor = self._read(self.learned_scale) if self.trainable_scale else self._factor
        scaled = query if not self.trainable_scale and factor == 1.0 else query * factor
        return ops.matmul(scaled, ops.transpose(keys, (0, 2, 1)))

    def get_config(self):
        return {
            **super().get_config(),
            "scale": self.scale,
            "trainable_scale": self.trainable_scale,
        }


@register
class BilinearScore(Score):
    """Scores by a learned bilinear form, so queries and keys may differ in width.

    `score_ij = query_i . (W key_j)`

    Args:
        kernel_initializer: Initializer of `W`.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq).
        key: Tensor of shape (B, Tv, Dk).

    Returns:
        Scores of shape (B, Tq, Tv).

    Example:

    >>> BilinearScore()(keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 6))).shape
    TensorShape([2, 3, 5])

    Reference: Luong, Pham & Manning, 2015, Effective Approaches to Attention-based Neural Machine
    Translation, https://arxiv.org/abs/1508.04025 (eq. 8, "general").
    """

    def __init__(self, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, query_shape, key_shape):
        self.kernel = self.add_weight(
            shape=(key_shape[-1], query_shape[-1]),
            initializer=self.kernel_initializer,
            name="kernel",
        )

    def project_key(self, key):
        return ops.matmul(key, self._read(self.kernel))

    def score(self, query, keys):
        return ops.matmul(query, ops.transpose(keys, (0, 2, 1)))

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@register
class NetworkScore(Score):
    """Scores every pair by a network of your own.

    `score_ij = network([query_i ; key_j])`

    The network sees all pairs at once, (B, Tq, Tv, Dq + Dk), so memory grows with Tq * Tv.

    Args:
        network: A Keras layer or model that maps (..., Dq + Dk) to (..., 1).

    Call arguments:
        query: Tensor of shape (B, Tq, Dq).
        key: Tensor of shape (B, Tv, Dk).

    Returns:
        Scores of shape (B, Tq, Tv).

    Example: Luong's *concat*, which is `v . tanh(W [query_i ; key_j])`.

    >>> network = keras.Sequential(
    ...     [keras.layers.Dense(7, "tanh"), keras.layers.Dense(1, use_bias=False)]
    ... )
    >>> NetworkScore(network)(keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 6))).shape
    TensorShape([2, 3, 5])

    Reference: Luong, Pham & Manning, 2015, Effective Approaches to Attention-based Neural Machine
    Translation, https://arxiv.org/abs/1508.04025 (eq. 8, "concat").
    """

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        self.network = network

    def build(self, query_shape, key_shape):
        if not self.network.built:
            self.network.build((None, None, None, query_shape[-1] + key_shape[-1]))

    def score(self, query, keys):
        num_queries, num_values = ops.shape(query)[1], ops.shape(keys)[1]
        pairs = ops.concatenate(
            [
                ops.repeat(query[:, :, None, :], num_values, axis=2),
                ops.repeat(keys[:, None, :, :], num_queries, axis=1),
            ],
            axis=-1,
        )
        scores = self.network(pairs)  # (B, Tq, Tv, 1)
        if scores.shape[-1] != 1:
            raise ValueError(
                "`network` must map (..., Dq + Dk) to (..., 1). "
                f"Received: network output of shape {tuple(scores.shape)}."
            )
        return ops.squeeze(scores, axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
        }

    @classmethod
    def from_config(cls, config):
        network = keras.saving.deserialize_keras_object(config.pop("network"))
        return cls(network, **config)


def _multiply(inputs, kernel):
    """`inputs @ kernel` for inputs (…, D) and a kernel (D, units), as one product of two matrices.

    TensorFlow would take the tensor apart at run time, which is slower, and which XLA cannot
    compile inside the gradient of a loop over batches of unknown size.
    """
    rows = ops.matmul(ops.reshape(inputs, (-1, inputs.shape[-1])), kernel)
    return ops.reshape(rows, (*ops.shape(inputs)[:-1], kernel.shape[-1]))
