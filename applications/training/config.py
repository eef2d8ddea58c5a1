"""What one training run is: a frozen dataclass, from a preset and flags to config.json."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from applications.training import files
from applications.training.errors import UserError

ConfigT = TypeVar("ConfigT", bound="TrainConfig")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run. A task adds its own by subclassing; each field is a flag."""

    run_dir: Path = Path("runs/run")
    """Folder the run is written to."""
    seed: int = 1
    """Fixes initial weights, data order and dropout."""
    epochs: int = 10
    """Most passes over the training data."""
    batch_size: int = 64
    """Examples per step, over all devices together."""
    accumulate: int = 1
    """Steps whose mean gradient makes one update of the weights, which then is of so many times
    --batch-size examples. An epoch has as many steps as without, and fewer updates; the learning
    rate is that of an update."""
    learning_rate: float = 1e-3
    """Step size of the optimizer at its highest."""
    patience: int = 0
    """Stop after so many epochs without a better validation result; 0: never."""
    average_epochs: int = 0
    """Keep the mean of the weights after so many last epochs, and not those of the best epoch; 0:
    keep the best."""
    strategy: Literal["auto", "none", "mirrored", "multi_worker", "tpu"] = "auto"
    """none: one device; mirrored: all GPUs of this machine; auto: mirrored from two GPUs on;
    multi_worker: all devices of the machines that TF_CONFIG names; tpu: all cores of a TPU."""
    learning_rate_scaling: Literal["none", "linear", "sqrt"] = "none"
    """Multiply --learning-rate by the number of devices, or by its square root, where --batch-size
    has been multiplied too."""
    checkpoint_steps: int = 1000
    """Write a checkpoint after so many steps of an epoch too; 0: after whole epochs only."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    """Arithmetic of the training. mixed: in 16 bits, which GPUs are faster at, with weights, losses
    and softmax in float32; mixed_float16 scales the loss. What comes after the training, the final
    evaluation and the export among it, is in float32."""
    data_dir: Path | None = None
    """Folder with data that is already on this machine."""
    tensorboard: bool = False
    """Also write TensorBoard logs into the run folder."""
    profile: bool = False
    """Also trace a few of the first steps into the run folder, for TensorBoard's profiler."""

    def __post_init__(self) -> None:
        self._at_least(1, "epochs", "batch_size", "accumulate")
        self._at_least(0, "patience", "average_epochs", "checkpoint_steps")
        there_are = self.average_epochs <= self.epochs
        self._require("average_epochs", there_are, f"at most --epochs, {self.epochs}")
        if self.average_epochs and self.patience:
            raise UserError(
                "--average-epochs needs to know which epochs are the last, and --patience decides "
                f"that on the way. Received: {self.average_epochs} and {self.patience}"
            )
        self._require("seed", 0 <= self.seed < 2**32, "from 0 to 2**32 - 1")
        positive = self.learning_rate > 0 and math.isfinite(self.learning_rate)
        self._require("learning_rate", positive, "positive and finite")

    def _require(self, name: str, holds: bool, what: str) -> None:
        """Refuses the field `name` unless `holds`, which is that it is `what`."""
        if not holds:
            raise UserError(f"{flag(name)} must be {what}. Received: {getattr(self, name)}")

    def _at_least(self, least: float, *names: str) -> None:
        for name in names:
            self._require(name, getattr(self, name) >= least, f"at least {least}")

    def _shares(self, *names: str) -> None:
        """Refuses what is no share of something that leaves a rest."""
        for name in names:
            self._require(name, 0.0 <= getattr(self, name) < 1.0, "in [0, 1)")

    def without_effect(self) -> Iterator[tuple[str, str]]:
        """Fields that do nothing beside what the others are, each with what it would need."""
        yield from ()

    def _for_others(
        self, chooser: str, only: Mapping[str, Sequence[str]]
    ) -> Iterator[tuple[str, str]]:
        """Those of `only` for which `chooser` would have to be something else."""
        chosen = getattr(self, chooser)
        for name, kinds in only.items():
            if chosen not in kinds:
                yield name, f"needs {flag(chooser)} {' or '.join(kinds)}, not {chosen}"


def refuse_without_effect(settings: TrainConfig, preset: TrainConfig) -> None:
    """Refuses what was changed from the preset, and does nothing beside the other settings."""
    for name, why in settings.without_effect():
        if getattr(settings, name) != getattr(preset, name):
            raise UserError(f"{flag(name)} {why}. Received: {getattr(settings, name)}")


def flag(field: str) -> str:
    """The command-line flag of a field: `run_dir` -> `--run-dir`."""
    return "--" + field.replace("_", "-")


def save(path: Path, task: str, config: TrainConfig) -> None:
    """Writes the name of the task and every field of `config` to `path`."""
    document = {"task": task, "config": to_json(config)}
    files.write_text(path, json.dumps(document, indent=2) + "\n")


def read_task(path: Path) -> str:
    """The name of the task that wrote `path`."""
    name = _document(path).get("task")
    if not isinstance(name, str):
        raise UserError(f'{path}: expected a string under "task". Received: {name!r}')
    return name


def load(path: Path, kind: type[ConfigT]) -> ConfigT:
    """The config that `save` wrote; every field must be there, with its type, and no other."""
    return from_json(kind, _document(path).get("config"), where=str(path))


def to_json(config: TrainConfig) -> dict[str, Any]:
    """Fields and values as JSON has them: a path becomes a string, a tuple a list."""
    fields = dataclasses.fields(config)
    return {field.name: _encode(getattr(config, field.name)) for field in fields}


def from_json(kind: type[ConfigT], values: Any, where: str) -> ConfigT:
    """Undoes `to_json`; `where` names the source of `values` in errors."""
    if not isinstance(values, dict):
        raise UserError(f'{where}: expected an object under "config". Received: {values!r}')
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    if unknown := sorted(values.keys() - set(names)):
        raise UserError(f"{where}: unknown field {', '.join(unknown)} for {kind.__name__}.")
    if missing := [name for name in names if name not in values]:
        raise UserError(f"{where}: missing field {', '.join(missing)} of {kind.__name__}.")
    return kind(**{name: _decode(hints[name], values[name], where, name) for name in names})


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no run: there is no {path.name} in it.") from None
    except ValueError as error:  # Not JSON, or not UTF-8.
        raise UserError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise UserError(f"{path}: expected a JSON object. Received: {type(document).__name__}")
    return document


def _encode(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    return value


def _decode(hint: Any, value: Any, where: str, name: str) -> Any:
    """`value` as the type `hint`: a scalar, Path, Literal, tuple, or a union of these with None."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _decode(hint, value, where, name)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        hints = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(hints) == len(value):
            return tuple(_decode(h, v, where, name) for h, v in zip(hints, value, strict=True))
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint in (bool, int, str) and type(value) is hint:
        return value
    expected = str(hint) if origin else hint.__name__
    raise UserError(f"{where}: `{name}` must be {expected}. Received: {value!r}")
