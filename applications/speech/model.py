"""The recognizer: features, a pyramid of recurrent layers, a decoder that looks along it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from applications.speech import features
from applications.speech.config import MONOTONIC, SpeechConfig
from applications.speech.data import Facts
from applications.speech.encoder import PyramidalEncoder
from applications.speech.forgetting import ForgetfulGRUCell
from applications.training import precision, schedules, searching, text, updates
from applications.training.crossentropy import SmoothedCrossentropy
from keras_attention import (
    AdditiveScore,
    AttentionCell,
    AttentionDecoder,
    LocalAttention,
    LocationAwareScore,
    MonotonicAttention,
    SoftAttention,
    masking,
    normalizers,
    search,
)

ENDS = 256  # recordings from whose ends others go on


@keras.saving.register_keras_serializable(package="keras_attention_applications")
class SpeechRecognizer(keras.Model):
    """Attention-based speech recognition (Chorowski et al.), on a pyramid (Chan et al.).

    With x the recording, y the transcript, E embeddings and s the decoder's state:

        h       = pyramid(log-mel(x))                        the annotations
        s_i,c_i = AttentionCell(E y_{i-1}, s_{i-1}, h)       s_0 = 0, a `ForgetfulGRUCell`
        p(y_i)  = softmax(V tanh(E y_{i-1} + U [s_i ; c_i]))

    The decoder begins with zeros, so that it can begin before the recording has ended.

    Args:
        vocabulary_size: Number of tokens.
        heard: The settings of the features: see `features.Heard`.
        encoder: Arguments of `PyramidalEncoder`, but for its dropout.
        attention: "content", "location", "smooth", "monotonic", "mocha" or "milk".
        looks: What there is to set of that kind: see `_attention`.
        embedding_units: Width of E and of the deep output.
        units: Width of the decoder and of the score.
        forgetting: See `ForgetfulGRUCell`.
        dropout: Share of what layers of the encoder hand on, of E y, h and the deep output that is
            dropped in training.

    Call arguments:
        inputs: A dict of `audio` (B, N) float32, `audio_lengths` (B,), in samples, `transcript`
            (B, T), ids behind a start token, and perhaps `goes_on` (B,), see `PyramidalEncoder`.

    Returns:
        Logits (B, T, vocabulary_size), float32.
    """

    def __init__(
        self,
        vocabulary_size: int,
        heard: Mapping[str, Any],
        encoder: Mapping[str, Any],
        attention: str = "location",
        looks: Mapping[str, Any] | None = None,
        embedding_units: int = 64,
        units: int = 128,
        forgetting: float = 0.0,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.autocast = False  # Samples stay as precise as they are.
        self.config: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "heard": dict(heard),
            "encoder": dict(encoder),
            "attention": attention,
            "looks": dict(looks or {}),
            "embedding_units": embedding_units,
            "units": units,
            "forgetting": forgetting,
            "dropout": dropout,
        }
        self.heard = features.Heard.of(heard)
        with precision.policy(self.dtype_policy):
            self.encoder = PyramidalEncoder(**encoder, dropout=dropout, name="encoder")
            self.embedding = layers.Embedding(vocabulary_size, embedding_units)
            looks = _attention(attention, units, **self.config["looks"])
            cell = AttentionCell(ForgetfulGRUCell(units, forgetting), looks)
            self.decoder = AttentionDecoder(cell, name="decoder")
            self.deep_output = layers.Dense(embedding_units, name="deep_output")
            self.output_layer = layers.Dense(
                vocabulary_size, dtype=precision.of_losses(), name="output"
            )
            self.dropout = layers.Dropout(dropout)

    def build(self, inputs_shape):
        units, width = self.config["units"], self.config["embedding_units"]
        encoded = self.encoder.units * (2 if self.encoder.bidirectional else 1)
        annotations = (None, None, encoded)
        self.encoder.build((None, None, len(self.heard.mean)))
        self.embedding.build((None, None))
        self.decoder.build((None, None, width), annotations, annotations)
        self.deep_output.build((None, None, units + encoded))
        self.output_layer.build((None, None, width))

    def call(self, inputs, training=False):
        heard, frames = self.hear(inputs["audio"], inputs["audio_lengths"])
        annotations, lengths = self.encoder(heard, frames, inputs.get("goes_on"), training=training)
        memory = self.remember(annotations, lengths, training)
        embedded = self.dropout(self.embedding(inputs["transcript"]), training=training)
        state = self.decoder.initial_state(memory)
        decoded = self.decoder.run(embedded, memory, state, training=training)
        return self._logits(decoded.outputs, decoded.contexts, embedded, training)

    def encode(self, audio, lengths):
        """Annotations (B, S, D), and how many each recording has, (B,)."""
        return self.encoder(*self.hear(audio, lengths))

    def hear(self, audio, lengths):
        """Features (B, T, F), and how many frames of each recording there are, (B,)."""
        heard, frames = features.extract(audio, lengths, self.heard)
        return ops.cast(heard, self.compute_dtype), frames

    def remember(self, annotations, lengths, training=False):
        """The memory that the decoder looks at."""
        annotations = self.dropout(annotations, training=training)
        mask = masking.padding_mask(lengths, ops.shape(annotations)[1])
        return self.decoder.prepare(annotations, mask=mask)

    @property
    def noise_level(self):
        """The variable of the noise that monotonic attention learns to withstand."""
        return self.decoder.cell.attention.noise_level

    def step(self, ids, state, memory):
        """One step of a search: ids (N,) to log-probabilities (N, V), the state, the weights."""
        embedded = self.embedding(ids)
        done = self.decoder.step(embedded, state, memory)
        logits = self._logits(done.output, done.context, embedded)
        bias = searching.bias_of_what_may_come(self.output_layer.units)
        return ops.log_softmax(logits + bias), done.state, done.weights

    def transcribe(
        self,
        annotations,
        lengths,
        *,
        max_length,
        beam_width=1,
        num_hypotheses=1,
        length_penalty=0.0,
    ) -> search.Hypotheses:
        """Searches for transcripts of what `encode` gave."""
        memory = self.remember(annotations, lengths)
        return searching.best(
            self.step,
            self.decoder.initial_state(memory),
            memory,
            batch_size=ops.shape(annotations)[0],
            max_length=max_length,
            beam_width=beam_width,
            num_hypotheses=num_hypotheses,
            length_penalty=length_penalty,
        )

    def _logits(self, outputs, contexts, embedded, training=False):
        seen = self.deep_output(ops.concatenate([outputs, contexts], axis=-1))
        deep = self.dropout(ops.tanh(embedded + seen), training=training)
        return self.output_layer(deep)

    def get_config(self):
        return {**super().get_config(), **self.config}


def build(config: SpeechConfig, facts: Facts) -> keras.Model:
    """The recognizer of a run, compiled for training."""
    model = SpeechRecognizer(
        vocabulary_size=facts.tokenizer.size,
        heard=facts.heard.to_json(),
        encoder={
            "units": config.units,
            "num_layers": config.encoder_layers,
            "reductions": config.reductions,
            "stacked": config.stacked_frames,
            "bidirectional": config.bidirectional,
            "num_ends": ENDS if config.going_on else 0,
        },
        attention=config.attention,
        looks=_looks(config),
        embedding_units=config.embedding_units,
        units=config.units,
        forgetting=config.forgetting,
        dropout=config.dropout,
    )
    model(
        {
            "audio": np.zeros((1, config.sample_rate // 10), np.float32),
            "audio_lengths": np.full(1, config.sample_rate // 10, np.int32),
            "transcript": np.full((1, 1), text.START, np.int32),
        }
    )
    optimizer = schedules.adam(config.learning_rate, config.average, global_clipnorm=1.0)
    model.compile(
        updates.of(optimizer, config),
        SmoothedCrossentropy(config.label_smoothing),
        jit_compile=False,
    )
    return model


def _looks(config: SpeechConfig) -> dict[str, Any]:
    """What there is to set of the run's kind of attention."""
    names = {
        "content": ("window",),
        "location": ("window", "filters", "kernel_size", "looks_at"),
        "smooth": ("window", "filters", "kernel_size", "looks_at"),
        "monotonic": ("initial_bias", "stops"),
        "mocha": ("initial_bias", "stops", "chunk"),
        "milk": ("initial_bias", "stops"),
    }[config.attention]
    looks = {name: getattr(config, name) for name in names}
    if config.attention in MONOTONIC:
        looks["noise"] = config.pre_sigmoid_noise[0]
    return looks


def _attention(
    kind: str,
    units: int,
    window: int = 0,
    filters: int = 0,
    kernel_size: int = 0,
    looks_at: str = "previous",
    chunk: int = 1,
    stops: str = "mode",
    **monotonic,
):
    if kind in MONOTONIC:
        chunk_size = {"monotonic": 1, "mocha": chunk, "milk": None}[kind]
        return MonotonicAttention(
            AdditiveScore(units, use_bias=True, normalize=True),
            chunk_size,
            None if chunk_size == 1 else AdditiveScore(units, use_bias=True),
            stops,
            name="attention",
            **monotonic,
        )
    score = AdditiveScore(units, use_bias=True)
    if kind != "content":
        score = LocationAwareScore(units, filters, kernel_size, looks_at)
    normalizer = normalizers.smoothed if kind == "smooth" else normalizers.softmax
    if window:
        return LocalAttention(score, window, "previous", normalizer=normalizer, name="attention")
    return SoftAttention(score, normalizer, name="attention")
