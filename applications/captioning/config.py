"""What a captioning run can be told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from applications.training.config import TrainConfig
from applications.training.errors import UserError
from applications.training.task import ExportOptions, Source

# What there is to set of some kinds of attention alone.
ONLY = dict.fromkeys(("baseline", "samples", "semi_sampling", "entropy_bonus"), ("hard",))


@dataclass(frozen=True)
class CaptioningConfig(TrainConfig):
    """Trains a captioner of pictures, with soft attention, hard attention or none."""

    run_dir: Path = Path("runs/captioning")
    """Folder the run is written to."""
    data: str = "scenes"
    """scenes; coco or flickr8k, in --data-dir; or tfds:NAME, such as tfds:coco_captions/2014."""
    num_examples: int = 12_000
    """For --data scenes: how many pictures an epoch trains on, drawn anew for each."""
    distortion: float = 0.0
    """For --data scenes: slants and stretches the digits of training, by so much at most."""
    max_length: int = 30
    """Longest caption, in words; longer ones are not trained on."""
    vocabulary_size: int = 10_000
    """Most words."""

    encoder: str = "cnn"
    """cnn: a small network trained with the captioner; or frozen features of squeezenet,
    efficientnet_lite0, or any model of keras.applications by its name, such as MobileNetV2."""
    encoder_weights: Path | None = None
    """File with the weights of a frozen encoder; without it, Keras downloads its own models'."""
    image_size: int = 224
    """Pictures are resized to a square of so many pixels a side; scenes are 64, whatever this."""
    cnn_units: tuple[int, ...] = (16, 32, 64)
    """For --encoder cnn: widths of its blocks, each of which halves the picture."""

    attention: Literal["soft", "hard", "none"] = "soft"
    """soft: reads the mean of all places; hard: reads one place, drawn; none: sees one vector of
    the picture, as before attention."""
    gate: bool = True
    """Scale what is read by a gate on the decoder's state (Xu et al., section 4.2.1)."""
    order: Literal["look_then_update", "update_then_look"] = "look_then_update"
    """look_then_update: Xu et al.; what is read goes into the LSTM, which can remember it for later
    words. update_then_look: Lu et al., 2017; a word is told from what is read at its own step."""
    withhold_mean: float = 0.0
    """How probable a picture's mean annotation is to be withheld from the LSTM in training, which
    then has to look for what it names; 1: the LSTM always begins with zeros."""
    doubly_stochastic: float = 1.0
    """Weight of the loss that has each place read alike over all words (eq. 14), lambda."""
    baseline: Literal["learned", "leave_one_out", "self_critical", "moving_average"] = "learned"
    """For --attention hard: what is subtracted from the cost of a draw."""
    samples: int = 1
    """For --attention hard: how often each caption's places are drawn in a step; leave_one_out
    needs 2 at least."""
    semi_sampling: float = 0.5
    """For --attention hard: how probable a batch is to read the soft mean instead."""
    entropy_bonus: float = 0.0
    """For --attention hard: how much the entropy of the draws is favoured."""

    embedding_units: int = 256
    """Width of the embeddings and of the deep output."""
    units: int = 512
    """Width of the LSTM, of the annotations and of the score."""
    dropout: float = 0.3
    """Share of embeddings, annotations and deep output dropped in training."""
    label_smoothing: float = 0.0
    """Share of the target probability spread over the whole vocabulary."""
    average: float = 0.0
    """Evaluate a moving average of the weights with this momentum, such as 0.99; 0: do not."""

    beam_width: int = 5
    """Hypotheses kept in the search for a caption."""
    length_penalty: float = 0.0
    """Exponent of the length penalty (Wu et al.); 0 favours short captions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data not in ("scenes", "coco", "flickr8k") and not self.data.startswith("tfds:"):
            raise UserError(
                f"--data must be scenes, coco, flickr8k or tfds:NAME. Received: {self.data}"
            )
        if self.data in ("coco", "flickr8k") and self.data_dir is None:
            raise UserError(f"--data {self.data} needs --data-dir, the folder of its files.")
        if self.data == "scenes" and self.encoder != "cnn":
            raise UserError(f"--data scenes needs --encoder cnn, not {self.encoder}.")
        if self.data != "scenes" and self.distortion:
            raise UserError(f"--distortion is for --data scenes. Received: {self.distortion}")
        if self.encoder in ("squeezenet", "efficientnet_lite0") and not self.encoder_weights:
            raise UserError(f"--encoder {self.encoder} needs --encoder-weights, the file of them.")
        if self.encoder == "cnn" and self.encoder_weights:
            raise UserError("--encoder-weights needs a frozen --encoder, not cnn.")
        if self.baseline == "leave_one_out" and self.samples < 2:
            raise UserError(
                f"--baseline leave_one_out needs --samples 2 at least. Received: {self.samples}"
            )
        self._at_least(1, "samples", "num_examples", "max_length")
        self._at_least(0, "doubly_stochastic", "entropy_bonus", "length_penalty")
        self._require("withhold_mean", 0.0 <= self.withhold_mean <= 1.0, "in [0, 1]")
        self._shares("dropout", "distortion", "semi_sampling", "label_smoothing", "average")

    def without_effect(self) -> Iterator[tuple[str, str]]:
        yield from self._for_others("attention", ONLY)


@dataclass(frozen=True)
class CaptioningExport(ExportOptions):
    """Exports a trained captioner; what is fixed here cannot be set per request."""

    beam_width: int = 5
    """Hypotheses kept in the search."""
    num_captions: int = 1
    """How many of them are returned, best first."""
    max_length: int = 30
    """Longest caption, in words."""
    length_penalty: float = 0.0
    """Exponent of the length penalty (Wu et al.)."""


PRESETS = {
    "scenes": CaptioningConfig(
        run_dir=Path("runs/scenes"),
        embedding_units=64,
        units=128,
        dropout=0.1,
        order="update_then_look",
        withhold_mean=0.5,
        doubly_stochastic=0.0,
        epochs=10,
        learning_rate=2e-3,
        batch_size=32,
        average=0.99,
        beam_width=3,
    ),
    "flickr8k": CaptioningConfig(
        run_dir=Path("runs/flickr8k"),
        data="flickr8k",
        data_dir=Path("data/flickr8k"),
        encoder="MobileNetV2",
        epochs=20,
        learning_rate=4e-4,
        length_penalty=0.7,
    ),
    "coco": CaptioningConfig(
        run_dir=Path("runs/coco"),
        data="coco",
        data_dir=Path("data/coco"),
        encoder="MobileNetV2",
        epochs=20,
        learning_rate=4e-4,
        length_penalty=0.7,
    ),
}

SOURCES = {
    "scenes": Source(
        "scenes", "made-up scenes of the handwritten digits of scikit-learn", "CC-BY-4.0"
    ),
    "coco": Source("coco", "COCO", "CC-BY-4.0 of the captions; every photograph has its own"),
    "flickr8k": Source("flickr8k", "Flickr8k", "non-commercial research and education only"),
}
"""What `--data` names."""
