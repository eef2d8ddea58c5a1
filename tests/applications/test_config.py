"""Configurations: checked on creation, and the same after a trip through config.json."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from applications.training import config, files
from applications.training.config import TrainConfig
from applications.training.errors import UserError


@dataclass(frozen=True)
class Rich(TrainConfig):
    """One field of every kind."""

    sizes: tuple[int, ...] = (2, 3, 5)
    pair: tuple[str, float] = ("a", 0.5)
    mode: Literal["look", "update"] = "look"
    limit: int | None = None
    words: str = "ü"


RICH = Rich(run_dir=Path("a/b"), data_dir=Path("c"), sizes=(7,), mode="update", limit=11)


@pytest.mark.parametrize("settings", [RICH, Rich(), Rich(sizes=(), limit=None)])
def test_config_is_the_same_after_a_round_trip(tmp_path, settings):
    path = tmp_path / "config.json"
    config.save(path, "tiny", settings)
    assert config.load(path, Rich) == settings
    assert config.read_task(path) == "tiny"
    assert [item.name for item in tmp_path.iterdir()] == ["config.json"]


def test_whole_numbers_are_floats_where_floats_belong(tmp_path):
    values = config.to_json(Rich()) | {"learning_rate": 1}
    loaded = config.from_json(Rich, values, where="x")
    assert loaded.learning_rate == 1.0 and type(loaded.learning_rate) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": "4"}, "`epochs` must be int. Received: '4'"),
        ({"epochs": True}, "`epochs` must be int. Received: True"),
        ({"tensorboard": 1}, "`tensorboard` must be bool. Received: 1"),
        ({"run_dir": None}, "`run_dir` must be Path. Received: None"),
        ({"data_dir": 3}, "`data_dir` must be Path. Received: 3"),
        ({"mode": "loko"}, "`mode` must be typing.Literal['look', 'update']. Received: 'loko'"),
        ({"pair": ["a"]}, "`pair` must be tuple[str, float]. Received: ['a']"),
        ({"sizes": [1, "x"]}, "`sizes` must be int. Received: 'x'"),
        ({"colour": 1, "age": 2}, "unknown field age, colour for Rich."),
        ({"epochs": 0}, "--epochs must be at least 1. Received: 0"),
    ],
)
def test_a_wrong_value_in_a_file_is_named(tmp_path, change, message):
    path = tmp_path / "config.json"
    values = config.to_json(RICH) | change
    path.write_text(json.dumps({"task": "tiny", "config": values}))
    with pytest.raises(UserError) as caught:
        config.load(path, Rich)
    assert message in str(caught.value)
    assert str(path) in str(caught.value) or "--epochs" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config.json: not valid JSON: "),
        ("[]", "config.json: expected a JSON object. Received: list"),
        ('{"task": "tiny"}', 'config.json: expected an object under "config". Received: None'),
        ('{"task": "tiny", "config": {}}', "config.json: missing field run_dir, seed, epochs, "),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError) as caught:
        config.load(tmp_path / "config.json", Rich)
    assert message in str(caught.value)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no run: there is no config.json in it"):
        config.read_task(tmp_path / "config.json")
    (tmp_path / "config.json").write_text('{"task": 3}')
    with pytest.raises(UserError, match='expected a string under "task". Received: 3'):
        config.read_task(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1. Received: 0"),
        ({"batch_size": 0}, "--batch-size must be at least 1. Received: 0"),
        ({"patience": -1}, "--patience must be at least 0. Received: -1"),
        ({"average_epochs": -1}, "--average-epochs must be at least 0. Received: -1"),
        ({"epochs": 3, "average_epochs": 4}, "must be at most --epochs, 3. Received: 4"),
        ({"average_epochs": 4, "patience": 2}, "--patience decides that on the way. Received: 4"),
        ({"seed": -1}, "--seed must be from 0 to 2**32 - 1. Received: -1"),
        ({"seed": 2**32}, "--seed must be from 0 to 2**32 - 1. Received: 4294967296"),
        ({"learning_rate": 0.0}, "--learning-rate must be positive and finite. Received: 0.0"),
        ({"learning_rate": float("nan")}, "--learning-rate must be positive and finite."),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(UserError) as caught:
        TrainConfig(**change)
    assert message in str(caught.value)


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().seed = 2


@pytest.mark.parametrize("replace", [files.replacing, files.replacing_folder])
def test_a_failed_write_keeps_the_old_content_and_nothing_else(tmp_path, monkeypatch, replace):
    target = tmp_path / "thing"
    inner = target / "file" if replace is files.replacing_folder else target

    def write(text):
        with replace(target) as partial:
            (partial / "file" if replace is files.replacing_folder else partial).write_text(text)

    write("old")
    write("newer")
    assert inner.read_text() == "newer"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            write("lost")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(target)
    with pytest.raises(RuntimeError, match="half way"), replace(target):
        raise RuntimeError("half way")
    assert inner.read_text() == "newer"
    assert [item.name for item in tmp_path.iterdir()] == ["thing"]
