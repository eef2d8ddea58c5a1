"""What a recognition run can be told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from applications.training.config import TrainConfig
from applications.training.errors import UserError
from applications.training.task import ExportOptions, Source

# What there is to set of models that see by glimpses, and of those that learn where to look.
GLIMPSES = ("num_glimpses", "glimpse_size", "scales", "hidden_units", "monte_carlo")
ONLY = {
    **dict.fromkeys(GLIMPSES, ("learned", "random")),
    **dict.fromkeys(("location_std", "last_location_std", "baseline"), ("learned",)),
}


@dataclass(frozen=True)
class RecognitionConfig(TrainConfig):
    """Trains a recurrent attention model, which sees a picture by glimpses, or a control of it."""

    run_dir: Path = Path("runs/recognition")
    """Folder the run is written to."""
    data: str = "digits"
    """digits; mnist, in --data-dir; or tfds:NAME of pictures with labels, such as tfds:mnist."""
    canvas: int = 0
    """Pixels a side of a black square that pictures are put into, anywhere, for every epoch anew;
    0: pictures as they are."""
    clutter: int = 0
    """How many pieces of other pictures, two sevenths as high, are strewn over the canvas."""
    num_objects: int = 1
    """How many pictures are put into the canvas, to be read from left to right."""
    shift: int = 0
    """Most pixels by which pictures without a canvas are moved in training, in either direction."""
    distortion: float = 0.0
    """How much pictures are turned, scaled and slanted in training: 0.1 is up to 6 degrees or a
    tenth of their size."""

    attention: Literal["learned", "random", "none"] = "learned"
    """learned: the model decides where to look; random: chance does, a control; none: a small
    convolutional network sees the whole picture, another control."""
    num_glimpses: int = 6
    """Glimpses of each object."""
    glimpse_size: int = 8
    """Pixels of a glimpse in either direction."""
    scales: int = 1
    """Patches of a glimpse, each of which is twice as wide as the last and half as sharp."""
    location_std: float = 0.1
    """Standard deviation of the locations drawn in the first epoch; a picture is 2 wide."""
    last_location_std: float = 0.03
    """The same in the last epoch, reached by the same factor with each epoch."""
    baseline: Literal["learned", "moving_average", "none"] = "learned"
    """What is subtracted from the cost of a draw; none: plain REINFORCE."""
    hidden_units: int = 128
    """Width of what is seen, and of where, before they are joined."""
    units: int = 256
    """Width of a glimpse once joined, and of the core."""
    dropout: float = 0.0
    """Share of a glimpse, and of what the classifier reads, dropped in training."""
    average: float = 0.0
    """Evaluate a moving average of the weights with this momentum, such as 0.999; 0: do not."""
    monte_carlo: int = 10
    """Evaluate the mean of so many passes with locations drawn, beside one with their means."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "num_objects", "num_glimpses", "glimpse_size", "scales")
        self._at_least(1, "hidden_units", "units", "monte_carlo")
        self._at_least(0, "canvas", "clutter", "shift")
        for name in ("location_std", "last_location_std"):
            self._require(name, getattr(self, name) > 0.0, "positive")
        self._shares("dropout", "average", "distortion")
        if self.data == "mnist" and self.data_dir is None:
            raise UserError("--data mnist needs --data-dir, the folder of its four files.")
        if self.data not in ("digits", "mnist") and not self.data.startswith("tfds:"):
            raise UserError(f"--data must be digits, mnist or tfds:NAME. Received: {self.data}")
        if not self.canvas and (self.clutter or self.num_objects > 1):
            raise UserError("--clutter and --num-objects need a --canvas to put pictures into.")
        if self.canvas and self.shift:
            raise UserError("--shift is for pictures without a --canvas, which moves them anyway.")

    def without_effect(self) -> Iterator[tuple[str, str]]:
        yield from self._for_others("attention", ONLY)


@dataclass(frozen=True)
class RecognitionExport(ExportOptions):
    """Exports a trained recognizer."""


_MNIST = RecognitionConfig(
    run_dir=Path("runs/mnist"),
    data="mnist",
    data_dir=Path("data/mnist"),
    shift=1,
    num_glimpses=7,
    dropout=0.2,
    batch_size=128,
    learning_rate=1e-3,
    epochs=200,
    average=0.999,
)
_CANVAS = replace(
    _MNIST,
    canvas=60,
    shift=0,
    glimpse_size=12,
    scales=3,
    num_glimpses=8,
    last_location_std=0.1,
    dropout=0.1,
    epochs=120,
)

PRESETS = {
    "digits": RecognitionConfig(
        run_dir=Path("runs/digits"),
        canvas=20,
        num_glimpses=5,
        glimpse_size=5,
        scales=2,
        epochs=100,
        batch_size=64,
        average=0.99,
    ),
    "mnist": _MNIST,
    "translated": replace(_CANVAS, run_dir=Path("runs/translated"), epochs=80, distortion=0.1),
    "cluttered": replace(_CANVAS, run_dir=Path("runs/cluttered"), clutter=4),
    "two_digits": replace(_CANVAS, run_dir=Path("runs/two_digits"), num_objects=2),
}

SOURCES = {
    "digits": Source("digits", "the handwritten digits of scikit-learn", "CC-BY-4.0"),
    "mnist": Source("mnist", "MNIST", "CC-BY-SA-3.0"),
}
"""What `--data` names."""
