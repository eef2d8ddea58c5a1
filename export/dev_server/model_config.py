"""Which models a server has, where they are, and which of their versions it loads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tensorflow_serving.config import model_server_config_pb2

from export import layout
from export.dev_server.text_protos import read_text
from export.errors import ExportError


@dataclass(frozen=True)
class ModelConfig:
    """One model.

    Args:
        base_path: the folder whose children are its versions.
        policy: which versions are served: the `latest`, `all`, or `specific` ones.
        latest: how many, for `latest`.
        specific: which, for `specific`.
        labels: other names of versions.
    """

    base_path: Path
    policy: Literal["latest", "all", "specific"] = "latest"
    latest: int = 1
    specific: frozenset[int] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)

    def wanted(self, found: Mapping[int, Path]) -> dict[int, Path]:
        """Those of the versions found that are to be served, in rising order."""
        numbers = sorted(found)
        if self.policy == "latest":
            numbers = numbers[-self.latest :]
        elif self.policy == "specific":
            numbers = [number for number in numbers if number in self.specific]
        return {number: found[number] for number in numbers}


Configs = Mapping[str, ModelConfig]
Source = Callable[[], Configs]


def discover(directory: Path) -> dict[str, ModelConfig]:
    """Model name -> config, for the folder of one model or a folder of such folders.

    Raises:
        ExportError: if the folder is missing or holds no version of any model.
    """
    directory = directory.resolve()
    if not directory.is_dir():
        raise ExportError(f"{directory}: no such folder.")
    if (directory / "saved_model.pb").exists():
        raise ExportError(f"{directory}: is a version; serve the folder it is in.")
    if layout.newest_version(directory):
        return {directory.name: ModelConfig(directory)}
    models = {name: ModelConfig(base) for name, base in layout.models(directory).items()}
    if not models:
        raise ExportError(
            f"{directory}: expected <version>/saved_model.pb or <model>/<version>/saved_model.pb, "
            "the version a number. Received: a folder with no version."
        )
    return models


def read_config(path: str | os.PathLike[str]) -> dict[str, ModelConfig]:
    """The models of a `--model_config_file`, a ModelServerConfig in text format.

    Raises:
        ExportError: if it cannot be read, or is no config of models in folders.
    """
    path = Path(path)
    message = read_text(
        path, model_server_config_pb2.ModelServerConfig(), "tensorflow.serving.ModelServerConfig"
    )
    try:
        return from_proto(message)
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error


def from_proto(config: model_server_config_pb2.ModelServerConfig) -> dict[str, ModelConfig]:
    """The models of a ModelServerConfig.

    Raises:
        ExportError: if two have one name, or one lacks a name, an absolute path, or the platform.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise ExportError("Expected a model_config_list. Received: a custom_model_config.")
    models: dict[str, ModelConfig] = {}
    for each in config.model_config_list.config:
        if not each.name:
            raise ExportError("Expected every model to have a name. Received: one without.")
        if each.name in models:
            raise ExportError(
                "Illegal to list model with same name multiple times in config list. "
                f"Received: {each.name} twice."
            )
        if each.model_platform != "tensorflow":
            raise ExportError(
                f"Expected model_platform of {each.name} to be tensorflow. "
                f"Received: {each.model_platform or 'none'}."
            )
        if not Path(each.base_path).is_absolute() or "\0" in each.base_path:
            raise ExportError(
                f"Expected model {each.name} to have an absolute path. "
                f"Received: {each.base_path or 'none'}."
            )
        models[each.name] = _model(each)
    return models


def _model(config: model_server_config_pb2.ModelConfig) -> ModelConfig:
    base, labels = Path(config.base_path), dict(config.version_labels)
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    if kind == "all":
        return ModelConfig(base, "all", labels=labels)
    if kind == "specific":
        numbers = frozenset(policy.specific.versions)
        if not numbers:
            raise ExportError(f"Expected the specific versions of {config.name}. Received: none.")
        return ModelConfig(base, "specific", specific=numbers, labels=labels)
    return ModelConfig(base, "latest", policy.latest.num_versions or 1, labels=labels)
