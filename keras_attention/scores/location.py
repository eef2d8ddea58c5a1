"""The location-aware score, which sees where attention was before."""

from __future__ import annotations

import keras
from keras import ops

from keras_attention import precision
from keras_attention.scores.base import Score, multiply

register = keras.saving.register_keras_serializable(package="keras_attention")

LOOKS_AT = {
    "previous": ("previous",),
    "cumulative": ("cumulative",),
    "both": ("previous", "cumulative"),
}


@register
class LocationAwareScore(Score):
    """Scores by content and by place: by what a value is, and by where attention was before.

    `f = F * a`, a convolution over the values, and then
    `score_ij = v . tanh(W query_i + U key_j + V f_ij + b)`

    `a` is, for query i, the weights of the query before, the sum of the weights of all queries
    before, or both, in two channels; 0 before the first. So an attention layer with this score
    looks with one query after another. A query that looks at nothing, being masked, leaves `a` as
    it was.

    Args:
        units: Width of the hidden layer.
        filters: Number of filters in `F`.
        kernel_size: Width of each filter, an odd number of values, the middle one of which is
            value j. Half of it has to reach from one value that is read to the next: all values
            farther away than that are the same by place, before and behind.
        looks_at: What `a` is: "previous", "cumulative" or "both".
        use_bias: Whether to add `b`.
        kernel_initializer: Initializer of `W`, `U`, `V`, `F` and `v`.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq).
        key: Tensor of shape (B, Tv, Dk).
        state: A tuple of one tensor (B * Tq, Tv), or two for "both", the previous weights first:
            `a`, as `initial_state` and `next_state` give it; 0 unless given.

    Returns:
        Scores of shape (B, Tq, Tv).

    Masking: masked weights are 0, and so is what lies beyond the ends, so that padding is not seen.

    Example:

    >>> score = LocationAwareScore(units=7, filters=2, kernel_size=3, looks_at="both")
    >>> layer = SoftAttention(score)
    >>> query, value = keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 6))
    >>> context, weights = layer(query, value, return_attention_scores=True)
    >>> context.shape, weights.shape
    (TensorShape([2, 3, 6]), TensorShape([2, 3, 5]))

    Reference: Chorowski et al., 2015, Attention-Based Models for Speech Recognition,
    https://arxiv.org/abs/1506.07503 (eqs. 8 and 9).
    """

    def __init__(
        self,
        units,
        filters,
        kernel_size,
        looks_at="previous",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, size in (("units", units), ("filters", filters), ("kernel_size", kernel_size)):
            if not isinstance(size, int) or size <= 0:
                raise ValueError(f"`{name}` must be a positive integer. Received: {name}={size!r}.")
        if kernel_size % 2 == 0:
            raise ValueError(
                "`kernel_size` must be odd, to have a middle. "
                f"Received: kernel_size={kernel_size!r}."
            )
        if looks_at not in LOOKS_AT:
            raise ValueError(
                '`looks_at` must be "previous", "cumulative" or "both". '
                f"Received: looks_at={looks_at!r}."
            )
        self.units = units
        self.filters = filters
        self.kernel_size = kernel_size
        self.looks_at = looks_at
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, query_shape, key_shape):
        def add(name, shape):
            initializer = keras.initializers.get(
                keras.initializers.serialize(self.kernel_initializer)
            )
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        channels = len(LOOKS_AT[self.looks_at])
        self.query_kernel = add("query_kernel", (query_shape[-1], self.units))
        self.key_kernel = add("key_kernel", (key_shape[-1], self.units))
        self.convolution = add("convolution", (self.kernel_size, channels, self.filters))
        self.location_kernel = add("location_kernel", (self.filters, self.units))
        self.v = add("v", (self.units,))
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, query, key, state=None):
        keys = self.project_key(key)
        if state is None:
            num_queries = ops.shape(query)[1]
            state = (ops.repeat(each, num_queries, axis=0) for each in self.initial_state(keys))
        return self.score(query, keys, *state)

    def compute_output_spec(self, query, key, state=None):
        # JAX and torch guess unknown sizes, and do not guess that rows are B * Tq.
        return keras.KerasTensor((*query.shape[:2], key.shape[1]), self.compute_dtype)

    def project_key(self, key):
        keys = ops.matmul(key, self._read(self.key_kernel))
        return keys + self._read(self.bias) if self.use_bias else keys

    def score(self, query, keys, *state):
        batch_size, num_queries = ops.shape(query)[:2]
        queries = multiply(query, self._read(self.query_kernel))
        places = ops.reshape(
            self._places(state), (batch_size, num_queries, ops.shape(keys)[1], self.units)
        )
        hidden = ops.tanh(ops.expand_dims(queries, 2) + ops.expand_dims(keys, 1) + places)
        return ops.squeeze(multiply(hidden, self._read(self.v)[:, None]), axis=-1)

    def _places(self, state):
        """`V f`, what a look needs to know of those before: (B * Tq, Tv, units)."""
        before = ops.stack([ops.cast(each, self.compute_dtype) for each in state], axis=-1)
        found = ops.conv(
            before, self._read(self.convolution), padding="same", data_format="channels_last"
        )
        return multiply(found, self._read(self.location_kernel))

    def initial_state(self, keys):
        # In half precision a sum of weights would soon stand still.
        dtype = precision.float32_or_wider(self.compute_dtype)
        zeros = ops.zeros(ops.shape(keys)[:2], dtype)
        return tuple(zeros for _ in LOOKS_AT[self.looks_at])

    def next_state(self, weights, *state):
        weights = ops.cast(ops.reshape(weights, ops.shape(state[0])), state[0].dtype)
        has_looked = ops.any(weights > 0.0, axis=-1, keepdims=True)
        return tuple(
            ops.where(has_looked, weights, before) if name == "previous" else before + weights
            for name, before in zip(LOOKS_AT[self.looks_at], state, strict=True)
        )

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "looks_at": self.looks_at,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
