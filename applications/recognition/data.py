"""How pictures become batches: scenes that are composed anew for every epoch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.recognition import images
from applications.recognition.config import RecognitionConfig
from applications.recognition.images import Images
from applications.recognition.scenes import Layout, Scenes, shifted
from applications.training import console, files
from applications.training.data import ahead
from applications.training.errors import UserError
from applications.training.task import Datasets


class Facts(NamedTuple):
    """What the model must know of the data."""

    shape: tuple[int, int, int]  # of a scene: height, width, channels
    num_objects: int
    class_names: tuple[str, ...]


class Examples(NamedTuple):
    """The scenes as evaluation needs them, alike for every run on the same data."""

    validation: Scenes
    test: Scenes


def datasets(config: RecognitionConfig, epoch: tf.Variable) -> Datasets:
    """Reads the pictures, and composes scenes: those for training anew in every epoch."""
    splits = images.read(config)
    layout = Layout(config.canvas, config.clutter, config.num_objects)
    layout.check(splits.train)
    count = len(splits.train.labels)
    shape = (*layout.size(splits.train), splits.train.pixels.shape[-1])
    facts = Facts(shape, config.num_objects, splits.class_names)
    validation, test = (
        _fixed(part, layout, seed)
        for seed, part in enumerate((splits.validation, splits.test), start=1)
    )
    console.say(
        f"{config.data}: {count} pictures for training, {len(validation.labels)} for validation, "
        f"{len(test.labels)} for test; {shape[0]} by {shape[1]} pixels, "
        f"{len(facts.class_names)} classes"
    )
    if count < config.batch_size:
        raise UserError(f"--batch-size {config.batch_size} is more than the {count} pictures.")
    varied = replace(layout, distortion=config.distortion)
    return Datasets(
        _training(splits.train, varied, config, epoch, facts),
        _in_order(validation, config.batch_size),
        _in_order(test, config.batch_size),
        facts,
        Examples(validation, test),
    )


def save_facts(facts: Facts, folder: Path) -> None:
    """Writes the facts as JSON."""
    files.write_text(folder / "facts.json", json.dumps(facts._asdict()) + "\n")


def load_facts(folder: Path) -> Facts:
    """Reads what `save_facts` wrote."""
    values = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    shape, names = tuple(values["shape"]), tuple(values["class_names"])
    return Facts(shape, values["num_objects"], names)


def _fixed(part: Images, layout: Layout, seed: int) -> Scenes:
    """Scenes in which every picture is the leftmost once, in its own order."""
    rng = np.random.default_rng(seed)
    chosen = layout.choose(part, rng)
    return layout.compose(part, chosen[np.argsort(chosen[:, 0])], rng)


def _training(
    part: Images, layout: Layout, config: RecognitionConfig, epoch: tf.Variable, facts: Facts
) -> tf.data.Dataset:
    """Full batches, which only seed and epoch decide."""
    num_batches = len(part.labels) // config.batch_size

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng([config.seed, int(epoch.numpy())])
        chosen = layout.choose(part, rng)[: num_batches * config.batch_size]
        for batch in np.split(chosen, num_batches):
            scenes = layout.compose(part, batch, rng)
            yield shifted(scenes.images, config.shift, rng), scenes.labels

    signature = (
        tf.TensorSpec((config.batch_size, *facts.shape), tf.uint8),
        tf.TensorSpec((config.batch_size, facts.num_objects), tf.int32),
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return ahead(dataset, num_batches)


def _in_order(scenes: Scenes, batch_size: int) -> tf.data.Dataset:
    whole = tf.data.Dataset.from_tensor_slices((scenes.images, scenes.labels))
    return whole.batch(batch_size).prefetch(2)
