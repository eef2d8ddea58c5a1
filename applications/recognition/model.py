"""The recognizer: the recurrent attention model, and what it is to be measured against."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from applications.recognition.config import RecognitionConfig
from applications.recognition.data import Facts
from applications.training import precision, schedules, updates
from keras_attention import (
    GlimpseNetwork,
    LocationSampler,
    RecurrentAttention,
    Retina,
    replicas,
    score_function,
)

register = keras.saving.register_keras_serializable(package="keras_attention_applications")


class Recognized(NamedTuple):
    """What is told of pictures, and where they were looked at."""

    logits: Any  # (B, num_objects, num_classes)
    locations: Any  # (B, glimpses, 2); no glimpses where the whole picture is seen


@register
class Recognizer(keras.Model):
    """The recurrent attention model (Mnih et al., 2014), or a control of it.

    With x the picture and s the core's state:

        l_t   ~ Normal(tanh(W s_{t-1} + b), std^2)         where to look
        g_t   = glimpse(retina(x, l_t), l_t)               what is seen there
        s_t   = relu(U s_{t-1} + V g_t)                    the core
        p(y)  = softmax(P s_T + d)                         after the last glimpse of an object

    Args:
        num_classes: How many classes there are.
        num_objects: How many objects are read off a picture, one after another.
        attention: "learned", "random" or "none".
        num_glimpses: Glimpses of each object.
        glimpse_size: Pixels of a glimpse in either direction.
        scales: Patches of a glimpse.
        location_std: std, in training; `LowerSpread` changes it.
        inference: Where to look at inference: the "mean", or a "sample".
        hidden_units: Width of what is seen and of where, before they are joined.
        units: Width of g and s.
        dropout: Share of g, and of what the classifier reads, dropped in training.

    Call arguments:
        image: Tensor of shape (B, H, W, C), from 0 to 255.

    Returns:
        Logits (B, num_objects, num_classes), float32.
    """

    def __init__(
        self,
        num_classes: int,
        num_objects: int = 1,
        attention: str = "learned",
        num_glimpses: int = 6,
        glimpse_size: int = 8,
        scales: int = 1,
        location_std: float = 0.1,
        inference: str = "mean",
        hidden_units: int = 128,
        units: int = 256,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config = {
            "num_classes": num_classes,
            "num_objects": num_objects,
            "attention": attention,
            "num_glimpses": num_glimpses,
            "glimpse_size": glimpse_size,
            "scales": scales,
            "location_std": location_std,
            "inference": inference,
            "hidden_units": hidden_units,
            "units": units,
            "dropout": dropout,
        }
        self.attention = attention
        with precision.policy(self.dtype_policy):
            if attention == "none":
                self.whole = small_cnn(num_objects, units)
            else:
                self.looking = RecurrentAttention(
                    Retina(glimpse_size, scales),
                    GlimpseNetwork(units, hidden_units, dropout),
                    # The identity keeps what was seen first as well as what was seen last. With a
                    # bias TensorFlow 2.21 fails to optimize the graph: its remapper leaves an op
                    # unnamed.
                    layers.SimpleRNNCell(units, "relu", False, recurrent_initializer="identity"),
                    LocationSampler(location_std, inference),
                    num_glimpses=num_glimpses,
                    num_objects=num_objects,
                )
                self.looking.sampler.trainable = attention == "learned"
                self.seed_generator = keras.random.SeedGenerator()
            self.dropout = layers.Dropout(dropout)
            self.classifier = layers.Dense(
                num_classes, dtype=precision.of_losses(), name="classifier"
            )

    def build(self, image_shape):
        self.image_shape = image_shape
        objects = self.config["num_objects"]
        if self.attention == "none":
            self.whole.build(image_shape)
            width = self.whole.output_shape[-1]
        else:
            self.looking.build(image_shape)
            width = self.config["units"]
        self.classifier.build((None, objects, width))

    def call(self, image, training=False):
        return self.recognize(image, training).logits

    def recognize(self, image, training=False) -> Recognized:
        """The same, with the locations that were looked at."""
        image = ops.cast(image, self.compute_dtype) / 255.0
        if self.attention == "none":
            nowhere = ops.zeros((ops.shape(image)[0], 0, 2))
            return Recognized(self._classify(self.whole(image), training), nowhere)
        locations = self._anywhere(image) if self.attention == "random" else None
        states, locations = self.looking(image, locations, training=training)
        return Recognized(self._classify(states, training), ops.cast(locations, "float32"))

    def _classify(self, states, training):
        return self.classifier(self.dropout(states, training=training))

    def _anywhere(self, image):
        glimpses = self.config["num_objects"] * self.config["num_glimpses"]
        shape = ops.shape(image)[0], glimpses, 2
        return replicas.rows(
            lambda shape: keras.random.uniform(shape, -1.0, 1.0, seed=self.seed_generator), shape
        )

    def get_config(self):
        return {**super().get_config(), **self.config}


def small_cnn(num_objects: int, units: int) -> keras.Sequential:
    """A network that sees all of a picture at once: (B, H, W, C) to (B, num_objects, units / 2).

    On pictures of 28 by 28 and of 60 by 60 it has about as many weights as the presets' recurrent
    attention model.
    """
    return keras.Sequential(
        [
            layers.Conv2D(16, 5, 2, "same", activation="relu"),
            layers.Conv2D(32, 3, 2, "same", activation="relu"),
            layers.Conv2D(64, 3, 2, "same", activation="relu"),
            layers.Flatten(),
            layers.Dense(num_objects * (units // 2), "relu"),
            layers.Reshape((num_objects, units // 2)),
        ],
        name="whole",
    )


@register
def wrong(y_true, y_pred):
    """1 for each object that is not recognized, else 0: (B, num_objects) float32."""
    found = ops.argmax(y_pred, axis=-1)
    return ops.cast(found != ops.cast(y_true, found.dtype), "float32")


@register
def doubt(y_true, y_pred):
    """1 - p(y), for each object: (B, num_objects) float32. Its mean is that of `wrong`, if p is.

    As a cost of draws it varies less than 0 or 1.
    """
    likely = ops.softmax(y_pred, axis=-1)
    return 1.0 - ops.take_along_axis(likely, ops.cast(y_true, "int32")[..., None], axis=-1)[..., 0]


def build(config: RecognitionConfig, facts: Facts) -> keras.Model:
    """The recognizer of a run, compiled for training; within its trainer, if it learns to look."""
    recognizer = Recognizer(
        num_classes=len(facts.class_names),
        num_objects=facts.num_objects,
        attention=config.attention,
        num_glimpses=config.num_glimpses,
        glimpse_size=config.glimpse_size,
        scales=config.scales,
        location_std=config.location_std,
        hidden_units=config.hidden_units,
        units=config.units,
        dropout=config.dropout,
    )
    model: keras.Model = recognizer
    if config.attention == "learned":
        model = score_function.ScoreFunctionModel(
            recognizer, estimator(config.baseline), cost=doubt
        )
    model(np.zeros((1, *facts.shape), np.uint8))
    optimizer = schedules.adam(
        config.learning_rate, config.average, amsgrad=True, global_clipnorm=5.0
    )
    model.compile(
        updates.of(optimizer, config),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.MeanMetricWrapper(wrong, name="error")],
        jit_compile=False,
    )
    return model


def estimator(baseline: str) -> score_function.Estimator:
    """The estimator of the gradient through draws, by the name of its baseline."""
    if baseline == "learned":
        return score_function.LearnedBaseline(units=128)
    if baseline == "moving_average":
        return score_function.MovingAverageBaseline()
    return score_function.Reinforce()


class LowerSpread(keras.callbacks.Callback):
    """Draws locations nearer to their means with every epoch: first they explore, then they aim.

    The standard deviation falls from `first` to `last` by the same factor with each epoch.
    """

    def __init__(self, first: float, last: float, epochs: int):
        super().__init__()
        self.first, self.last, self.epochs = first, last, epochs

    def on_epoch_begin(self, epoch, logs=None):
        fraction = min(epoch / max(self.epochs - 1, 1), 1.0)
        std = self.first * (self.last / self.first) ** fraction
        recognizer_of(self.model).looking.sampler.spread.assign(std)


def recognizer_of(model: keras.Model) -> Recognizer:
    """The recognizer itself, which is what to evaluate and serve."""
    return model.model if isinstance(model, score_function.ScoreFunctionModel) else model


def drawing(recognizer: Recognizer) -> Recognizer:
    """The same with locations drawn at inference, to take the mean of several passes."""
    other = Recognizer.from_config({**recognizer.get_config(), "inference": "sample"})
    other.build(recognizer.image_shape)
    other.set_weights(recognizer.get_weights())
    return other
