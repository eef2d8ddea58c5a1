"""The recognizer and its controls: what they see, what they train, and what they learn."""

import keras
import numpy as np
import pytest

from applications.recognition import evaluation, figures, model
from applications.recognition.config import RecognitionConfig
from applications.recognition.data import Facts
from applications.recognition.recognize import Found
from applications.recognition.scenes import Scenes

FACTS = Facts((12, 12, 1), 2, ("a", "b", "c"))
SMALL = RecognitionConfig(
    canvas=12,
    num_objects=2,
    num_glimpses=3,
    glimpse_size=4,
    scales=2,
    units=8,
    hidden_units=6,
    average=0.9,
)
KINDS = ("learned", "random", "none")


def build(attention="learned", **changes):
    keras.utils.set_random_seed(7)
    return model.build(
        RecognitionConfig(**{**vars(SMALL), "attention": attention, **changes}), FACTS
    )


def batch(size=6):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (size, 12, 12, 1)).astype("uint8"), rng.integers(0, 3, (size, 2))


@pytest.mark.parametrize("attention", KINDS)
def test_logits_of_each_object_and_where_was_looked(attention):
    recognizer = model.recognizer_of(build(attention))
    logits, locations = recognizer.recognize(batch()[0])
    assert logits.shape == (6, 2, 3) and logits.dtype == "float32"
    assert locations.shape == (6, 0 if attention == "none" else 6, 2)
    if attention == "random":
        assert np.ptp(np.array(locations), axis=0).min() > 0.1


@pytest.mark.parametrize(
    ("attention", "baseline"),
    [(kind, "learned") for kind in KINDS] + [("learned", "moving_average"), ("learned", "none")],
)
def test_a_step_of_training_moves_what_it_should(attention, baseline):
    made = build(attention, baseline=baseline, average=0.0)
    recognizer = model.recognizer_of(made)
    before = [np.array(each) for each in recognizer.trainable_variables]
    images, labels = batch(32)
    logs = made.fit(images, labels, batch_size=8, verbose=0, validation_data=(images, labels))
    assert {"loss", "error", "val_error"} <= set(logs.history)
    assert 0.0 <= logs.history["val_error"][0] <= 1.0
    for variable, old in zip(recognizer.trainable_variables, before, strict=True):
        assert (np.array(variable) != old).any(), variable.path
    paths = " ".join(each.path for each in recognizer.trainable_variables)
    assert ("mean" in paths) == (attention == "learned")


def test_wrong_is_told_by_object():
    logits = np.array([[[0.0, 2.0, 1.0], [0.0, 2.0, 1.0]]])
    assert np.array(model.wrong(np.array([[1, 2]]), logits)).tolist() == [[0.0, 1.0]]


def test_the_drawing_twin_looks_elsewhere_each_time():
    recognizer = model.recognizer_of(build())
    twin = model.drawing(recognizer)
    images, _ = batch()
    fixed, again = (np.array(recognizer.recognize(images).locations) for _ in range(2))
    np.testing.assert_array_equal(fixed, again)
    first, second = (np.array(twin.recognize(images).locations) for _ in range(2))
    assert (first != second).any()
    assert np.abs(first[:, 0] - fixed[:, 0]).mean() < 0.3


def test_saved_and_loaded_it_gives_the_same_logits(tmp_path):
    images, labels = batch()
    for attention in ("learned", "none"):
        made = build(attention)
        made.fit(images, labels, verbose=0)
        made.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again(images), made(images))


# A picture of one object at the left, and one at the right.
SCENES = Scenes(
    np.zeros((4, 10, 20, 1), np.uint8),
    np.array([[0, 1], [0, 1], [0, 1], [2, 2]]),
    np.tile([[[2, 0, 8, 5], [2, 15, 8, 20]]], (4, 1, 1)),
)


def found(labels, locations=None):
    scores = np.eye(3)[np.array(labels)]
    if locations is None:
        locations = [[[0.0, -0.8], [0.0, 0.8]]] * len(scores)
    return Found(scores, np.array(locations))


def test_a_picture_is_wrong_if_one_of_its_objects_is():
    scores = found([[0, 1], [0, 2], [1, 1], [2, 2]]).scores
    assert evaluation.error(scores, SCENES) == 50.0
    assert evaluation.error_by_chance(SCENES) == 25.0  # whoever says 0 1 of all


def test_a_glimpse_is_on_the_object_that_it_was_made_for():
    four = [[0, 1]] * 4
    assert evaluation.on_object(found(four), SCENES) == 1.0
    beside = [[[0.0, -0.8], [0.0, 0.8]]] * 2 + [[[0.0, 0.8], [0.7, 0.8]]] * 2
    assert evaluation.on_object(found(four, beside), SCENES) == 0.5
    assert evaluation.share_of_objects(SCENES) == 30 / 200
    uniform = np.random.default_rng(0).uniform(-1, 1, (4, 2000, 2))
    assert evaluation.on_object(found(four, uniform), SCENES) == pytest.approx(0.15, abs=0.02)


def test_a_path_is_drawn_where_was_looked():
    facts = Facts((10, 20, 1), 2, ("a", "b", "c"))
    told = found([[0, 1], [0, 2], [1, 1], [2, 2]])
    figure = figures.glimpse_paths(told, SCENES, np.array([0, 1]), facts, 3, "a caption")
    first, second = figure.axes
    assert first.get_title(loc="left") == "a b" and second.get_title(loc="left") == "a c (is a b)"
    (line,) = first.get_lines()
    np.testing.assert_allclose(line.get_xdata(), [1.5, 17.5])
    np.testing.assert_allclose(line.get_ydata(), [4.5, 4.5])
    corners = [each.get_xy() for each in first.patches]
    np.testing.assert_allclose(corners, [(0.0, 3.0), (16.0, 3.0)], atol=1e-9)
    assert [each.get_text() for each in first.texts] == ["1", "2"]
