"""The captioner: an encoder of pictures, an LSTM that looks at them, a deep output."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from applications.captioning import encoders
from applications.captioning.config import CaptioningConfig
from applications.captioning.data import Facts
from applications.training import precision, schedules, searching, text, updates
from applications.training.crossentropy import SmoothedCrossentropy
from keras_attention import (
    AdditiveScore,
    AdditiveSoftAttention,
    AttentionCell,
    AttentionDecoder,
    DotAttention,
    HardAttention,
    losses,
    replicas,
    score_function,
    search,
)

register = keras.saving.register_keras_serializable(package="keras_attention_applications")


@register
class GatedAttention(layers.Layer):
    """Scales what an attention layer reads by how much of it the decoder wants.

    `context = sigmoid(w . query + b) attention(query)`

    Args:
        attention: The attention layer that looks.

    Reference: Xu et al., 2015, https://arxiv.org/abs/1502.03044 (section 4.2.1, beta).
    """

    def __init__(self, attention, **kwargs):
        super().__init__(**kwargs)
        self.attention = attention
        self.gate = layers.Dense(1, "sigmoid", name="gate", dtype=self.dtype_policy)

    def build(self, query_shape, value_shape, key_shape=None):
        if not self.attention.built:
            self.attention.build(query_shape, value_shape, key_shape)
        if not self.gate.built:
            self.gate.build(query_shape)

    def context_width(self, query_width, value_width):
        return self.attention.context_width(query_width, value_width)

    def prepare(self, value, key=None, mask=None):
        return self.attention.prepare(value, key, mask)

    def initial_state(self, memory):
        return self.attention.initial_state(memory)

    def attend(self, query, memory, state=(), training=False):
        attended = self.attention.attend(query, memory, state, training)
        return attended._replace(context=self.gate(query) * attended.context)

    def trace(self, state):
        return self.attention.trace(state)

    def record(self, trace, in_time):
        self.attention.record(trace, in_time)

    def get_config(self):
        attention = keras.saving.serialize_keras_object(self.attention)
        return {**super().get_config(), "attention": attention}

    @classmethod
    def from_config(cls, config):
        attention = keras.saving.deserialize_keras_object(config["attention"])
        return cls(**{**config, "attention": attention})


@register
class Captioner(keras.Model):
    """Show, Attend and Tell (Xu et al., 2015), and Show and Tell (Vinyals et al., 2015).

    With x the picture, y the caption, E embeddings and h the LSTM's state:

        a_i     = relu(A CNN(x)_i + p_i)                        the annotation of place i
        h_0,c_0 = tanh(W norm(mean_i a_i))
        z_t     = sigmoid(w . h_{t-1}) attention(h_{t-1}, a)    what is read, gated
        h_t     = LSTM([E y_{t-1} ; z_t], h_{t-1})
        p(y_t)  = softmax(V tanh(E y_{t-1} + U [h_t ; z_t]))    the deep output

    Unlike the papers', the places have learned positions p, which a small network's features lack,
    and the mean of all places, and z_t where words are told from it, are normalised over the batch.
    Without attention there are no positions, and z_t is the mean at every step, where Show and Tell
    has it at the first.

    Args:
        vocabulary_size: Number of words.
        cnn_units: Widths of the blocks of a CNN that is trained too; none if the pictures come as
            features of a frozen network.
        attention: "soft", "hard" or "none".
        gate: Whether what is read is gated; without attention it never is.
        order: "look_then_update" or "update_then_look".
        withhold_mean: How probable a picture's mean is to be withheld from the LSTM in training; if
            1, then always.
        embedding_units: Width of E and of the deep output.
        units: Width of the LSTM, of the annotations and of the score.
        dropout: Share of E y, a and the deep output dropped in training.
        semi_sampling: See `HardAttention`.

    Call arguments:
        inputs: A dict of `image` (B, h, w, D) and `caption` (B, T), ids behind a start token.

    Returns:
        A dict of `logits` (B, T, vocabulary_size) and `weights` (B, T, places), both float32.
    """

    def __init__(
        self,
        vocabulary_size: int,
        cnn_units: tuple[int, ...] = (),
        attention: str = "soft",
        gate: bool = True,
        order: str = "look_then_update",
        withhold_mean: float = 0.0,
        embedding_units: int = 256,
        units: int = 512,
        dropout: float = 0.0,
        semi_sampling: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config = {
            "vocabulary_size": vocabulary_size,
            "cnn_units": tuple(cnn_units),
            "attention": attention,
            "gate": gate,
            "order": order,
            "withhold_mean": withhold_mean,
            "embedding_units": embedding_units,
            "units": units,
            "dropout": dropout,
            "semi_sampling": semi_sampling,
        }
        self.has_attention = attention != "none"
        with precision.policy(self.dtype_policy):
            self.cnn = encoders.small_cnn(tuple(cnn_units)) if cnn_units else None
            self.annotation = layers.Dense(units, name="annotation")
            self.embedding = layers.Embedding(vocabulary_size, embedding_units)
            self.norm = layers.BatchNormalization(momentum=0.9, name="norm")
            # A mean of many places says little until it is enlarged.
            self.context_norm = layers.BatchNormalization(momentum=0.9, name="context_norm")
            self.first_state = layers.Dense(2 * units, activation="tanh", name="first_state")
            looks = _attention(attention, units, semi_sampling)
            looks = GatedAttention(looks) if gate and self.has_attention else looks
            cell = AttentionCell(
                layers.LSTMCell(units),
                looks,
                attentional_units=units if order == "update_then_look" else None,
                input_feeding=order != "update_then_look",
            )
            self.decoder = AttentionDecoder(cell, name="decoder")
            self.deep_output = layers.Dense(embedding_units, name="deep_output")
            self.output_layer = layers.Dense(
                vocabulary_size, dtype=precision.of_losses(), name="output"
            )
            self.dropout = layers.Dropout(dropout)
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, inputs_shape):
        image, units = (None, *inputs_shape["image"][1:]), self.config["units"]
        if self.cnn is not None:
            self.cnn.build(image)
            image = self.cnn.compute_output_shape(image)
        self.grid = tuple(image[1:3])
        width, annotations = self.config["embedding_units"], (None, None, units)
        self.annotation.build(image)
        if self.has_attention:
            self.position = self.add_weight(
                shape=(self.grid[0] * self.grid[1], units),
                initializer=keras.initializers.RandomNormal(stddev=0.1),
                name="position",
            )
        self.embedding.build((None, None))
        self.norm.build((None, units))
        self.context_norm.build((None, units))
        self.first_state.build((None, units))
        self.decoder.build((None, None, width), annotations, annotations)
        self.deep_output.build((None, None, 2 * units))
        self.output_layer.build((None, None, width))

    def call(self, inputs, training=False):
        memory, state = self.encode(inputs["image"], training)
        embedded = self.dropout(self.embedding(inputs["caption"]), training=training)
        decoded = self.decoder.run(embedded, memory, state, training=training)
        logits = self._logits(decoded.outputs, decoded.contexts, embedded, training)
        return {"logits": logits, "weights": ops.cast(decoded.weights, "float32")}

    def encode(self, image, training=False):
        """The memory that the decoder reads, and the state it begins with."""
        image = ops.cast(image, self.compute_dtype)
        features = image if self.cnn is None else self.cnn(image, training=training)
        places = self.grid[0] * self.grid[1]
        features = ops.reshape(features, (-1, places, features.shape[-1]))
        annotations = self.annotation(features)
        if self.has_attention:  # A mean is of no place.
            annotations += ops.cast(self.position, annotations.dtype)
        annotations = ops.relu(annotations)
        annotations = self.dropout(annotations, training=training)
        mean = self.norm(ops.mean(annotations, axis=1), training=training)
        if self.has_attention:
            memory = self.decoder.prepare(annotations)
        else:  # The one value that there is has weight 1, whatever its score.
            memory = self.decoder.prepare(mean[:, None], key=ops.zeros_like(mean)[:, None])
        state = ops.split(self.first_state(mean) * self._shown(mean, training), 2, axis=-1)
        return memory, self.decoder.initial_state(memory, state)

    def _shown(self, mean, training):
        """1 for each picture whose mean the LSTM is to begin with, else 0: (B, 1)."""
        share = self.config["withhold_mean"]
        chance = ops.zeros_like(mean[:, :1])
        if training and share < 1.0:
            chance = replicas.rows(
                lambda shape: keras.random.uniform(
                    shape, dtype=chance.dtype, seed=self.seed_generator
                ),
                ops.shape(chance),
            )
            return ops.cast(chance >= share, self.compute_dtype)
        return chance if share == 1.0 else chance + 1.0

    def caption(
        self, image, *, max_length, beam_width=1, num_hypotheses=1, length_penalty=0.0
    ) -> search.Hypotheses:
        """Searches for captions of pictures (B, h, w, D)."""
        memory, state = self.encode(image)
        bias = searching.bias_of_what_may_come(self.output_layer.units)

        def step(ids, state, memory):
            embedded = self.embedding(ids)
            done = self.decoder.step(embedded, state, memory)
            logits = self._logits(done.output, done.context, embedded)
            return ops.log_softmax(logits + bias), done.state, done.weights

        return searching.best(
            step,
            state,
            memory,
            batch_size=ops.shape(image)[0],
            max_length=max_length,
            beam_width=beam_width,
            num_hypotheses=num_hypotheses,
            length_penalty=length_penalty,
        )

    def _logits(self, outputs, contexts, embedded, training=False):
        flat = ops.reshape(contexts, (-1, contexts.shape[-1]))
        flat = self.context_norm(flat, training=training)
        contexts = ops.reshape(flat, ops.shape(contexts))
        seen = self.deep_output(ops.concatenate([outputs, contexts], axis=-1))
        deep = self.dropout(ops.tanh(embedded + seen), training=training)
        return self.output_layer(deep)

    def get_config(self):
        return {**super().get_config(), **self.config}


def build(config: CaptioningConfig, facts: Facts) -> keras.Model:
    """The captioner of a run, compiled for training; within its trainer, if attention is hard."""
    captioner = Captioner(
        vocabulary_size=facts.tokenizer.size,
        cnn_units=config.cnn_units if config.encoder == "cnn" else (),
        attention=config.attention,
        gate=config.gate,
        order=config.order,
        withhold_mean=config.withhold_mean,
        embedding_units=config.embedding_units,
        units=config.units,
        dropout=config.dropout,
        semi_sampling=config.semi_sampling,
    )
    crossentropy = SmoothedCrossentropy(config.label_smoothing)
    model = captioner
    if config.attention == "hard":
        model = score_function.ScoreFunctionModel(
            captioner,
            estimator(config.baseline, config.samples),
            cost={"logits": crossentropy},
            entropy_bonus=config.entropy_bonus,
        )
    model(
        {
            "image": np.zeros((1, *facts.pictures.shape), np.float32),
            "caption": np.full((1, 1), text.START, np.int32),
        }
    )
    optimizer = schedules.adam(config.learning_rate, config.average, global_clipnorm=5.0)
    spread = config.doubly_stochastic if captioner.has_attention else 0.0
    model.compile(
        updates.of(optimizer, config),
        {"logits": crossentropy, "weights": losses.DoublyStochasticLoss()},
        {"logits": 1.0, "weights": spread},
        jit_compile=False,
    )
    return model


def captioner_of(model: keras.Model) -> Captioner:
    """The captioner itself, which is what to evaluate and serve."""
    return model.model if isinstance(model, score_function.ScoreFunctionModel) else model


def estimator(baseline: str, samples: int) -> score_function.Estimator:
    """The estimator of the gradient through draws, by the name of its baseline."""
    if baseline == "learned":
        return score_function.LearnedBaseline(samples=samples)
    kinds = {
        "leave_one_out": score_function.LeaveOneOut,
        "self_critical": score_function.SelfCriticalBaseline,
        "moving_average": score_function.MovingAverageBaseline,
    }
    return kinds[baseline](samples=samples)


def _attention(kind: str, units: int, semi_sampling: float):
    if kind == "soft":
        return AdditiveSoftAttention(units, name="attention")
    if kind == "hard":
        return HardAttention(AdditiveScore(units), semi_sampling=semi_sampling, name="attention")
    return DotAttention(name="attention")
