"""What an algorithmic run can be told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from applications.training.config import TrainConfig
from applications.training.errors import UserError
from applications.training.task import ExportOptions, Source

VECTORS = ("copy", "repeat_copy", "associative_recall", "priority_sort")
LANGUAGES = ("anbn", "anbncn", "anbncndn", "anb2n", "anbmcnm", "memorization")

OF_MODEL = {
    "ntm": (
        "controller",
        "heads",
        "slots",
        "slot_width",
        "first_memory",
        "first_weighting",
        "gate_bias",
    ),
    "stack": ("stacks", "depth", "keep", "recurrent", "rounding"),
    "lstm": ("layers",),
}
"""The settings that only one of the models has."""


@dataclass(frozen=True)
class AlgorithmicConfig(TrainConfig):
    """Trains a Neural Turing Machine, a stack-augmented network or an LSTM on an algorithm."""

    run_dir: Path = Path("runs/algorithmic")
    """Folder the run is written to."""
    problem: Literal[
        "copy",
        "repeat_copy",
        "associative_recall",
        "priority_sort",
        "anbn",
        "anbncn",
        "anbncndn",
        "anb2n",
        "anbmcnm",
        "memorization",
    ] = "copy"
    """The first four are of bit vectors, with all shown before anything is asked; the others are
    formal languages, in streams of words of which the next symbol is asked."""
    max_size: int = 20
    """The largest size in training: vectors to copy or to sort, items to recall, n of a language;
    for repeat_copy both vectors and times."""
    stream: int = 120
    """For languages: symbols of a stream in training."""
    updates: int = 1000
    """Updates of the weights in an epoch, each on new sequences."""
    held_out: int = 200
    """Sequences to validate on, and for vectors as many others to test on, of every size."""

    model: Literal["ntm", "stack", "lstm"] = "ntm"
    """ntm: a Neural Turing Machine; stack: a network with stacks; lstm: a control."""
    units: int = 100
    """Width of the controller, of the network with stacks, or of each layer of the LSTM."""
    controller: Literal["feedforward", "lstm"] = "feedforward"
    """For ntm: what drives the heads."""
    heads: int = 1
    """For ntm: how many heads read, and how many others write."""
    slots: int = 128
    """For ntm: slots of the memory."""
    slot_width: int = 20
    """For ntm: numbers in a slot."""
    first_memory: Literal["random", "constant"] = "random"
    """For ntm: what the slots hold at first, numbers drawn once for the run, or 1e-6 in all."""
    first_weighting: Literal["learned", "focused"] = "learned"
    """For ntm: where the heads are at first; focused: on one slot."""
    gate_bias: float = 0.0
    """For ntm: below 0, heads tend to go from where they were, and not by content."""
    stacks: int = 10
    """For stack: how many there are."""
    depth: int = 64
    """For stack: numbers a stack has room for."""
    keep: bool = False
    """For stack: one may also stay as it is, instead of being pushed or popped."""
    recurrent: bool = False
    """For stack: the hidden layer sees itself of the step before."""
    rounding: bool = True
    """For stack: to predict, to draw, and in the exported model, each stack does only what is most
    probable. Validation never rounds; the evaluation tells both."""
    layers: int = 1
    """For lstm: how many stand on each other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "units", "heads", "slot_width", "stacks", "layers", "updates", "held_out")
        self._at_least(2, "max_size", "depth", "stream")
        self._at_least(3, "slots")
        if self.data_dir is not None:
            raise UserError("--data-dir: the sequences are made up, there is no data to read.")

    def without_effect(self) -> Iterator[tuple[str, str]]:
        for model, names in OF_MODEL.items():
            yield from self._for_others("model", dict.fromkeys(names, (model,)))
        if self.problem in VECTORS:
            yield "stream", f"is for languages, and {self.problem} is none"


@dataclass(frozen=True)
class AlgorithmicExport(ExportOptions):
    """Exports a trained machine."""


_NTM = AlgorithmicConfig(epochs=60, batch_size=1, learning_rate=3e-5)
_STACK = AlgorithmicConfig(
    problem="anbn",
    model="stack",
    units=40,
    epochs=30,
    batch_size=1,
    learning_rate=1e-2,
)
_BY_PROBLEM: dict[str, AlgorithmicConfig] = {
    "copy": _NTM,
    "repeat_copy": replace(
        _NTM,
        max_size=10,
        learning_rate=1e-4,
        epochs=120,
        first_weighting="focused",
        gate_bias=-2.0,
    ),
    "associative_recall": replace(_NTM, max_size=6, learning_rate=1e-4, epochs=200),
    "priority_sort": replace(_NTM, max_size=8, learning_rate=1e-4, epochs=200, heads=2),
    **dict.fromkeys(LANGUAGES, _STACK),
    "memorization": replace(_STACK, units=100, keep=True),
}


def _presets() -> dict[str, AlgorithmicConfig]:
    """For each problem the machine made for it, and the control."""
    presets = {}
    for problem, machine in _BY_PROBLEM.items():
        named: dict[str, Any] = {"problem": problem}
        presets[problem] = replace(machine, run_dir=Path("runs") / problem, **named)
        size = {"units": 256, "layers": 3} if problem in VECTORS else {}
        control = {**named, **size, "model": "lstm"}
        presets[f"{problem}_lstm"] = replace(
            machine, run_dir=Path("runs") / f"{problem}_lstm", **control
        )
    return presets


PRESETS = _presets()

SOURCES = {
    name: Source(name, f"sequences made up by this program, of {name}", "none needed")
    for name in (*VECTORS, *LANGUAGES)
}
"""What `--problem` names."""
