"""Several heads, each of which looks at the values in its own way.

Shapes: B batch, H heads, Tq queries, Tv values, Dq, Dk and Dv widths.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_attention import masking, normalizers
from keras_attention.attention import Attended, AttentionMemory, BaseAttention, SoftAttention
from keras_attention.scores.base import multiply

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class MultiHeadAttention(BaseAttention):
    """Attention by several heads, with any score under any normaliser.

    `weights_h = normalizer(score(query W_h^Q, key W_h^K))`,
    `context = [weights_1 value W_1^V ; ... ; weights_H value W_H^V] W^O`

    With `DotScore(scale=None)` this is the attention of the Transformer. The heads share the one
    score and its weights, if it has any; what makes them differ is what they project.

    Args:
        score: A `Score`, such as `DotScore(scale=None)`. It compares vectors of width `key_dim`.
        num_heads: Number of heads, H.
        key_dim: Width of the queries and keys of each head.
        value_dim: Width of the values of each head; `key_dim` unless given.
        output_dim: Width of the context; that of the query unless given.
        normalizer: A function `(scores, mask) -> weights`.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout.
        use_bias: Whether to add a bias after each of the four projections. The paper has none.
        kernel_initializer: Initializer of the four projections.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq), what asks.
        value: Tensor of shape (B, Tv, Dv), what is read.
        key: Tensor of shape (B, Tv, Dk), what is compared; `value` unless given.
        Masks and flags: those of every attention layer, see `BaseAttention`.

    Returns:
        The context, of shape (B, Tq, output_dim); with `return_attention_scores=True`, a tuple of
        the context and the weights of every head before dropout, of shape (B, H, Tq, Tv). `attend`,
        which a decoder steps, gives their mean over the heads, (B, Tq, Tv), as every layer does.

    Masking: a query that is masked, or has nothing to look at, reads 0, biases or not.

    Example:

    >>> layer = MultiHeadAttention(AdditiveScore(11), num_heads=2, key_dim=3)
    >>> query, value = keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 6))
    >>> context, weights = layer(query, value, return_attention_scores=True)
    >>> context.shape, weights.shape
    (TensorShape([2, 3, 4]), TensorShape([2, 2, 3, 5]))

    Reference: Vaswani et al., 2017, Attention Is All You Need, https://arxiv.org/abs/1706.03762
    (section 3.2.2).
    """

    def __init__(
        self,
        score,
        num_heads,
        key_dim,
        value_dim=None,
        output_dim=None,
        normalizer=normalizers.softmax,
        dropout=0.0,
        seed=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        # All heads are one attention over a batch of B * H, and that is where dropout happens.
        heads = SoftAttention(
            score, normalizer, dropout, seed, name="heads", dtype=kwargs.get("dtype")
        )
        super().__init__(score, normalizer, dropout=0.0, seed=seed, **kwargs)
        for name, number in (("num_heads", num_heads), ("key_dim", key_dim)):
            _check_positive(name, number)
        for name, number in (("value_dim", value_dim), ("output_dim", output_dim)):
            if number is not None:
                _check_positive(name, number)
        self.heads = heads
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.value_dim = value_dim
        self.output_dim = output_dim
        self.dropout = dropout
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, query_shape, value_shape, key_shape=None):
        key_shape = value_shape if key_shape is None else key_shape
        keys = self.num_heads * self.key_dim
        values = self.num_heads * (self.key_dim if self.value_dim is None else self.value_dim)
        context = self.context_width(query_shape[-1], value_shape[-1])
        self.query_projection = self._add_projection("query", query_shape[-1], keys)
        self.key_projection = self._add_projection("key", key_shape[-1], keys)
        self.value_projection = self._add_projection("value", value_shape[-1], values)
        self.output_projection = self._add_projection("output", values, context)
        if not self.heads.built:
            each = (None, None, self.key_dim)
            self.heads.build(each, each)

    def context_width(self, query_width, value_width):
        return query_width if self.output_dim is None else self.output_dim

    def prepare(self, value, key=None, mask=None):
        """Projects keys and values to the heads, once a sequence: see `BaseAttention.prepare`.

        Returns:
            An `AttentionMemory` whose keys and values have an axis for the heads: (B, H, Tv, …).
        """
        key = value if key is None else key
        self._check_memory(value, key)
        keys = self._split(self._project(key, self.key_projection))
        values = self._split(self._project(value, self.value_projection))
        memory = self.heads.prepare(_fold(values), _fold(keys))
        return AttentionMemory(
            keras.tree.map_structure(self._unfold, memory.keys),
            self._unfold(memory.values),
            masking.over_values(mask),
        )

    def initial_state(self, memory):
        state = self.heads.initial_state(self._memory_of_heads(memory))
        return keras.tree.map_structure(self._unfold, state)

    def attend(self, query, memory, state=(), training=False):
        batch_size = ops.shape(memory.values)[0]

        def to_heads(leaf):  # (B * Tq, H, …) -> (B * H * Tq, …)
            leaf = ops.reshape(leaf, (batch_size, -1, *ops.shape(leaf)[1:]))
            return _fold(_fold(ops.swapaxes(leaf, 1, 2)))

        def from_heads(leaf):  # (B * H * Tq, …) -> (B * Tq, H, …)
            leaf = ops.reshape(leaf, (batch_size, self.num_heads, -1, *ops.shape(leaf)[1:]))
            return _fold(ops.swapaxes(leaf, 1, 2))

        looked = self.heads.attend(
            self._query_of_heads(query),
            self._memory_of_heads(memory),
            keras.tree.map_structure(to_heads, state),
            training,
        )
        return Attended(
            self._merge(looked.context, memory.mask),
            ops.mean(self._unfold(looked.weights), axis=1),
            keras.tree.map_structure(from_heads, looked.state),
        )

    def attend_in_turn(self, query, memory, training=False):
        """As `attend`, in turn, but with the weights of every head: (B, H, Tq, Tv)."""
        looked = self.heads.attend_in_turn(
            self._query_of_heads(query), self._memory_of_heads(memory), training
        )
        return Attended(
            self._merge(looked.context, memory.mask),
            self._unfold(looked.weights),
            keras.tree.map_structure(self._unfold, looked.state),
        )

    def _query_of_heads(self, query):
        """(B, Tq, Dq) -> (B * H, Tq, key_dim)."""
        return _fold(self._split(self._project(query, self.query_projection)))

    def _memory_of_heads(self, memory):
        keys = keras.tree.map_structure(_fold, memory.keys)
        mask = memory.mask
        if mask is not None and mask.shape[0] != 1:
            mask = ops.repeat(mask, self.num_heads, axis=0)
        return AttentionMemory(keys, _fold(memory.values), mask)

    def _split(self, tensor):
        """(B, T, H * width) -> (B, H, T, width)."""
        width = tensor.shape[-1] // self.num_heads
        tensor = ops.reshape(tensor, (*ops.shape(tensor)[:2], self.num_heads, width))
        return ops.swapaxes(tensor, 1, 2)

    def _merge(self, contexts, mask):
        """What the heads read, (B * H, Tq, value_dim), side by side: -> (B, Tq, output_dim)."""
        contexts = ops.swapaxes(self._unfold(contexts), 1, 2)  # (B, Tq, H, value_dim)
        width = self.num_heads * contexts.shape[-1]
        contexts = ops.reshape(contexts, (*ops.shape(contexts)[:2], width))
        context = self._project(contexts, self.output_projection)
        if mask is None or not self.use_bias:
            return context
        # Where there is nothing to look at, the bias would be all that is read.
        return ops.where(ops.any(mask, axis=-1, keepdims=True), context, 0.0)

    def _unfold(self, tensor):
        """(B * H, …) -> (B, H, …)."""
        return ops.reshape(tensor, (-1, self.num_heads, *ops.shape(tensor)[1:]))

    def _project(self, tensor, projection):
        kernel, *bias = (ops.cast(each, self.compute_dtype) for each in projection)
        projected = multiply(ops.cast(tensor, self.compute_dtype), kernel)
        return projected + bias[0] if bias else projected

    def _add_projection(self, name, input_width, width):
        """The weights of one projection: a kernel and, with `use_bias`, a bias."""
        initializer = keras.initializers.get(keras.initializers.serialize(self.kernel_initializer))
        shape = (input_width, width)
        kernel = self.add_weight(shape=shape, initializer=initializer, name=f"{name}_kernel")
        if not self.use_bias:
            return (kernel,)
        return kernel, self.add_weight(shape=(width,), initializer="zeros", name=f"{name}_bias")

    def get_config(self):
        return {
            **super().get_config(),
            "score": keras.saving.serialize_keras_object(self.score),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "output_dim": self.output_dim,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _fold(tensor):
    """(B, H, …) -> (B * H, …)."""
    return ops.reshape(tensor, (-1, *ops.shape(tensor)[2:]))


def _check_positive(name, number):
    if not isinstance(number, int) or number <= 0:
        raise ValueError(f"`{name}` must be a positive integer. Received: {name}={number!r}.")
