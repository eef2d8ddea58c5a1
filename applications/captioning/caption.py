"""Image files in, captions and weights out: one graph for evaluation and for serving."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.captioning.config import CaptioningExport
from applications.captioning.data import Facts
from applications.captioning.model import Captioner
from applications.training import text
from applications.training.task import Exported
from export import Signature


class Caption(NamedTuple):
    """The best caption of one picture, and where each of its words looked."""

    caption: str
    score: float
    tokens: list[str]
    weights: np.ndarray  # (tokens, h, w); no places without attention


class Describe(tf.Module):
    """The whole road from image files to captions, as one function of strings.

    Lengths are explicit, since a batching server pads outputs as it likes.

    Args:
        model: A trained captioner.
        facts: Its tokenizer, and how it reads pictures.
        options: What the search is to do.

    Call arguments:
        images: Strings (B,), the bytes of JPEG, PNG, GIF or BMP files.

    Returns:
        A dict, with N captions of each picture, best first, and T the longest: `captions` (B, N),
        `scores` (B, N), by which they are ranked, `tokens` (B, N, T), `lengths` (B, N); and, with
        attention, `weights` (B, N, T, h, w), of places in h rows and w columns.
    """

    def __init__(self, model: Captioner, facts: Facts, options: CaptioningExport):
        super().__init__()
        self.model, self.facts, self.options = model, facts, options
        self.run = self._compiled(self.__call__, tf.TensorSpec((None,), tf.string))
        dtype = tf.uint8 if facts.pictures.encoder is None else tf.float16
        read = tf.TensorSpec((None, *facts.pictures.shape), dtype)
        self._run_on = self._compiled(self.describe, read)

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.describe(self.facts.pictures(images))

    def describe(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same from pictures (B, h, w, D) that have been read already."""
        options, tokenizer = self.options, self.facts.tokenizer
        found = self.model.caption(
            image,
            beam_width=options.beam_width,
            num_hypotheses=options.num_captions,
            max_length=options.max_length,
            length_penalty=options.length_penalty,
        )
        longest = tf.reduce_max(found.lengths)
        real = tf.sequence_mask(found.lengths, longest)  # (B, N, T)
        ids = tf.where(real, found.ids[:, :, :longest], text.PAD)
        outputs = {
            "captions": tf.reshape(
                tokenizer.decode(tf.reshape(ids, (-1, longest))), tf.shape(found.lengths)
            ),
            "scores": found.scores,
            "tokens": tokenizer.tokens(ids),
            "lengths": found.lengths,
        }
        if self.model.has_attention:
            weights = tf.where(real[..., None], found.weights[:, :, :longest], 0.0)
            shape = tf.concat([tf.shape(ids), self.model.grid], axis=0)
            outputs["weights"] = tf.reshape(weights, shape)
        return outputs

    def files(self, contents: list[bytes]) -> list[Caption]:
        """Captions of image files."""
        return list(_unpack(self.run(tf.constant(contents))))

    def all(self, arrays: np.ndarray, batch_size: int = 100) -> list[Caption]:
        """Captions of any number of pictures (N, h, w, D) that have been read already."""
        captions: list[Caption] = []
        for start in range(0, len(arrays), batch_size):
            captions.extend(_unpack(self._run_on(tf.constant(arrays[start : start + batch_size]))))
        return captions

    @staticmethod
    def _compiled(function, spec: tf.TensorSpec):
        return tf.function(function, input_signature=[spec], autograph=False)


def _unpack(outputs: dict[str, tf.Tensor]) -> Iterator[Caption]:
    arrays = {name: value.numpy() for name, value in outputs.items()}
    for row, length in enumerate(arrays["lengths"][:, 0]):
        weights = np.zeros((length, 0, 0), np.float32)
        if "weights" in arrays:
            weights = arrays["weights"][row, 0, :length]
        yield Caption(
            arrays["captions"][row, 0].decode("utf-8"),
            float(arrays["scores"][row, 0]),
            [token.decode("utf-8") for token in arrays["tokens"][row, 0, :length]],
            weights,
        )


def signatures(model: Captioner, facts: Facts, options: CaptioningExport) -> Exported:
    """What a server offers: image files in, everything that `Describe` returns out."""
    describe = Describe(model, facts, options)
    signature = Signature(
        lambda images: describe(images),
        inputs={"images": tf.TensorSpec((None,), tf.string)},
        examples=[{"images": images} for images in _examples()],
    )
    return Exported({"serving_default": signature}, resources=[describe])


def _examples() -> Iterator[list[bytes]]:
    """Requests to warm a server up with: one picture, and a batch of sizes and formats."""
    y, x = np.mgrid[:96, :128]
    grey = np.stack([y, x, y + x], axis=-1).astype(np.uint8)
    jpeg, png = (encode(grey).numpy() for encode in (tf.io.encode_jpeg, tf.io.encode_png))
    yield [jpeg]
    yield [jpeg, png, tf.io.encode_png(grey[:64, :64]).numpy()] * 4
