"""What a task tells the spine: one object with the same shape for every application."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

from applications.training.config import TrainConfig
from applications.training.errors import UserError

if TYPE_CHECKING:  # A task's module must be importable, for its flags, without TensorFlow.
    import keras
    import tensorflow as tf

    from export import Signature

C = TypeVar("C", bound=TrainConfig)


class Datasets(NamedTuple):
    """The data of a run, each part in batches of `(inputs, targets[, sample_weight])`.

    Validation and test hold every example, in a fixed order. With several devices a training
    batch is cut into equal parts, so `train` should drop an incomplete last batch.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    facts: Any
    """What the model must know of the data: vocabularies, lengths. Never the data itself."""
    examples: Any = None
    """The examples as people see them, where evaluation needs more than the batches hold."""
    amounts: Mapping[str, float] = {}
    """What an epoch of `train` holds, by its unit, such as tokens; of examples, so many as steps
    and --batch-size say, unless they are among them."""


class Source(NamedTuple):
    """What a model was trained on, as its card tells it."""

    name: str
    about: str
    licence: str | None = None


class Exported(NamedTuple):
    """What `keras-attention export` writes: signatures, and what must live as long as they do."""

    signatures: Mapping[str, Signature]
    resources: Sequence[Any] = ()


@dataclass(frozen=True)
class ExportOptions:
    """Flags of `keras-attention export`; a task that has any subclasses this."""


class Task(ABC, Generic[C]):
    """One application: its presets, its data, its model, and what to do with a trained one.

    Every method takes what it needs and returns what it made; a task keeps no state, and its
    module imports TensorFlow and Keras inside methods only. Unless overridden, the first four call
    the functions of the same names beside it: `datasets`, `save_facts` and `load_facts` of `data`,
    and `build` of `model`.
    """

    name: ClassVar[str]
    """The word on the command line, and the name of the exported model."""
    presets: Mapping[str, C]
    """Complete configurations, all of one class; the first is the default."""
    monitor: ClassVar[str] = "val_loss"
    """The entry of the training log by which the best weights are chosen."""
    monitor_mode: ClassVar[Literal["min", "max"]] = "min"
    """Whether a lower or a higher `monitor` is better."""
    packages: ClassVar[tuple[str, ...]] = ()
    """What evaluation imports beside what every training does, of the extra `applications`."""
    pipeline_tag: ClassVar[str | None] = None
    """What Hugging Face calls such a task."""
    sources: Mapping[str, Source] = {}
    """What the run's setting `data`, or else `problem`, stands for."""
    not_portable: ClassVar[str] = "it has no form without strings."
    """Why it is not written for ONNX Runtime or LiteRT, where it is not."""
    export_options: type[ExportOptions] = ExportOptions
    """A frozen dataclass: its fields, all with defaults, are flags of `keras-attention export`."""

    def datasets(self, config: C, epoch: tf.Variable) -> Datasets:
        """Reads the data. `epoch` counts epochs from 0 while training.

        The order of `train`, and anything random in it, must follow from `config.seed` and
        `epoch` alone, or a resumed run would differ: see `applications.training.data.shuffled`.
        """
        return self._module("data").datasets(config, epoch)

    def source(self, config: C) -> Source:
        """What a model was trained on."""
        name: str = getattr(config, "data", getattr(config, "problem", self.name))
        if name in self.sources:
            return self.sources[name]
        named = name.removeprefix("tfds:")
        return Source(name, named if named == name else f"TensorFlow Datasets' {named}")

    def save_facts(self, facts: Any, folder: Path) -> None:
        """Writes `facts` into the empty `folder`."""
        self._module("data").save_facts(facts, folder)

    def load_facts(self, folder: Path) -> Any:
        """Reads what `save_facts` wrote."""
        return self._module("data").load_facts(folder)

    def build(self, config: C, facts: Any) -> keras.Model:
        """The model: all its weights made, and compiled."""
        return self._module("model").build(config, facts)

    def _module(self, name: str) -> ModuleType:
        """The module of this name beside the task's own."""
        package = type(self).__module__.rpartition(".")[0]
        return import_module(f"{package}.{name}")

    def monitored(self, config: C) -> tuple[str, Literal["min", "max"]]:
        """`monitor` and `monitor_mode` of a run: others for some of its settings, if overridden."""
        return self.monitor, self.monitor_mode

    def callbacks(self, config: C, datasets: Datasets) -> list[keras.callbacks.Callback]:
        """More callbacks for training. They run before the best weights are chosen.

        Their numbers, strings and flags are restored on resume; other state must live in the
        model or its optimizer.
        """
        return []

    @abstractmethod
    def evaluate(
        self, model: keras.Model, datasets: Datasets, config: C
    ) -> Iterable[tuple[str, Any]]:
        """The final results on the test data, as names and values that JSON can hold."""

    def figures(self, model: keras.Model, datasets: Datasets, config: C, folder: Path) -> None:
        """Draws the trained model's work into `folder`; the learning curve is there already."""

    @abstractmethod
    def predict(
        self, model: keras.Model, facts: Any, config: C, lines: Iterable[str]
    ) -> Iterator[str]:
        """Answers each input line with one output line, in order."""

    @abstractmethod
    def signatures(self, model: keras.Model, facts: Any, config: C, options: Any) -> Exported:
        """The functions to serve; `options` is an instance of `export_options`."""

    def portable(self, model: keras.Model, facts: Any, config: C) -> Exported:
        """One signature, of numbers only, for runtimes other than TensorFlow's.

        A task that has none says why in `not_portable`.
        """
        raise UserError(f"{self.name} is exported for TensorFlow Serving only: {self.not_portable}")
