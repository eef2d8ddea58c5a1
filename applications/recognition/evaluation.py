"""How often pictures are misread, and whether they were looked at where something is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from applications.recognition.config import RecognitionConfig
from applications.recognition.data import Facts
from applications.recognition.model import Recognizer, drawing
from applications.recognition.recognize import Found, Recognize
from applications.recognition.scenes import Scenes


def evaluate(
    recognizer: Recognizer, facts: Facts, scenes: Scenes, config: RecognitionConfig
) -> Iterator[tuple[str, Any]]:
    """Every result on the test pictures, by name. Errors are in percent."""
    found = Recognize(recognizer, facts).all(scenes.images)
    yield "error", error(found.scores, scenes)
    yield "error_by_chance", error_by_chance(scenes)
    if facts.num_objects > 1:
        yield "error_of_an_object", 100.0 * float((found.labels != scenes.labels).mean())
    if config.attention == "none":
        return
    drawn = Recognize(drawing(recognizer), facts)
    scores = [drawn.all(scenes.images).scores for _ in range(config.monte_carlo)]
    yield "error_monte_carlo", error(np.mean(scores, axis=0), scenes)
    if config.canvas:
        yield "glimpses_on_object", 100.0 * on_object(found, scenes)
        yield "glimpses_on_object_if_uniform", 100.0 * share_of_objects(scenes)


def error(scores: np.ndarray, scenes: Scenes) -> float:
    """Percent of pictures of which not every object is told right."""
    return 100.0 * float((scores.argmax(axis=-1) != scenes.labels).any(axis=1).mean())


def error_by_chance(scenes: Scenes) -> float:
    """The error of the one answer that is right most often."""
    answers = Counter(map(tuple, scenes.labels.tolist()))
    return 100.0 * (1.0 - max(answers.values()) / len(scenes.labels))


def on_object(found: Found, scenes: Scenes) -> float:
    """The share of glimpses with their middle on the object that they were made for."""
    size = np.array(scenes.images.shape[1:3])
    objects = scenes.labels.shape[1]
    middles = (found.locations + 1.0) * size / 2.0
    middles = middles.reshape(len(middles), objects, -1, 2)
    boxes = scenes.boxes[:, :, None]
    return float(((boxes[..., :2] <= middles) & (middles <= boxes[..., 2:])).all(axis=-1).mean())


def share_of_objects(scenes: Scenes) -> float:
    """The share of a picture that one object takes, which is `on_object` of random glimpses."""
    height, width = scenes.images.shape[1:3]
    sides = scenes.boxes[..., 2:] - scenes.boxes[..., :2]
    return float((sides[..., 0] * sides[..., 1]).mean() / (height * width))
