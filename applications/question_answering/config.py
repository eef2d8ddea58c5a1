"""What a question answering run can be told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from applications.training.config import TrainConfig
from applications.training.errors import UserError
from applications.training.task import ExportOptions, Source

STORY_TASKS = (1, 2, 3, 6, 15)
BABI_TASKS = tuple(range(1, 21))


@dataclass(frozen=True)
class QuestionAnsweringConfig(TrainConfig):
    """Trains an end-to-end memory network to answer questions about stories."""

    run_dir: Path = Path("runs/question_answering")
    """Folder the run is written to."""
    epochs: int = 60
    """Passes over the training data, of all --restarts together."""
    batch_size: int = 32
    """Questions per step, drawn with replacement."""
    learning_rate: float = 0.005
    """Step size at its highest, of the loss summed over a batch."""

    data: Literal["stories", "babi"] = "stories"
    """stories: told by a small world of our own; babi: the folder of bAbI in --data-dir."""
    variant: str = "en"
    """For --data babi: which folder of it, en (1,000 questions a task) or en-10k (10,000)."""
    tasks: tuple[int, ...] = ()
    """Numbers of tasks, as bAbI counts them, that one model learns together; none: all there are,
    which are 1, 2, 3, 6 and 15 of --data stories."""
    num_questions: int = 1000
    """For --data stories: how many questions of each task to train on, validation included."""
    memory_size: int = 50
    """Most sentences of a story; of longer ones the last are kept."""

    attention: Literal["softmax", "uniform", "none"] = "softmax"
    """softmax: every hop weighs the sentences; uniform: it reads their mean, a control; none: the
    question alone is answered, another control."""
    num_hops: int = 3
    """How often the memory is read."""
    units: int = 50
    """Width of the embeddings."""
    encoding: Literal["position", "bag"] = "position"
    """Whether the order of the words in a sentence counts."""
    noise: float = 0.1
    """Most blanks among the times of a story in training, as a share of its sentences."""
    linear_start: int | None = 20
    """For so many epochs the learning rate stays, and no hop has its softmax; None: until the
    validation loss stops falling. Controls have no softmax, so only the learning rate stays."""
    halve_every: int = 10
    """Halve the learning rate after so many of the epochs that follow."""
    restarts: int = 1
    """So many trainings, each from other initial weights, share the --epochs evenly; the one with
    the lowest training error is kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "num_questions", "memory_size", "num_hops", "units", "halve_every")
        self._at_least(1, "restarts")
        self._require("noise", 0.0 <= self.noise <= 1.0, "in [0, 1]")
        if self.patience:
            raise UserError(
                "--patience is not for question_answering, whose trainings are as long as "
                f"--epochs says. Received: {self.patience}"
            )
        self._check_data()
        self._check_schedule()

    def _check_data(self) -> None:
        known = BABI_TASKS if self.data == "babi" else STORY_TASKS
        wrong = [task for task in self.tasks if task not in known]
        if wrong or len(set(self.tasks)) < len(self.tasks):
            raise UserError(
                f"--tasks of --data {self.data} must be some of {_listed(known)}, each once. "
                f"Received: {_listed(self.tasks)}"
            )
        if self.data == "babi" and self.data_dir is None:
            raise UserError(
                "--data babi needs --data-dir, the folder that holds en/qa1_…_train.txt and its "
                "like."
            )
        if self.data == "stories" and self.data_dir is not None:
            raise UserError(
                f"--data-dir is for --data babi; stories need none. Received: {self.data_dir}"
            )

    def _check_schedule(self) -> None:
        if self.epochs % self.restarts:
            raise UserError(
                "--epochs are of all --restarts together, and must be a multiple of their number, "
                f"{self.restarts}. Received: --epochs {self.epochs}"
            )
        if self.average_epochs and self.restarts > 1:
            raise UserError(
                "--average-epochs is for one training, and there are --restarts. "
                f"Received: {self.average_epochs} and {self.restarts}"
            )
        if self.linear_start is None:
            if self.attention != "softmax":
                raise UserError("--linear-start None needs --attention softmax.")
        elif not 0 <= self.linear_start < self.epochs_each:
            raise UserError(
                f"--linear-start must be at least 0 and less than the {self.epochs_each} epochs "
                f"of each training (--epochs / --restarts). Received: {self.linear_start}"
            )

    def without_effect(self) -> Iterator[tuple[str, str]]:
        yield from self._for_others("data", {"variant": ("babi",), "num_questions": ("stories",)})
        reading = dict.fromkeys(("memory_size", "num_hops", "noise"), ("softmax", "uniform"))
        yield from self._for_others("attention", reading)

    @property
    def epochs_each(self) -> int:
        """Epochs of each training."""
        return self.epochs // self.restarts

    @property
    def task_numbers(self) -> tuple[int, ...]:
        """The tasks to train on."""
        return self.tasks or (BABI_TASKS if self.data == "babi" else STORY_TASKS)


@dataclass(frozen=True)
class QuestionAnsweringExport(ExportOptions):
    """Exports a trained memory network."""

    num_answers: int = 3
    """How many answers to return, the most probable first."""

    def __post_init__(self) -> None:
        if self.num_answers < 1:
            raise UserError(f"--num-answers must be at least 1. Received: {self.num_answers}")


def _listed(numbers: tuple[int, ...]) -> str:
    return " ".join(map(str, numbers))


_JOINT = QuestionAnsweringConfig(
    run_dir=Path("runs/babi"),
    data="babi",
    data_dir=Path("data/babi"),
    epochs=90,
    linear_start=30,
    halve_every=15,
)

PRESETS = {
    "stories": QuestionAnsweringConfig(run_dir=Path("runs/stories")),
    "joint": _JOINT,
    "task": replace(
        _JOINT,
        run_dir=Path("runs/babi_1"),
        tasks=(1,),
        units=20,
        epochs=120,
        linear_start=20,
        halve_every=25,
    ),
}

SOURCES = {
    "stories": Source("stories", "stories made up by this program", "none needed"),
    "babi": Source("babi", "the bAbI tasks", "CC-BY-3.0"),
}
"""What `--data` names."""
