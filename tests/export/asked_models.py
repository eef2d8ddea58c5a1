"""Models with the signatures of the applications, whose answers a person can check by heart."""

import numpy as np
import tensorflow as tf

from export import Signature, write

STRINGS = tf.TensorSpec((None,), tf.string)

SOURCE, LONG, SHORT = ["le", "chat", "<b>noir</b>", "</s>"], ["the", "black", "cat"], ["a", "cat"]
ALIGNMENT = np.array(
    [
        [[0.91, 0.09, 0.0, 0.0], [0.0, 0.17, 0.83, 0.0], [0.11, 0.71, 0.13, 0.05]],
        [[0.67, 0.0, 0.0, 0.33], [0.0, 0.59, 0.41, 0.0], [0.0, 0.0, 0.0, 0.0]],
    ],
    np.float32,
)
LOOKS = np.array([[[[0.5, 0.25, 0.0], [0.125, 0.0, 0.125]], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]])
SENTENCES = ["Mary took the milk", "Mary went home", ""]
HOPS = np.array([[0.73, 0.27, 0.0], [0.08, 0.9, 0.02]], np.float32)


def first(batch, **rows):
    """Outputs for each element of a batch: the same for all."""
    return {
        name: tf.repeat(tf.constant(row)[None], tf.size(batch), axis=0)
        for name, row in rows.items()
    }


def translate(sentences):
    return first(
        sentences,
        translations=["the black cat", "a cat"],
        scores=[-0.25, -np.inf],
        source_tokens=SOURCE,
        source_lengths=4,
        target_tokens=[LONG, [*SHORT, ""]],
        target_lengths=[3, 2],
        weights=ALIGNMENT,
    )


def describe(images):
    height = tf.map_fn(
        lambda file: tf.shape(tf.io.decode_png(file))[0], images, fn_output_signature=tf.int32
    )
    outputs = first(images, scores=[-1.5], tokens=[["night", "sky"]], lengths=[2], weights=LOOKS)
    return outputs | {"captions": tf.strings.as_string(height)[:, None] + " pixels high"}


def answer(story, question):
    return first(
        story,
        answers=["home", "garden"],
        scores=[0.875, 0.125],
        sentences=SENTENCES,
        num_sentences=2,
        weights=HOPS,
    ) | {"unknown_words": question}


def recognize(images):
    return first(
        images,
        classes=["3", "7"],
        scores=[[0.25, 0.75], [0.625, 0.375]],
        locations=[[-1.0, -1.0], [0.5, 0.0], [0.0, 0.5], [1.0, 1.0]],
    )


def compute(x, count):
    return {"ratio": x / 0.0, "next": count + tf.constant(1, tf.int64)}


def read(passage, query):
    del query
    return first(
        passage,
        answers=["@Omar", ""],
        scores=[1.0, 0.0],
        tokens=["@Omar", "slept", ""],
        num_tokens=2,
        weights=[0.75, 0.25, 0.0],
    )


MODELS = {
    "answering": Signature(answer, {"story": STRINGS, "question": STRINGS}),
    "captioning": Signature(describe, {"images": STRINGS}),
    "numbers": Signature(
        compute, {"x": tf.TensorSpec((None, 2)), "count": tf.TensorSpec((None,), tf.int64)}
    ),
    "reading": Signature(read, {"passage": STRINGS, "query": STRINGS}),
    "recognition": Signature(recognize, {"images": STRINGS}),
    "translation": Signature(translate, {"sentences": STRINGS}),
}


def write_all(folder):
    """Writes all of them, version 1 of each, and one with a second signature."""
    for name, signature in MODELS.items():
        more = {"plain": MODELS["numbers"]} if name == "reading" else {}
        write(folder / name, {"serving_default": signature, **more})
