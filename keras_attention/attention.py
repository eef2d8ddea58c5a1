"""Soft attention: score, mask, normalise, and read the weighted mean.

`call` is `prepare` and then `attend`, so that a whole sequence of queries and one step of a decoder
run the same code; where attention depends on where it was before, query by query. Shapes: B batch,
Tq queries, Tv values, Dq, Dk and Dv widths.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention import loop, masking, normalizers
from keras_attention.scores import AdditiveScore, DotScore

register = keras.saving.register_keras_serializable(package="keras_attention")


class AttentionMemory(NamedTuple):
    """What is attended to, projected once and for all: a plain tree of tensors."""

    keys: Any  # (B, Tv, units), as the score wants them
    values: Any  # (B, Tv, Dv)
    mask: Any  # broadcasts to (B, Tq, Tv), True = real; or None


class Attended(NamedTuple):
    """What attention gives back, whatever the layer."""

    context: Any  # (B, Tq, Dv), what was read
    weights: Any  # (B, Tq, Tv), before dropout
    state: Any  # what the mechanism must remember until its next look; () if nothing


class BaseAttention(keras.layers.Layer):
    """The contract of every attention layer; never used by itself.

    A member gives a `score` and a `normalizer` to this constructor, and its own arguments to
    `get_config`.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq), what asks.
        value: Tensor of shape (B, Tv, Dv), what is read.
        key: Tensor of shape (B, Tv, Dk), what is compared; `value` unless given.
        query_mask: Boolean tensor of shape (B, Tq), `True` = real.
        value_mask: Boolean tensor of shape (B, Tv), `True` = real.
        key_mask: Boolean tensor of shape (B, Tv), `True` = real.
        attention_mask: Boolean tensor that broadcasts to (B, Tq, Tv), `True` = may look.
        use_causal_mask: Whether query i may read values 0 … i only.
        return_attention_scores: Whether to return the weights too.
        training: Whether dropout applies.

    Returns:
        The context, of shape (B, Tq, Dv); with `return_attention_scores=True`, a tuple of the
        context and the weights before dropout, of shape (B, Tq, Tv).

    Masking: `query_mask`, `value_mask` and `key_mask` are taken from the Keras masks of the tensors
    unless given. Masked weights are exactly 0. A query that is masked, or has nothing to look at,
    reads 0. The context carries the query's mask on.
    """

    def __init__(self, score, normalizer, dropout, seed, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"`dropout` must be in [0, 1). Received: dropout={dropout!r}.")
        self.score = score
        self.normalizer = normalizer
        self.dropout = dropout
        self.seed = seed
        self.supports_masking = True
        if dropout > 0.0:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, query_shape, value_shape, key_shape=None):
        if not self.score.built:
            self.score.build(query_shape, value_shape if key_shape is None else key_shape)

    def prepare(self, value, key=None, mask=None):
        """Projects the keys, once a sequence.

        Args:
            value: Tensor of shape (B, Tv, Dv).
            key: Tensor of shape (B, Tv, Dk), or `None` for `value`.
            mask: Boolean tensor, (B, Tv) over values or broadcasting to (B, Tq, Tv) over pairs.

        Returns:
            An `AttentionMemory`.
        """
        if not self.built:
            raise ValueError(
                f"`{self.name}` has no weights yet: call it once, or its "
                "`build(query_shape, value_shape)`, before `prepare`."
            )
        key = value if key is None else key
        if None not in (key.shape[1], value.shape[1]) and key.shape[1] != value.shape[1]:
            raise ValueError(
                "`key` and `value` must have the same length. "
                f"Received: key.shape={tuple(key.shape)}, value.shape={tuple(value.shape)}."
            )
        keys = self.score.project_key(ops.cast(key, self.compute_dtype))
        return AttentionMemory(keys, ops.cast(value, self.compute_dtype), masking.over_values(mask))

    def initial_state(self, memory):
        """What `attend` is given at the first step: nothing, where the score does not look back."""
        return self.score.initial_state(memory.keys)

    def attend(self, query, memory, state=(), training=False):
        """Looks once at the memory with every query, the queries side by side.

        Args:
            query: Tensor of shape (B, Tq, Dq).
            memory: The `AttentionMemory` that `prepare` gave.
            state: The state that `initial_state` or the step before gave: a tuple of tensors with
                one row a query, (B * Tq, …).
            training: Whether dropout applies.

        Returns:
            An `Attended`: context (B, Tq, Dv), weights (B, Tq, Tv), and the next state.
        """
        scores = self.score.score(ops.cast(query, self.compute_dtype), memory.keys, *state)
        weights = self.normalizer(scores, memory.mask)
        context = self._read(weights, memory.values, training)
        return Attended(context, weights, self.score.next_state(weights, *state))

    def attend_in_turn(self, query, memory, training=False):
        """Looks at the memory with one query after another, as a decoder does.

        Only where attention depends on where it was before does this differ from `attend`.

        Args:
            query: Tensor of shape (B, Tq, Dq).
            memory: The `AttentionMemory` that `prepare` gave.
            training: Whether dropout applies.

        Returns:
            An `Attended`: context (B, Tq, Dv), weights (B, Tq, Tv), and the last state.
        """
        state = self.initial_state(memory)
        if state == ():
            return self.attend(query, memory, state, training)
        batch_size, num_queries = ops.shape(query)[:2]
        num_values = ops.shape(memory.values)[1]
        mask = ops.ones((1, 1, 1), "bool") if memory.mask is None else memory.mask
        mask = ops.broadcast_to(mask, (batch_size, num_queries, num_values))

        def look(state, now):
            query, mask = (ops.expand_dims(each, 1) for each in now)
            looked = self.attend(query, memory._replace(mask=mask), state, training)
            return looked.state, tuple(ops.squeeze(each, 1) for each in looked[:2])

        nothing = tuple(
            ops.zeros((batch_size, width), self.compute_dtype)
            for width in (memory.values.shape[-1], num_values)
        )
        turned = (ops.swapaxes(query, 0, 1), ops.swapaxes(mask, 0, 1))
        state, stacked = loop.scan(look, state, turned, nothing)
        return Attended(*(ops.swapaxes(each, 0, 1) for each in stacked), state)

    def call(
        self,
        query,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        use_causal_mask=False,
        return_attention_scores=False,
        training=False,
    ):
        self._check_ranks(query=query, value=value, key=value if key is None else key)
        mask = masking.combine(
            masking.over_queries(query_mask),
            masking.over_values(value_mask),
            masking.over_values(key_mask),
            masking.over_values(attention_mask),
            masking.causal_mask(ops.shape(query)[1], ops.shape(value)[1])
            if use_causal_mask
            else None,
        )
        memory = self.prepare(value, key, mask)
        attended = self.attend_in_turn(query, memory, training)
        return attended[:2] if return_attention_scores else attended.context

    def compute_mask(self, query, mask=None):
        return mask

    def _read(self, weights, values, training):
        if training and self.dropout > 0.0:
            weights = keras.random.dropout(weights, self.dropout, seed=self.seed_generator)
        return ops.matmul(weights, values)

    def _check_ranks(self, **tensors):
        for name, tensor in tensors.items():
            if len(tensor.shape) != 3:
                raise ValueError(
                    f"`{name}` must have shape (batch, length, width). "
                    f"Received: {name}.shape={tuple(tensor.shape)}."
                )

    def get_config(self):
        return {
            **super().get_config(),
            "normalizer": keras.saving.serialize_keras_object(self.normalizer),
            "dropout": self.dropout,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        revived = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("score", "normalizer")
            if name in config
        }
        return cls(**{**config, **revived})


@register
class SoftAttention(BaseAttention):
    """Reads the mean of the values, weighted by any score under any normaliser.

    `weights = normalizer(score(query, key))`, `context = weights value`

    Args:
        score: A `Score`, such as `AdditiveScore(256)`.
        normalizer: A function `(scores, mask) -> weights`, one of `keras_attention.normalizers` or
            your own, registered with Keras if the layer is to be saved.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq), what asks.
        value: Tensor of shape (B, Tv, Dv), what is read.
        key: Tensor of shape (B, Tv, Dk), what is compared; `value` unless given.
        Masks and flags: those of every attention layer, see `BaseAttention`.

    Returns:
        The context, of shape (B, Tq, Dv); with `return_attention_scores=True`, a tuple of the
        context and the weights before dropout, of shape (B, Tq, Tv).

    Example:

    >>> layer = SoftAttention(BilinearScore(), normalizer=normalizers.entmax15)
    >>> query, value = keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 6))
    >>> context, weights = layer(query, value, return_attention_scores=True)
    >>> context.shape, weights.shape
    (TensorShape([2, 3, 6]), TensorShape([2, 3, 5]))

    Reference: Bahdanau, Cho & Bengio, 2014, https://arxiv.org/abs/1409.0473 (eqs. 5 and 6).
    """

    def __init__(self, score, normalizer=normalizers.softmax, dropout=0.0, seed=None, **kwargs):
        super().__init__(score, normalizer, dropout, seed, **kwargs)

    def get_config(self):
        return {**super().get_config(), "score": keras.saving.serialize_keras_object(self.score)}


@register
class AdditiveSoftAttention(BaseAttention):
    """Bahdanau's attention: a small network scores, the weighted mean is read.

    `score_ij = v . tanh(W query_i + U key_j)`, `weights = normalizer(score)`,
    `context = weights value`

    Unlike `keras.layers.AdditiveAttention`, it projects queries and keys, so they may differ in
    width and the score can be learned.

    Args:
        units: Width of the hidden layer, the paper's n'.
        use_bias: Whether to add a bias inside the tanh. The paper has none.
        normalizer: A function `(scores, mask) -> weights`.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout.
        kernel_initializer: Initializer of `W`, `U` and `v`.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq), what asks.
        value: Tensor of shape (B, Tv, Dv), what is read.
        key: Tensor of shape (B, Tv, Dk), what is compared; `value` unless given.
        Masks and flags: those of every attention layer, see `BaseAttention`.

    Returns:
        The context, of shape (B, Tq, Dv); with `return_attention_scores=True`, a tuple of the
        context and the weights before dropout, of shape (B, Tq, Tv).

    Example:

    >>> layer = AdditiveSoftAttention(units=7)
    >>> query, value = keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 6))
    >>> context, weights = layer(query, value, return_attention_scores=True)
    >>> context.shape, weights.shape
    (TensorShape([2, 3, 6]), TensorShape([2, 3, 5]))

    Reference: Bahdanau, Cho & Bengio, 2014, Neural Machine Translation by Jointly Learning to
    Align and Translate, https://arxiv.org/abs/1409.0473 (eqs. 5 and 6, appendix A.1.2).
    """

    def __init__(
        self,
        units,
        use_bias=False,
        normalizer=normalizers.softmax,
        dropout=0.0,
        seed=None,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        dtype = kwargs.get("dtype")
        score = AdditiveScore(units, use_bias, kernel_initializer, name="score", dtype=dtype)
        super().__init__(score, normalizer, dropout, seed, **kwargs)
        self.units = score.units
        self.use_bias = score.use_bias
        self.kernel_initializer = score.kernel_initializer

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@register
class DotAttention(BaseAttention):
    """Luong's attention: the dot product scores, the weighted mean is read.

    `score_ij = scale * query_i . key_j`, `weights = normalizer(score)`, `context = weights value`

    It has no weights (but for a learned scale), and needs queries and keys of one width.

    Args:
        scale: A number, or `None` for `1 / sqrt(Dk)`.
        trainable_scale: Whether `scale` is only where a learned scalar begins.
        normalizer: A function `(scores, mask) -> weights`.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq), what asks.
        value: Tensor of shape (B, Tv, Dv), what is read.
        key: Tensor of shape (B, Tv, Dk), what is compared; `value` unless given.
        Masks and flags: those of every attention layer, see `BaseAttention`.

    Returns:
        The context, of shape (B, Tq, Dv); with `return_attention_scores=True`, a tuple of the
        context and the weights before dropout, of shape (B, Tq, Tv).

    Example:

    >>> query, value = keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 4))
    >>> DotAttention(scale=None)(query, value).shape
    TensorShape([2, 3, 4])

    Reference: Luong, Pham & Manning, 2015, Effective Approaches to Attention-based Neural Machine
    Translation, https://arxiv.org/abs/1508.04025 (eqs. 7 and 8).
    """

    def __init__(
        self,
        scale: float | None = 1.0,
        trainable_scale=False,
        normalizer=normalizers.softmax,
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        score = DotScore(scale, trainable_scale, name="score", dtype=kwargs.get("dtype"))
        super().__init__(score, normalizer, dropout, seed, **kwargs)
        self.scale = scale
        self.trainable_scale = trainable_scale

    def get_config(self):
        return {
            **super().get_config(),
            "scale": self.scale,
            "trainable_scale": self.trainable_scale,
        }
