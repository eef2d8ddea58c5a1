"""The whole road for letters to phones, by an attention that goes on and never back."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf

import export
from applications import cli
from applications.training import run
from applications.translation.config import PRESETS, TranslationExport
from applications.translation.train import TASK
from applications.translation.translate import Translate
from tests.applications.translation import dictionary

RESULTS = {"word_accuracy", "phone_error_rate"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder, made by the command line."""
    folder = tmp_path_factory.mktemp("letters")
    status = cli.main(
        ["train", "translation", "--preset", "cmudict", "--attention", "monotonic"]
        + ["--data-dir", str(dictionary.write(folder, 400)), "--run-dir", str(folder / "run")]
        + ["--epochs", "14", "--batch-size", "16", "--units", "16", "--embedding-units", "8"]
        + ["--average", "0", "--dropout", "0", "--learning-rate", "0.02"]
        + ["--initial-bias", "0.5", "--pre-sigmoid-noise", "0.3"]
        + ["--max-length", "8", "--beam-width", "2"]
    )
    assert status == 0
    return folder / "run"


def test_both_ways_to_read_are_judged(trained):
    found = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    assert set(found) == RESULTS | {f"{name}_by_mean" for name in RESULTS}
    assert found["phone_error_rate_by_mean"] < 0.6  # It has learned something.
    with (trained / "history.csv").open(newline="") as file:
        rates = [float(row["val_phone_error_rate"]) for row in csv.DictReader(file)]
    assert len(rates) == 14 and min(rates) < 1.0


def test_fewer_wrong_phones_are_better():
    assert TASK.monitored(PRESETS["cmudict"]) == ("val_phone_error_rate", "min")
    assert TASK.monitored(PRESETS["multi30k"]) == ("val_chrf", "max")


def test_the_served_model_is_sound_and_answers_as_the_keras_model_does(trained, tmp_path):
    arguments = ["--to", str(tmp_path), "--max-length", "8", "--batch-sizes", "1", "3"]
    assert cli.main(["export", str(trained), *arguments]) == 0
    version = tmp_path / "translation" / "1"
    assert not [problem for problem in export.lint(version) if problem.level == "error"]
    loaded = run.load(TASK, trained)
    words = tf.constant([*dictionary.SAID, "badge", "", "a" * 40])
    ours = Translate(loaded.model, loaded.facts, TranslationExport(max_length=8)).run(words)
    theirs = tf.saved_model.load(str(version)).signatures["serving_default"](sentences=words)
    assert tf.reduce_max(ours["target_lengths"]) > 1
    assert set(theirs) == set(ours)
    for name, value in ours.items():
        if value.dtype == tf.string:
            np.testing.assert_array_equal(theirs[name], value, err_msg=name)
        else:
            np.testing.assert_allclose(theirs[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
