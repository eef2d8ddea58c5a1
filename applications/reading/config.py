"""What a reading run can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from applications.training.config import TrainConfig
from applications.training.errors import UserError
from applications.training.task import ExportOptions, Source

GENERATED_ENTITIES = 6  # of a generated passage


@dataclass(frozen=True)
class ReadingConfig(TrainConfig):
    """Trains a reader to find which entity of a passage was left out of a query."""

    run_dir: Path = Path("runs/reading")
    """Folder the run is written to."""
    batch_size: int = 32
    """Questions per step."""

    data: str = "generated"
    """generated: passages of our own; cbt: the books in --data-dir; or tfds:NAME of articles with
    highlights, such as tfds:cnn_dailymail."""
    num_questions: int = 0
    """Most questions to train on; 0: all there are."""
    num_held_out: int = 0
    """Most questions to validate on, and as many others to test on; 0: all there are."""
    num_sentences: int = 20
    """For --data cbt: sentences of a passage."""
    max_length: int = 1000
    """Most words of a passage or query; of longer ones the first are read."""
    vocabulary_size: int = 50_000
    """Most words; those that occur once in training are not among them."""
    max_entities: int = 50
    """Most entities of a question, which is how many markers there are; questions with more are
    left out."""
    entities: Literal["permuted", "ordered"] = "permuted"
    """Which marker stands for which entity in training. permuted: drawn anew for each question in
    each epoch (Hermann et al.); ordered: by first appearance (Chen et al.)."""

    model: Literal["attentive", "bilinear"] = "attentive"
    """attentive: a tanh layer scores, and the query has its say in the answer (Hermann et al.);
    bilinear: a bilinear form scores, and what was read is the answer (Chen et al.)."""
    attention: Literal["learned", "uniform"] = "learned"
    """learned: the reader weighs the words; uniform: it reads their mean, a control."""
    embedding_units: int = 100
    """Width of the embeddings."""
    units: int = 128
    """Width of each GRU; annotations, and the hidden layers of attentive, are twice as wide."""
    dropout: float = 0.2
    """Share of the embeddings dropped in training."""
    average: float = 0.0
    """Evaluate a moving average of the weights with this momentum, such as 0.99; 0: do not."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(0, "num_questions", "num_held_out")
        self._at_least(1, "vocabulary_size", "num_sentences", "max_length")
        self._at_least(1, "embedding_units", "units")
        self._at_least(2, "max_entities")
        self._shares("dropout", "average")
        self._check_data()
        if self.model == "bilinear" and self.attention == "uniform":
            raise UserError(
                "--attention uniform needs --model attentive: a bilinear reader sees its query "
                "through the attention alone."
            )

    def _check_data(self) -> None:
        if self.data not in ("generated", "cbt") and not self.data.startswith("tfds:"):
            raise UserError(f"--data must be generated, cbt or tfds:NAME. Received: {self.data}")
        if self.data == "cbt" and self.data_dir is None:
            raise UserError("--data cbt needs --data-dir, the folder that holds cbt_test.txt.")
        if self.data == "generated":
            if self.data_dir is not None:
                raise UserError(
                    f"--data-dir is for data that was not generated. Received: {self.data_dir}"
                )
            for name in ("num_questions", "num_held_out"):
                self._require(name, getattr(self, name) >= 1, "at least 1 for --data generated")
            least = GENERATED_ENTITIES
            self._require(
                "max_entities", self.max_entities >= least, f"at least {least} for --data generated"
            )
        if self.data != "cbt" and self.num_sentences != ReadingConfig.num_sentences:
            raise UserError(f"--num-sentences is for --data cbt. Received: {self.num_sentences}")


@dataclass(frozen=True)
class ReadingExport(ExportOptions):
    """Exports a trained reader."""

    num_answers: int = 3
    """How many answers to return, the most probable first."""

    def __post_init__(self) -> None:
        if self.num_answers < 1:
            raise UserError(f"--num-answers must be at least 1. Received: {self.num_answers}")


PRESETS = {
    "generated": ReadingConfig(
        run_dir=Path("runs/reading"),
        num_questions=8000,
        num_held_out=1000,
        max_entities=GENERATED_ENTITIES,
        embedding_units=32,
        units=32,
        dropout=0.1,
        epochs=20,
        learning_rate=3e-3,
    ),
    "cbt": ReadingConfig(
        run_dir=Path("runs/cbt"),
        data="cbt",
        data_dir=Path("data/cbt"),
        model="bilinear",
        embedding_units=64,
        units=64,
        epochs=10,
    ),
    "news": ReadingConfig(  # the widths of Chen et al.; untested at scale
        run_dir=Path("runs/news"),
        data="tfds:cnn_dailymail",
        model="bilinear",
        max_entities=100,
        epochs=10,
    ),
}

SOURCES = {
    "generated": Source("generated", "passages made up by this program", "none needed"),
    "cbt": Source("cbt", "books of the Children's Book Test", "GFDL"),
}
"""What `--data` names."""
