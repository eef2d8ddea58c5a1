"""The model card: YAML that others can read, and nothing of the trainer's machine."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from applications import cli
from applications.training import model_card
from applications.training.run import Trained
from applications.training.task import Source
from tests.applications.tiny import TASK

METRICS = {
    "metrics": {
        "error": 1e-05,
        "count": 3,
        "kind": "a|b",
        "missing": None,
        "lost": float("nan"),
        "by_size": {"1": 0.5},
    },
    "seed": 7,
    "epochs": 4,
    "parameters": 12345,
    "training_seconds": 1.5,
    "version": "0.1.0",
    "commit": "abc-dirty",
    "keras": "3.15.1",
    "tensorflow": "2.21.0",
    "hardware": {"cpu": "AMD EPYC", "cores": 1, "gpus": []},
}


def trained(folder: Path, metrics: dict | None = METRICS) -> Trained:
    """A run of the tiny task as its card sees it."""
    folder.mkdir()
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))
    config = replace(TASK.presets["small"], run_dir=folder, data_dir=Path("/home/somebody"))
    return Trained(TASK, config, None, None)


def parts(card: str) -> tuple[dict, str]:
    """The YAML and the Markdown of a card."""
    empty, front, body = card.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(front), body


@pytest.fixture
def card(tmp_path):
    return parts(model_card.write(trained(tmp_path / "first"), "adder", "## Signatures\n"))


def test_the_front_matter_is_yaml(card):
    front, _ = card
    assert front["library_name"] == "keras"
    assert front["tags"] == ["keras-attention", "tensorflow-serving", "tiny"]
    (index,) = front["model-index"]
    (result,) = index["results"]
    assert index["name"] == "adder"
    assert result["task"] == {"type": "other", "name": "tiny"}
    assert result["dataset"] == {"type": "tiny", "name": "tiny", "split": "test"}
    # As numbers, and only what is one.
    assert [(each["name"], each["value"]) for each in result["metrics"]] == [
        ("error", 1e-05), ("count", 3)
    ]  # fmt: skip


def test_the_body_tells_where_the_model_comes_from(card):
    _, body = card
    for line in (
        "# adder",
        "| task | tiny |",
        "| run | first |",
        "| made by | keras-attention-layers 0.1.0 |",
        "| commit | abc, with local changes |",
        "| trained with | Keras 3.15.1, TensorFlow 2.21.0 |",
        "## Signatures",
        "Licence of the data: not known here.",
        "| `error` | 1e-05 |",
        r"| `kind` | a\|b |",
        "The run's metrics.json has more: `by_size`.",
    ):
        assert f"\n{line}\n" in body
    assert "seed 7, 4 epochs, 12,345 weights, 1.5 s of training" in body
    assert "AMD EPYC, 1 core." in body


def test_settings_name_no_place_on_the_machine(card):
    _, body = card
    settings = json.loads(body.split("```json\n")[1].split("```")[0])
    assert settings["units"] == 5 and settings["learning_rate"] == 0.02
    assert not {"run_dir", "data_dir"} & settings.keys()
    assert "/home/somebody" not in body


def test_a_run_that_was_not_evaluated_has_a_card(tmp_path):
    front, body = parts(model_card.write(trained(tmp_path / "r", None), "adder", "served"))
    assert "model-index" not in front
    assert "\nNot evaluated.\n" in body and "| commit | unknown |" in body


@pytest.mark.parametrize("value", [0.0, -1e-07, 1e22, 5e-324, 0.1, 2.5e-12, 10**20, "é: |", []])
def test_values_come_back_from_yaml(value):
    assert yaml.safe_load(f"key: {model_card._yaml({'x': [value]})}") == {"key": {"x": [value]}}


@pytest.mark.parametrize("name", cli.TASKS)
def test_what_presets_train_on_is_known(name):
    module, _, attribute = cli.TASKS[name].partition(":")
    task = getattr(importlib.import_module(module), attribute)
    for preset in task.presets.values():
        source = task.source(preset)
        if not source.name.startswith("tfds:"):
            assert source is task.sources[source.name]
        assert source.about != source.name


def test_any_set_of_tensorflow_datasets_is_named(tmp_path):
    from applications.recognition.train import TASK as task

    config = replace(task.presets["digits"], data="tfds:kmnist")
    assert task.source(config) == Source("tfds:kmnist", "TensorFlow Datasets' kmnist")
