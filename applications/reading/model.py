"""The reader: two GRUs that read passage and query, attention between them, a marker as answer."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from applications.reading.config import ReadingConfig
from applications.reading.data import Facts
from applications.reading.encoding import PAD
from applications.training import precision, schedules, updates
from applications.training.encoder import BidirectionalGRU
from keras_attention import AdditiveSoftAttention, BilinearScore, SoftAttention

CLIP = 10.0  # the longest gradient of all weights together
NEVER = -1e9  # the logit of an entity that is not in the passage


class Reading(NamedTuple):
    """What is answered, and what was read to know it."""

    logits: Any  # (B, E)
    candidates: Any  # (B, E) bool, the entities that are in the passage
    weights: Any  # (B, P)


@keras.saving.register_keras_serializable(package="keras_attention_applications")
class Reader(keras.Model):
    """The Attentive Reader (Hermann et al., 2015), and its bilinear form (Chen et al., 2016).

    With d the passage, q the query, E embeddings, and a an entity of the passage:

        y_t  = [GRU(E d)_t ; backward GRU(E d)_t]
        u    = [GRU(E q)_Q ; backward GRU(E q)_1]
        s_t  = softmax_t(w . tanh(W_ym y_t + W_um u))    attentive
        s_t  = softmax_t(u . (W_s y_t))                  bilinear
        s_t  = 1 / P                                     the uniform reader
        r    = sum_t s_t y_t
        g    = tanh(W_rg r + W_ug u)                     attentive
        g    = r                                         bilinear
        p(a) = softmax_a(w_a . g)

    Unlike Hermann's, it chooses among the entities of the passage and not among all words, as
    Chen's does, and it has GRUs instead of LSTMs.

    Args:
        first_entity: How many ids are of words, that of padding included.
        num_entities: How many ids, after those, are of markers.
        model: "attentive" or "bilinear".
        attention: "learned" or "uniform".
        embedding_units: Width of the embeddings.
        units: Width of each GRU.
        dropout: Share of the embeddings dropped in training.

    Call arguments:
        inputs: A dict of `passage` (B, P) and `query` (B, Q), ids, with 0 at the end for padding.

    Returns:
        Logits (B, num_entities), float32.

    Reference: https://arxiv.org/abs/1506.03340 (section 3.2) and
    https://arxiv.org/abs/1606.02858 (section 3.2).
    """

    def __init__(
        self,
        first_entity: int,
        num_entities: int,
        model: str = "attentive",
        attention: str = "learned",
        embedding_units: int = 100,
        units: int = 128,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config = {
            "first_entity": first_entity,
            "num_entities": num_entities,
            "model": model,
            "attention": attention,
            "embedding_units": embedding_units,
            "units": units,
            "dropout": dropout,
        }
        self.first_entity, self.num_entities = first_entity, num_entities
        with precision.policy(self.dtype_policy):
            self.embedding = layers.Embedding(
                first_entity + num_entities, embedding_units, name="embedding"
            )
            self.dropout = layers.Dropout(dropout)
            self.passage_encoder = BidirectionalGRU(units, name="passage_encoder")
            self.query_encoder = BidirectionalGRU(units, name="query_encoder")
            self.attention = None
            if attention == "learned" and model == "attentive":
                self.attention = AdditiveSoftAttention(2 * units, name="attention")
            elif attention == "learned":
                self.attention = SoftAttention(BilinearScore(), name="attention")
            self.joint = None
            if model == "attentive":
                self.joint = layers.Dense(2 * units, "tanh", use_bias=False, name="joint")
            self.answers = layers.Dense(
                num_entities, use_bias=False, dtype=precision.of_losses(), name="answers"
            )

    def build(self, inputs_shape):
        width, units = self.config["embedding_units"], self.config["units"]
        self.embedding.build((None, None))
        self.passage_encoder.build((None, None, width))
        self.query_encoder.build((None, None, width))
        if self.attention is not None:
            self.attention.build((None, 1, 2 * units), (None, None, 2 * units))
        if self.joint is not None:
            self.joint.build((None, 4 * units))
        self.answers.build((None, 2 * units))

    def call(self, inputs, training=False):
        return self.read(inputs["passage"], inputs["query"], training).logits

    def read(self, passage, query, training=False) -> Reading:
        """The same, with the weights of the words."""
        mask = passage != PAD
        annotations = self.passage_encoder(self._embed(passage, training), mask=mask).annotations
        asked = self.query_encoder(self._embed(query, training), mask=query != PAD)
        asked = ops.concatenate([asked.forward, asked.backward], axis=-1)
        context, weights = self._look(asked, annotations, mask)
        if self.joint is not None:
            context = self.joint(ops.concatenate([context, asked], axis=-1))
        markers = self.first_entity + ops.arange(self.num_entities, dtype=passage.dtype)
        candidates = ops.any(ops.expand_dims(passage, 2) == markers, axis=1)
        logits = ops.where(candidates, self.answers(context), NEVER)
        return Reading(logits, candidates, ops.cast(weights, "float32"))

    def _embed(self, ids, training):
        return self.dropout(self.embedding(ids), training=training)

    def _look(self, asked, annotations, mask):
        """What is read of the passage (B, 2 U), and the weights (B, P)."""
        if self.attention is not None:
            context, weights = self.attention(
                asked[:, None, :], annotations, value_mask=mask, return_attention_scores=True
            )
            return context[:, 0, :], weights[:, 0, :]
        weights = ops.cast(mask, annotations.dtype)
        weights /= ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1.0)
        return ops.einsum("bp,bpd->bd", weights, annotations), weights

    def get_config(self):
        return {**super().get_config(), **self.config}


def build(config: ReadingConfig, facts: Facts) -> Reader:
    """The reader of a run, compiled for training."""
    model = Reader(
        facts.encoder().first_entity,
        facts.num_entities,
        model=config.model,
        attention=config.attention,
        embedding_units=config.embedding_units,
        units=config.units,
        dropout=config.dropout,
    )
    ids = np.ones((1, 1), np.int32)
    model({"passage": ids, "query": ids})
    optimizer = schedules.adam(config.learning_rate, config.average, global_clipnorm=CLIP)
    model.compile(
        updates.of(optimizer, config),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=False,
    )
    return model
