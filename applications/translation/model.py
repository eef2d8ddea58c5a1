"""The translator: a bidirectional encoder, a decoder with attention, a deep output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from applications.training import precision, schedules, searching, text, updates
from applications.training.crossentropy import SmoothedCrossentropy
from applications.training.encoder import BidirectionalGRU
from applications.translation.config import MONOTONIC, TranslationConfig
from applications.translation.data import Facts
from keras_attention import (
    AdditiveScore,
    AdditiveSoftAttention,
    AttentionCell,
    AttentionDecoder,
    BilinearScore,
    DotAttention,
    MonotonicAttention,
    SoftAttention,
    masking,
    search,
)


@keras.saving.register_keras_serializable(package="keras_attention_applications")
class Translator(keras.Model):
    """RNNsearch (Bahdanau et al., 2014), and RNNencdec, the classic model it improved on.

    With x the source, y the target, E embeddings and s the decoder's state:

        h_j     = [GRU(E x)_j ; backward GRU(E x)_j]         the annotations
        s_0     = tanh(W h_1), h_1 of the backward GRU
        s_i,c_i = AttentionCell(E y_{i-1}, s_{i-1}, h)
        t_i     = maxout(U s_i + V E y_{i-1} + C c_i)        the deep output
        p(y_i)  = softmax(E t_i + b)

    Unlike the paper's, the deep output sees the new state s_i, and the target embeddings serve as
    output matrix too (Press & Wolf, 2017). Without attention, c_i is the last state of each
    direction at every step, as in RNNencdec.

    Args:
        source_size: Size of the source vocabulary.
        target_size: Size of the target vocabulary.
        attention: "additive", "bilinear", "monotonic", "mocha", "milk" or "none".
        looks: What there is to set of a monotonic kind: see `_attention`.
        input_feeding: Luong's order of looking and updating, not Bahdanau's.
        embedding_units: Width of E and t.
        units: Width of each GRU and of the additive score.
        dropout: Share of E x, E y, h and t dropped in training.
        output_dtype: Precision of the products U s + V E y + C c and E t in training; elsewhere,
            and if it is float32, they are as precise as all others.

    Call arguments:
        inputs: A dict of `source` (B, S) and `target` (B, T), ids, the target behind a start token;
            and `source_lengths` (B,), how much of each source is real.

    Returns:
        Logits (B, T, at least `target_size`), float32.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        attention: str = "additive",
        looks: Mapping[str, Any] | None = None,
        input_feeding: bool = False,
        embedding_units: int = 256,
        units: int = 256,
        dropout: float = 0.0,
        output_dtype: str = "float32",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config: dict[str, Any] = {
            "source_size": source_size,
            "target_size": target_size,
            "attention": attention,
            "looks": dict(looks or {}),
            "input_feeding": input_feeding,
            "embedding_units": embedding_units,
            "units": units,
            "dropout": dropout,
            "output_dtype": output_dtype,
        }
        self.target_size = target_size
        with precision.policy(self.dtype_policy):
            self.source_embedding = layers.Embedding(_round_up(source_size), embedding_units)
            self.target_embedding = layers.ReversibleEmbedding(
                _round_up(target_size), embedding_units
            )
            self.encoder = BidirectionalGRU(units, name="encoder")
            self.first_state = layers.Dense(units, activation="tanh", name="first_state")
            cell = AttentionCell(
                layers.GRUCell(units),
                _attention(attention, units, **self.config["looks"]),
                attentional_units=units if input_feeding else None,
            )
            self.decoder = AttentionDecoder(cell, name="decoder")
            self.deep_output = layers.Dense(2 * embedding_units, name="deep_output")
            self.dropout = layers.Dropout(dropout)
        self.has_attention = attention != "none"

    def build(self, inputs_shape):
        width, units = self.config["embedding_units"], self.config["units"]
        embedded, annotations = (None, None, width), (None, None, 2 * units)
        self.source_embedding.build((None, None))
        self.target_embedding.build((None, None))
        self.encoder.build(embedded)
        self.first_state.build((None, units))
        key = annotations if self.has_attention else (None, None, units)
        self.decoder.build(embedded, annotations, key)
        self.deep_output.build((None, None, units + width + 2 * units))
        self.output_bias = self.add_weight(
            shape=(_round_up(self.target_size),),
            initializer="zeros",
            autocast=False,
            name="output_bias",
        )

    def call(self, inputs, training=False):
        memory, state = self.encode(inputs["source"], inputs["source_lengths"], training)
        embedded = self.dropout(self.target_embedding(inputs["target"]), training=training)
        decoded = self.decoder.run(embedded, memory, state, training=training)
        return self._logits(decoded.outputs, decoded.contexts, embedded, self.output_bias, training)

    def annotate(self, source, source_lengths, training=False):
        """What the encoder makes of each token (B, S, 2 units), and its last states (B, units)."""
        mask = masking.padding_mask(source_lengths, ops.shape(source)[1])
        embedded = self.dropout(self.source_embedding(source), training=training)
        return self.encoder(embedded, mask=mask)

    def encode(self, source, source_lengths, training=False):
        """The memory that the decoder reads, and the state it begins with."""
        mask = masking.padding_mask(source_lengths, ops.shape(source)[1])
        annotations, forward, backward = self.annotate(source, source_lengths, training)
        if self.has_attention:
            annotations = self.dropout(annotations, training=training)
            memory = self.decoder.prepare(annotations, mask=mask)
        else:  # The one value that there is has weight 1, whatever its score.
            summary = ops.concatenate([forward, backward], axis=-1)[:, None, :]
            summary = self.dropout(summary, training=training)
            memory = self.decoder.prepare(summary, key=ops.zeros_like(backward)[:, None, :])
        return memory, self.decoder.initial_state(memory, [self.first_state(backward)])

    def log_probabilities(self, source, source_lengths, target):
        """Of each next token: (B, T, V), where `target` (B, T) begins with the start."""
        memory, state = self.encode(source, source_lengths)
        embedded = self.target_embedding(target)
        decoded = self.decoder.run(embedded, memory, state)
        bias = self._bias_of_what_may_come()
        return ops.log_softmax(self._logits(decoded.outputs, decoded.contexts, embedded, bias))

    def translate(
        self,
        source,
        source_lengths,
        *,
        max_length,
        beam_width=1,
        num_hypotheses=1,
        length_penalty=0.0,
        coverage_penalty=0.0,
        early_stopping=False,
    ) -> search.Hypotheses:
        """Searches for translations: source (B, S) and lengths (B,) to `search.Hypotheses`."""
        memory, state = self.encode(source, source_lengths)
        mask = masking.padding_mask(source_lengths, ops.shape(source)[1])
        bias = self._bias_of_what_may_come()

        def step(ids, state, memory):
            embedded = self.target_embedding(ids)
            done = self.decoder.step(embedded, state, memory)
            logits = self._logits(done.output, done.context, embedded, bias)
            return ops.log_softmax(logits), done.state, done.weights

        return searching.best(
            step,
            state,
            memory,
            batch_size=ops.shape(source)[0],
            max_length=max_length,
            beam_width=beam_width,
            num_hypotheses=num_hypotheses,
            length_penalty=length_penalty,
            coverage_penalty=coverage_penalty,
            early_stopping=early_stopping,
            value_mask=mask if self.has_attention else mask[:, :1],
        )

    @property
    def noise_level(self):
        """The variable of the noise that monotonic attention learns to withstand."""
        return self.decoder.cell.attention.noise_level

    def by_mean(self) -> Translator:
        """The same, but that its monotonic attention reads the mean in a search, as in training."""
        looks = {**self.config["looks"], "inference": "mean"}
        twin = Translator.from_config({**self.get_config(), "looks": looks})
        twin(_smallest_batch())
        twin.set_weights(self.get_weights())
        return twin

    def _bias_of_what_may_come(self):
        never = np.zeros(_round_up(self.target_size), np.float32)
        never[[text.PAD, text.START]] = never[self.target_size :] = -np.inf
        return self.output_bias + never

    def _logits(self, outputs, contexts, embedded, bias, training=False):
        dtype = self.config["output_dtype"] if training else "float32"
        dtype = self.compute_dtype if dtype == "float32" else dtype
        features = ops.concatenate([outputs, embedded, contexts], axis=-1)
        rows = ops.reshape(features, (-1, features.shape[-1]))
        deep = ops.cast(_multiply(rows, self.deep_output.kernel, dtype), rows.dtype)
        deep += ops.cast(self.deep_output.bias, rows.dtype)
        deep = self.dropout(ops.maximum(*ops.split(deep, 2, axis=-1)), training=training)
        logits = _multiply(deep, ops.transpose(self.target_embedding.embeddings), dtype)
        logits = ops.cast(logits, precision.of_losses()) + bias
        return ops.reshape(logits, (*ops.shape(features)[:-1], logits.shape[-1]))

    def get_config(self):
        return {**super().get_config(), **self.config}


def build(config: TranslationConfig, facts: Facts) -> keras.Model:
    """The translator of a run, compiled for training."""
    model = Translator(
        source_size=facts.source.size,
        target_size=facts.target.size,
        attention=config.attention,
        looks=_looks(config),
        input_feeding=config.input_feeding,
        embedding_units=config.embedding_units,
        units=config.units,
        dropout=config.dropout,
        output_dtype=config.output_dtype,
    )
    model(_smallest_batch())
    optimizer = schedules.adam(config.learning_rate, config.average, global_clipnorm=1.0)
    model.compile(
        updates.of(optimizer, config),
        SmoothedCrossentropy(config.label_smoothing),
        jit_compile=False,
    )
    return model


def _smallest_batch() -> dict[str, np.ndarray]:
    ids = np.full((1, 1), text.END, np.int32)
    return {"source": ids, "source_lengths": np.ones(1, np.int32), "target": ids}


def _looks(config: TranslationConfig) -> dict[str, Any]:
    """What there is to set of the run's kind of attention."""
    if config.attention not in MONOTONIC:
        return {}
    looks = {"initial_bias": config.initial_bias, "noise": config.pre_sigmoid_noise[0]}
    return {**looks, "chunk": config.chunk} if config.attention == "mocha" else looks


def _attention(kind: str, units: int, chunk: int = 1, **monotonic):
    if kind == "additive":
        return AdditiveSoftAttention(units, name="attention")
    if kind == "bilinear":
        return SoftAttention(BilinearScore(), name="attention")
    if kind in MONOTONIC:
        chunk_size = {"monotonic": 1, "mocha": chunk, "milk": None}[kind]
        return MonotonicAttention(
            AdditiveScore(units, use_bias=True, normalize=True),
            chunk_size,
            None if chunk_size == 1 else AdditiveScore(units, use_bias=True),
            name="attention",
            **monotonic,
        )
    return DotAttention(name="attention")


def _multiply(rows, kernel, dtype: str):
    """The product of two matrices, in a dtype of its own."""
    return ops.matmul(ops.cast(rows, dtype), ops.cast(kernel, dtype))


def _round_up(size: int, multiple: int = 64) -> int:
    """Matrix products with odd sizes are slower: at 7,859 columns by half."""
    return -(-size // multiple) * multiple
