"""The whole road for letters to phones, by an attention that goes on and never back."""

import csv
import json

import pytest

import export
from applications import cli
from applications.training import run
from applications.translation.config import PRESETS, TranslationExport
from applications.translation.train import TASK
from export import check_parity
from tests.applications.translation import dictionary

RESULTS = {"word_accuracy", "phone_error_rate"}
MONITORED = "val_phone_error_rate"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder, made by the command line."""
    folder = tmp_path_factory.mktemp("letters")
    status = cli.main(
        ["train", "translation", "--preset", "cmudict", "--attention", "monotonic"]
        + ["--data-dir", str(dictionary.write(folder, 400)), "--run-dir", str(folder / "run")]
        + ["--epochs", "3", "--batch-size", "16", "--units", "16", "--embedding-units", "8"]
        + ["--average", "0", "--dropout", "0", "--learning-rate", "0.02"]
        + ["--initial-bias", "0.5", "--pre-sigmoid-noise", "0.5", "0.5"]
        + ["--max-length", "8", "--beam-width", "2"]
    )
    assert status == 0
    return folder / "run"


def test_both_ways_to_read_are_judged(trained):
    found = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    assert set(found) == RESULTS | {f"{name}_by_mean" for name in RESULTS}
    with (trained / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    losses, rates = ([float(row[name]) for row in rows] for name in ("loss", MONITORED))
    assert losses[2] < losses[1] < losses[0] and all(0.0 < rate < 8.0 for rate in rates)


def test_fewer_wrong_phones_are_better():
    assert TASK.monitored(PRESETS["cmudict"]) == (MONITORED, "min")
    assert TASK.monitored(PRESETS["multi30k"]) == ("val_chrf", "max")


def test_the_served_model_is_sound_and_answers_as_the_keras_model_does(trained, tmp_path):
    arguments = ["--to", str(tmp_path), "--max-length", "4", "--batch-sizes", "3"]
    assert cli.main(["export", str(trained), *arguments]) == 0
    version = tmp_path / "translation" / "1"
    assert not [problem for problem in export.lint(version) if problem.level == "error"]
    loaded = run.load(TASK, trained)
    options = TranslationExport(max_length=4)
    signatures = TASK.signatures(loaded.model, loaded.facts, loaded.config, options).signatures
    check_parity(version, signatures)
