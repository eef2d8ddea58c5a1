"""What all attention layers have in common."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention import loop, masking, precision


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

    def context_width(self, query_width, value_width):
        """The width of what `attend` reads, which a decoder must know beforehand."""
        del query_width
        return value_width

    def prepare(self, value, key=None, mask=None):
        """Projects the keys, once a sequence.

        Args:
            value: Tensor of shape (B, Tv, Dv).
            key: Tensor of shape (B, Tv, Dk), or `None` for `value`.
            mask: Boolean tensor, (B, Tv) over values or broadcasting to (B, Tq, Tv) over pairs.

        Returns:
            An `AttentionMemory`.
        """
        key = value if key is None else key
        self._check_memory(value, key)
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
        return self._attend(self.score.score, query, memory, state, training)

    def _attend(self, score, query, memory, state, training):
        """`attend` by one of the ways to the scores: `Score.score` or `Score.score_sequence`."""
        scores = score(ops.cast(query, self.compute_dtype), memory.keys, *state)
        weights = self.normalizer(scores, memory.mask)
        context = self._read(weights, memory.values, training)
        return Attended(context, weights, self.score.next_state(weights, *state))

    def trace(self, state):
        """What `record` shall see of every step's state: a tree of tensors with one row a query."""
        return ()

    def record(self, trace, in_time):
        """Sees the traces of all steps, (B, T, …), one look after another if `in_time`."""

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
            score = functools.partial(self.score.score_sequence, training=training)
            return self._attend(score, query, memory, state, training)
        batch_size, num_queries = ops.shape(query)[:2]
        num_values = ops.shape(memory.values)[1]
        mask = ops.ones((1, 1, 1), "bool") if memory.mask is None else memory.mask
        mask = ops.broadcast_to(mask, (batch_size, num_queries, num_values))

        def look(state, now):
            query, mask = (ops.expand_dims(each, 1) for each in now)
            looked = self.attend(query, memory._replace(mask=mask), state, training)
            read = (ops.squeeze(each, 1) for each in looked[:2])
            return looked.state, (*read, self.trace(looked.state))

        widths = memory.values.shape[-1], num_values
        nothing = (ops.zeros((batch_size, width), self.compute_dtype) for width in widths)
        turned = (ops.swapaxes(query, 0, 1), ops.swapaxes(mask, 0, 1))
        output = (*nothing, self.trace(state))
        state, stacked = loop.scan(look, state, turned, output, self.non_trainable_variables)
        *read, trace = keras.tree.map_structure(lambda each: ops.swapaxes(each, 0, 1), stacked)
        self.record(trace, in_time=False)
        return Attended(*read, state)

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

    def _precise_dtype(self):
        """What positions and probabilities are counted in: half precision has no 2049."""
        return precision.float32_or_wider(self.compute_dtype)

    def _check_memory(self, value, key):
        if not self.built:
            raise ValueError(
                f"`{self.name}` has no weights yet: call it once, or its "
                "`build(query_shape, value_shape)`, before `prepare`."
            )
        if None not in (key.shape[1], value.shape[1]) and key.shape[1] != value.shape[1]:
            raise ValueError(
                "`key` and `value` must have the same length. "
                f"Received: key.shape={tuple(key.shape)}, value.shape={tuple(value.shape)}."
            )

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
