"""Asking a memory several times, each time with what was read the time before.

Shapes: B questions, N slots of memory, units the width of a question, K hops.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_attention import masking
from keras_attention.attention import AttentionMemory, DotAttention
from keras_attention.memory_addressing.linear_start import RemovableSoftmax
from keras_attention.shapes import differ

register = keras.saving.register_keras_serializable(package="keras_attention")

TYINGS = ("adjacent", "layer_wise", "none")


@register
class MemoryAddressing(keras.layers.Layer):
    """Addresses a memory by one embedding of it, and reads its content by another.

    At hop k, of a question `u_1` and a memory of slots `x_i`:

    `weights_k = softmax_i(u_k . A_k x_i)`, `o_k = sum_i weights_ki C_k x_i`,
    `u_{k+1} = u_k + o_k`

    which is `DotAttention` with the address `A x` as key and the content `C x` as value. After the
    last hop, `u_{K+1}` is the answer. Embeddings are shared among the hops by `tying`:

    "adjacent": what a hop reads is what the next one compares, `A_{k+1} = C_k`: K + 1 embeddings;
    "layer_wise": all hops share one A and one C, and `u_{k+1} = H u_k + o_k`, as in an RNN;
    "none": every hop has two of its own.

    Args:
        embedding: A layer that maps a memory (B, N, ...) to (B, N, units), such as
            `SentenceEmbedding` or `Dense`. It is A_1, so it may embed the question too, as the
            paper has it; all others are copies of it, with weights of their own, which begin alike
            only where its initializer has a seed. `None` for a memory that is embedded already, as
            one of keys and values is: then addresses and contents are what is given.
        num_hops: K.
        tying: "adjacent", "layer_wise" or "none".

    Call arguments:
        query: Tensor of shape (B, units), the question.
        memory: Tensor of shape (B, N, ...), what is compared.
        content: Tensor of shape (B, N, ...), what is read; `memory` unless given. With "adjacent"
            tying, which embeds both alike, it must be as wide as `memory`.
        memory_mask: Boolean tensor of shape (B, N), `True` = real.
        content_mask: The same, of the content: a slot is real where both say so.
        return_attention_scores: Whether to return the weights too.

    Returns:
        The answer, of shape (B, units); with `return_attention_scores=True`, a tuple of the answer
        and the weights, of shape (B, K, N).

    Masking: masks are the Keras masks of memory and content unless given; where the memory has
    none, what the embedding makes of it, as `SentenceEmbedding` does of empty sentences. Masked
    weights are exactly 0. With nothing in the memory, nothing is read.

    The softmax of every hop is a `RemovableSoftmax`, at `hops[k].normalizer`: see `LinearStart`.

    An embedding that the question shares stays shared in a saved `.keras` file, but not in
    `keras.models.clone_model`, which makes each layer anew from its own config.

    Example:

    >>> embed = SentenceEmbedding(vocabulary_size=11, units=5)
    >>> story = keras.ops.array([[[1, 2, 3], [4, 5, 0], [0, 0, 0]]])
    >>> question = keras.ops.array([[6, 2, 7]])
    >>> layer = MemoryAddressing(embed, num_hops=2)
    >>> answer, weights = layer(embed(question), story, return_attention_scores=True)
    >>> answer.shape, weights.shape, float(weights[0, 0, 2])
    (TensorShape([1, 5]), TensorShape([1, 2, 3]), 0.0)

    Reference: Sukhbaatar et al., 2015, End-To-End Memory Networks,
    https://arxiv.org/abs/1503.08895 (eqs. 1 to 4, section 2.2); keys and values: Miller et al.,
    2016, https://arxiv.org/abs/1606.03126.
    """

    def __init__(self, embedding=None, num_hops=3, tying="adjacent", **kwargs):
        super().__init__(**kwargs)
        if isinstance(num_hops, bool) or not isinstance(num_hops, int) or num_hops < 1:
            raise ValueError(
                f"`num_hops` must be a positive integer. Received: num_hops={num_hops!r}."
            )
        if tying not in TYINGS:
            raise ValueError(f"`tying` must be one of {TYINGS}. Received: tying={tying!r}.")
        self.num_hops = num_hops
        self.tying = tying
        self.embedding = embedding
        self.supports_masking = True
        dtype = self.dtype_policy
        self.hops = [
            DotAttention(normalizer=RemovableSoftmax(dtype=dtype), name=f"hop_{k}", dtype=dtype)
            for k in range(1, num_hops + 1)
        ]
        self.addresses, self.contents = self._embeddings()

    def _embeddings(self):
        """A and C of each hop. The first A is `embedding` itself."""
        if self.embedding is None:
            return [], []
        count = self.num_hops
        if self.tying == "layer_wise":
            return [self.embedding] * count, [self._copy("content")] * count
        contents = [self._copy(f"content_{k + 1}") for k in range(count)]
        if self.tying == "adjacent":
            return [self.embedding, *contents[:-1]], contents
        return [
            self.embedding,
            *(self._copy(f"address_{k + 2}") for k in range(count - 1)),
        ], contents

    def _copy(self, name):
        return type(self.embedding).from_config({**self.embedding.get_config(), "name": name})

    def build(self, query_shape, memory_shape, content_shape=None):
        units = query_shape[-1]
        content_shape = memory_shape if content_shape is None else content_shape
        if self.tying == "adjacent" and self.addresses and memory_shape[2:] != content_shape[2:]:
            raise ValueError(
                "With adjacent tying, `content` must be as wide as `memory`: what embeds the one "
                "embeds the other a hop later. Received: "
                f"memory.shape={tuple(memory_shape)}, content.shape={tuple(content_shape)}."
            )
        for embedding, shape in (
            *((each, memory_shape) for each in self.addresses),
            *((each, content_shape) for each in self.contents),
        ):
            if not embedding.built:
                embedding.build(shape)
        for hop in self.hops:
            hop.build((None, 1, units), (None, None, units))
        if self.tying == "layer_wise":
            self.kernel = self.add_weight(
                shape=(units, units), initializer="glorot_uniform", name="kernel"
            )

    def call(
        self,
        query,
        memory,
        content=None,
        memory_mask=None,
        content_mask=None,
        return_attention_scores=False,
    ):
        content = memory if content is None else content
        self._check_shapes(query, memory, content)
        all_weights = []
        for k, hop in enumerate(self.hops):
            address, content_of_hop = memory, content
            if self.embedding is not None:
                address, content_of_hop = self.addresses[k](memory), self.contents[k](content)
            if k == 0:
                mask = self._mask(memory, address, memory_mask, content_mask)
                self._check_memory(query, address, content_of_hop, mask)
            read = AttentionMemory(address, content_of_hop, mask)
            context, weights, _ = hop.attend(query[:, None, :], read)
            all_weights.append(weights)
            query = self._onward(query) + ops.squeeze(context, 1)
        if not return_attention_scores:
            return query
        return query, ops.concatenate(all_weights, axis=1)

    def _onward(self, query):
        if self.tying != "layer_wise":
            return query
        return ops.matmul(query, ops.cast(self.kernel, query.dtype))

    def _mask(self, memory, address, memory_mask, content_mask):
        if memory_mask is None and self.embedding is not None:
            memory_mask = self.addresses[0].compute_mask(memory, None)
        if memory_mask is None:  # it may be of a layer within the embedding
            memory_mask = getattr(address, "_keras_mask", None)
        return masking.combine(*map(masking.over_values, (memory_mask, content_mask)))

    def _check_shapes(self, query, memory, content):
        if len(query.shape) != 2:
            raise ValueError(
                "`query` must have shape (batch, units), one question each. "
                f"Received: query.shape={tuple(query.shape)}."
            )
        if min(len(memory.shape), len(content.shape)) < 2 or differ(
            memory.shape[:2], content.shape[:2]
        ):
            raise ValueError(
                "`memory` and `content` must have shapes (batch, slots, ...), with as many slots. "
                f"Received: memory.shape={tuple(memory.shape)}, "
                f"content.shape={tuple(content.shape)}."
            )

    def _check_memory(self, query, address, content, mask):
        """What is compared and read must be as wide as the question."""
        for name, each in (("memory", address), ("content", content)):
            if len(each.shape) != 3 or differ(each.shape[-1:], query.shape[-1:]):
                raise ValueError(
                    f"`{name}`, embedded, must have shape (batch, slots, units), with the units of "
                    f"`query`. Received: query.shape={tuple(query.shape)}, {name} of shape "
                    f"{tuple(each.shape)}."
                )
        if mask is not None and differ(mask.shape[-1:], address.shape[1:2]):
            raise ValueError(
                "`memory_mask` must have shape (batch, slots). "
                f"Received: a mask over {mask.shape[-1]} slots, of {address.shape[1]}."
            )

    def compute_mask(self, inputs, previous_mask):
        return None  # Nothing is left of the axis that it is over.

    def get_config(self):
        return {
            **super().get_config(),
            "embedding": keras.saving.serialize_keras_object(self.embedding),
            "num_hops": self.num_hops,
            "tying": self.tying,
        }

    @classmethod
    def from_config(cls, config):
        embedding = keras.saving.deserialize_keras_object(config["embedding"])
        return cls(**{**config, "embedding": embedding})
