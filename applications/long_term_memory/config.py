"""What a long-term memory run can be told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from applications.training.config import TrainConfig
from applications.training.errors import UserError
from applications.training.task import ExportOptions, Source

SHORTEST = 22  # below it the two marks may fall on one step


@dataclass(frozen=True)
class LongTermMemoryConfig(TrainConfig):
    """Trains feed-forward attention, or a control of it, on sequences with two marked steps."""

    run_dir: Path = Path("runs/long_term_memory")
    """Folder the run is written to."""
    problem: Literal["addition", "multiplication", "order"] = "addition"
    """What to tell of the two marked numbers: their sum; their product; or, of symbols X and Y,
    which came first and which second."""
    length: int = 50
    """Steps of the shortest sequence."""
    max_length: int = 0
    """Steps of the longest sequence; 0: 1.1 times those of the shortest."""
    attention: Literal["learned", "uniform"] = "learned"
    """learned: the weighted mean over time; uniform: the unweighted mean, a control."""
    mask: bool = True
    """Leave the padding of short sequences out; no-mask: the model sees it, as zeros."""
    positions: bool = False
    """Let the model see which step it is: without, it cannot know what came first."""
    units: int = 100
    """Width of the hidden layers before and after the attention."""
    decay: bool = False
    """Let the learning rate fall along half a cosine, to a fiftieth in the last epoch."""
    updates: int = 1000
    """Updates of the weights in an epoch, each on new sequences."""
    held_out: int = 1000
    """Sequences to validate on, and as many others to test on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(SHORTEST, "length")
        self._at_least(1, "units", "updates", "held_out")
        if self.average_epochs:
            raise UserError(
                "--average-epochs is not for long_term_memory, whose trainings end when all "
                f"validation answers are right. Received: {self.average_epochs}"
            )
        if self.max_length and self.max_length < self.length:
            raise UserError(
                f"--max-length must be 0 or at least --length {self.length}. "
                f"Received: {self.max_length}"
            )
        if self.data_dir is not None:
            raise UserError("--data-dir: the sequences are made up, there is no data to read.")

    @property
    def longest(self) -> int:
        """Steps of the longest sequence there is."""
        return self.max_length or 11 * self.length // 10


@dataclass(frozen=True)
class LongTermMemoryExport(ExportOptions):
    """Exports a trained model."""


_PAPER = LongTermMemoryConfig(epochs=100, batch_size=100, learning_rate=0.01)
_LENGTHS = (50, 100, 500, 1000, 5000, 10000)
_PROBLEMS: tuple[Literal["addition", "multiplication"], ...] = ("addition", "multiplication")


def _preset(name: str, **settings) -> LongTermMemoryConfig:
    return replace(_PAPER, run_dir=Path("runs") / name, **settings)


PRESETS = {
    **{
        f"{problem}_{length}": _preset(f"{problem}_{length}", problem=problem, length=length)
        for problem in _PROBLEMS
        for length in _LENGTHS
    },
    **{
        f"{problem}_variable": _preset(
            f"{problem}_variable",
            problem=problem,
            length=50,
            max_length=10000,
            epochs=24,
            decay=True,
            learning_rate=rate,
        )
        for problem, rate in zip(_PROBLEMS, (0.01, 0.003), strict=True)
    },
    "order": _preset("order", problem="order", epochs=5),  # that it cannot solve
    "order_positions": _preset("order_positions", problem="order", positions=True, epochs=20),
}

SOURCES = {
    name: Source(name, f"sequences made up by this program, of {name}", "none needed")
    for name in ("addition", "multiplication", "order")
}
"""What `--problem` names."""
