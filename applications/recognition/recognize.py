"""Pictures in, classes and glimpses out: one graph for evaluation and for serving."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.recognition.data import Facts
from applications.recognition.model import Recognizer
from applications.training.task import Exported
from export import Signature

BATCH_SIZE = 250


class Found(NamedTuple):
    """What was told of pictures, as arrays."""

    scores: np.ndarray  # (N, num_objects, num_classes), probabilities
    locations: np.ndarray  # (N, glimpses, 2)

    @property
    def labels(self) -> np.ndarray:
        """The most probable classes, (N, num_objects)."""
        return self.scores.argmax(axis=-1)


class Recognize(tf.Module):
    """The whole road from pictures, or image files, to what they show.

    A file's picture becomes as large as those the model was trained on, and grey if those were. It
    is expected bright on black, as those are.

    Args:
        recognizer: A trained recognizer.
        facts: What it knows of its data.

    Call arguments:
        images: Strings (B,), the bytes of JPEG, PNG, GIF or BMP files.

    Returns:
        A dict: `classes` (B, num_objects), the names of the most probable ones; `scores`
        (B, num_objects, num_classes), the probability of each; and, unless the whole picture is
        seen at once, `locations` (B, glimpses, 2), vertical and horizontal, from -1 to 1.
    """

    def __init__(self, recognizer: Recognizer, facts: Facts):
        super().__init__()
        self.recognizer, self.facts = recognizer, facts
        signature = [tf.TensorSpec((None, *facts.shape), tf.uint8)]
        self._run = tf.function(self._recognize, input_signature=signature, autograph=False)
        files = [tf.TensorSpec((None,), tf.string)]
        self.decode = tf.function(self._decode, input_signature=files, autograph=False)

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.recognize(self._decode(images))

    def recognize(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same of pictures (B, H, W, C) themselves, from 0 to 255."""
        scores, locations = self._recognize(pixels)
        names = tf.constant(self.facts.class_names)
        outputs = {"classes": tf.gather(names, tf.argmax(scores, axis=-1)), "scores": scores}
        return outputs if locations.shape[1] == 0 else {**outputs, "locations": locations}

    def all(self, pixels: np.ndarray) -> Found:
        """Recognizes any number of pictures."""
        starts = range(0, len(pixels), BATCH_SIZE)
        batches = [self._run(pixels[start : start + BATCH_SIZE]) for start in starts]
        return Found(*(np.concatenate(each) for each in zip(*batches, strict=True)))

    def _recognize(self, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits, locations = self.recognizer.recognize(pixels)
        return tf.nn.softmax(logits), locations

    def _decode(self, contents: tf.Tensor) -> tf.Tensor:
        spec = tf.TensorSpec(self.facts.shape, tf.uint8)
        return tf.map_fn(self._decode_one, contents, fn_output_signature=spec)

    def _decode_one(self, content: tf.Tensor) -> tf.Tensor:
        height, width, channels = self.facts.shape
        image = tf.io.decode_image(content, channels=3, expand_animations=False)
        image = tf.ensure_shape(image, (None, None, 3))
        image = tf.image.resize(image, (height, width), antialias=True)
        if channels == 1:
            image = tf.reduce_mean(image, axis=-1, keepdims=True)
        return tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)


def portable(recognizer: Recognizer, facts: Facts) -> Exported:
    """What other runtimes are given: pixels in, and the probability of each class out."""
    recognize = Recognize(recognizer, facts)

    def scores(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        found = recognize.recognize(pixels)
        del found["classes"]  # which are strings
        return found

    grey = np.linspace(0, 255, 3 * math.prod(facts.shape)).reshape(3, *facts.shape)
    signature = Signature(
        scores,
        inputs={"pixels": tf.TensorSpec((None, *facts.shape), tf.uint8)},
        examples=[{"pixels": grey[:count].astype(np.uint8)} for count in (1, 3)],
    )
    return Exported({"serving_default": signature}, resources=[recognizer])


def signatures(recognizer: Recognizer, facts: Facts) -> Exported:
    """What a server offers: image files in, or pixels in, and all that `Recognize` returns out."""
    recognize = Recognize(recognizer, facts)
    black = np.zeros(facts.shape, np.uint8)
    file = tf.io.encode_png(black[..., : min(facts.shape[-1], 3)]).numpy()
    return Exported(
        {
            "serving_default": Signature(
                lambda images: recognize(images),
                inputs={"images": tf.TensorSpec((None,), tf.string)},
                examples=[{"images": [file] * count} for count in (1, 3)],
            ),
            "pixels": Signature(
                lambda pixels: recognize.recognize(pixels),
                inputs={"pixels": tf.TensorSpec((None, *facts.shape), tf.uint8)},
                examples=[{"pixels": np.stack([black] * count)} for count in (1, 3)],
            ),
        },
        resources=[recognize],
    )
