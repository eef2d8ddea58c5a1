"""The command `keras-attention`: trains, evaluates, predicts, draws, exports and serves.

Flags are read and checked before TensorFlow is imported, so that help and mistakes take no time.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from applications.training import config, console, exporting, flags, launchers, memory
from applications.training.errors import DataError, UserError
from applications.training.task import Task
from export.errors import ExportError
from export.serve_flags import ServeFlags

if TYPE_CHECKING:
    from applications.training.run import Trained

TASKS = {
    "translation": "applications.translation.train:TASK",
    "captioning": "applications.captioning.train:TASK",
    "recognition": "applications.recognition.train:TASK",
    "speech": "applications.speech.train:TASK",
    "question_answering": "applications.question_answering.train:TASK",
    "reading": "applications.reading.train:TASK",
    "long_term_memory": "applications.long_term_memory.train:TASK",
    "algorithmic": "applications.algorithmic.train:TASK",
}
"""The name of each task and where its `Task` object is; imported when it is asked for."""

USAGE = """\
usage: keras-attention COMMAND ...

Models built on attention: train them, look at what they attend to, serve them.

  train TASK            train a model; a run folder receives all that comes of it
  evaluate RUN          compute the test results of a finished run again
  predict RUN           answer each line of standard input with a line of output
  visualize RUN         draw the figures of a finished run again
  export RUN --to DIR   write a SavedModel that TensorFlow Serving can load
  serve DIR             serve exported models from a development server

Tasks: {tasks}. More about each command: keras-attention COMMAND --help
"""


RunFolder = Annotated[
    Positional[Path], tyro.conf.arg(metavar="RUN", help="Folder of a finished run.")
]


@dataclass(frozen=True)
class Run:
    """Read a finished run and its data; write the results into its folder."""

    run: RunFolder
    data_dir: Path | None = None
    """Where the data is now, if it has moved since the training."""


@dataclass(frozen=True)
class Predict:
    """Answer each line of standard input with a line of output."""

    run: RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 1 the machine's fault, 2 the user's, 130."""
    try:
        _dispatch(list(sys.argv[1:] if arguments is None else arguments))
        return 0
    except SystemExit as done:  # Help was asked for and printed.
        return int(done.code or 0)
    except UserError as error:
        return _fail(error, str(error), 2)
    except KeyboardInterrupt as error:
        return _fail(error, "interrupted.", 130)
    except BrokenPipeError:  # As in `keras-attention predict RUN | head -1`: not worth a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        status = 2 if isinstance(error, FileNotFoundError) else 1
        return _fail(error, f"{error.strerror or error}{where}", status)


def _fail(error: BaseException, message: str, status: int) -> int:
    console.complain(" ".join([message, *getattr(error, "__notes__", ())]))
    return status


def _dispatch(arguments: list[str]) -> None:
    usage = USAGE.format(tasks=", ".join(TASKS))
    if not arguments:
        raise UserError(f"a command is missing: expected one of {', '.join(COMMANDS)}.")
    command, rest = arguments[0], arguments[1:]
    if command in ("-h", "--help"):
        print(usage, end="")
    elif command in COMMANDS:
        COMMANDS[command](rest)
    else:
        expected = ", ".join(COMMANDS)
        raise UserError(f"unknown command: expected one of {expected}. Received: {command}")


def _train(arguments: list[str]) -> None:
    if not arguments:
        raise UserError(f"train: a task is missing: expected one of {', '.join(TASKS)}.")
    if arguments[0] in ("-h", "--help"):
        print("usage: keras-attention train TASK [--preset NAME] [--resume] [flags of the task]\n")
        print(f"Tasks: {', '.join(TASKS)}. Flags: keras-attention train TASK --help")
        return
    task = _task(arguments[0])
    given = flags.parse(_train_flags(task, arguments), f"train {task.name}", arguments[1:])
    config.refuse_without_effect(given.settings, task.presets[given.preset])
    if (given.launcher == "ray") != (given.workers > 0) or given.workers < 0:
        raise UserError(
            "--launcher ray and --workers, at least 1, need each other. "
            f"Received: --launcher {given.launcher} --workers {given.workers}"
        )
    if given.launcher == "ray":
        launchers.on_ray(flags.without(("--launcher", "--workers"), arguments), given.workers)
        return
    memory.keep_freed()
    console.import_tensorflow_quietly()
    from applications.training import run

    settings = given.settings
    try:
        run.run(
            task, settings, resume="auto" if given.auto_resume else "yes" if given.resume else "no"
        )
    except (KeyboardInterrupt, OSError) as error:
        if (settings.run_dir / "config.json").exists():
            again = f"keras-attention train {task.name} --run-dir {settings.run_dir} --resume"
            error.add_note(f"What is written is whole; continue with: {again}")
        raise


def _train_flags(task: Task[Any], arguments: list[str]) -> type[Any]:
    """A dataclass of the flags of `train TASK`, with the values of the chosen preset."""
    names = tuple(task.presets)
    chosen = flags.value_of("--preset", arguments) or names[0]
    if chosen not in names:
        expected = ", ".join(names)
        raise UserError(f"--preset of {task.name} must be one of {expected}. Received: {chosen}")
    preset = task.presets[chosen]
    about_preset = tyro.conf.arg(help="Settings to start from; flags below change them.")
    about_resume = tyro.conf.arg(help="Continue the run in --run-dir where it stopped.")
    about_launcher = tyro.conf.arg(help="ray: start workers, with --strategy multi_worker.")
    about_auto = tyro.conf.arg(help="Continue the run in --run-dir; begin it if there is none.")
    fields: list[tuple[str, Any, Any]] = [
        ("preset", Annotated[Literal[names], about_preset], chosen),
        ("resume", Annotated[FlagCreatePairsOff[bool], about_resume], False),
        ("auto_resume", Annotated[FlagCreatePairsOff[bool], about_auto], False),
        ("launcher", Annotated[Literal["none", "ray"], about_launcher], "none"),
        ("workers", Annotated[int, tyro.conf.arg(help="For --launcher ray: how many.")], 0),
        ("settings", Annotated[type(preset), tyro.conf.arg(name="")], preset),
    ]
    return flags.make(f"Train a model: {task.name}.", fields)


def _evaluate(arguments: list[str]) -> None:
    given = flags.parse(Run, "evaluate", arguments)
    trained = _open(given.run, given.data_dir)
    from applications.training import run

    run.evaluate(trained, run.load_datasets(trained))


def _visualize(arguments: list[str]) -> None:
    given = flags.parse(Run, "visualize", arguments)
    trained = _open(given.run, given.data_dir)
    from applications.training import run

    run.visualize(trained, run.load_datasets(trained))


def _predict(arguments: list[str]) -> None:
    trained = _open(flags.parse(Predict, "predict", arguments).run)
    for answer in trained.task.predict(trained.model, trained.facts, trained.config, _lines()):
        print(answer, flush=True)


def _export(arguments: list[str]) -> None:
    if not arguments:
        raise UserError("export: RUN is missing: the folder of a finished run.")
    if arguments[0] in ("-h", "--help"):
        print("usage: keras-attention export RUN --to DIR [--name NAME] [flags of the task]\n")
        print("Writes DIR/NAME/<version>/, or one file for another runtime.")
        print("Flags: keras-attention export RUN --help")
        return
    folder = Path(arguments[0])
    task = _task(config.read_task(folder / "config.json"))
    given = flags.parse(exporting.flags_of(task), f"export {folder}", arguments[1:])
    exporting.check(task, given)
    exporting.write(_open(folder), given)


def _serve(arguments: list[str]) -> None:
    program = "keras-attention serve"
    try:
        given = ServeFlags.parse(arguments, program)
    except ExportError as error:
        raise UserError(f"serve: {error}. See {program} --help") from error
    try:
        given.serve()
    except ExportError as error:
        raise UserError(str(error)) from error


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "visualize": _visualize,
    "export": _export,
    "serve": _serve,
}


def _task(name: str) -> Task[Any]:
    if name not in TASKS:
        raise UserError(f"unknown task: expected one of {', '.join(TASKS)}. Received: {name}")
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _open(folder: Path, data_dir: Path | None = None) -> Trained:
    """The finished run in `folder`, with its data in `data_dir` if that is given."""
    task = _task(config.read_task(folder / "config.json"))
    console.import_tensorflow_quietly()
    from applications.training import run

    trained = run.load(task, folder)
    if data_dir is None:
        return trained
    return trained._replace(config=dataclasses.replace(trained.config, data_dir=data_dir))


def _lines() -> Iterator[str]:
    """The lines of standard input, without their ends."""
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"standard input, line {number}: not valid UTF-8: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
