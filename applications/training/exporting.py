"""From a finished run to what is served: the flags of `export RUN`, and what they write."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from applications.training import console, flags, model_card
from applications.training.errors import UserError
from applications.training.task import Task
from export.layout import BATCH_SIZES, are_batch_sizes

if TYPE_CHECKING:
    from applications.training.run import Trained


def flags_of(task: Task[Any]) -> type[Any]:
    """A dataclass of the flags of `export RUN`."""
    about_to = tyro.conf.arg(help="Folder of exported models; written is DIR/NAME/<version>/.")
    about_name = tyro.conf.arg(help="Name the model is served under.")
    about_format = tyro.conf.arg(
        help="savedmodel: for TensorFlow Serving; onnx, litert: one file, DIR/NAME.onnx or "
        "DIR/NAME.tflite, for ONNX Runtime or LiteRT, with numbers in and out."
    )
    about_sizes = tyro.conf.arg(
        help="Batches that the server will round up to; it is warmed up with each, whenever it "
        "loads the model."
    )
    formats = Literal["savedmodel", "onnx", "litert"]
    options = task.export_options
    fields: list[tuple[str, Any, Any]] = [
        ("to", Annotated[Path, about_to], dataclasses.MISSING),
        ("name", Annotated[str, about_name], task.name),
        ("format", Annotated[formats, about_format], "savedmodel"),
        ("batch_sizes", Annotated[tuple[int, ...], about_sizes], BATCH_SIZES),
        ("options", Annotated[options, tyro.conf.arg(name="")], options()),
    ]
    return flags.make(f"Write a SavedModel of a finished run: {task.name}.", fields)


def check(task: Task[Any], given: Any) -> None:
    """Refuses flags that cannot be, before anything is loaded."""
    if not given.batch_sizes or not are_batch_sizes(given.batch_sizes):
        received = " ".join(map(str, given.batch_sizes))
        raise UserError(f"--batch-sizes must rise from at least 1. Received: {received}")
    of_server = given.batch_sizes, given.options
    if given.format != "savedmodel" and of_server != (BATCH_SIZES, task.export_options()):
        raise UserError(
            f"--format {given.format} takes no flags but --to and --name: the others are for what "
            "TensorFlow Serving is given."
        )


def write(trained: Trained, given: Any) -> None:
    """Writes what the flags ask for, and says where."""
    import export

    try:
        if given.format == "savedmodel":
            _write_saved_model(trained, given)
        else:
            _write_portable(trained, given)
    except export.ExportError as error:
        raise UserError(str(error)) from error


def _write_saved_model(trained: Trained, given: Any) -> None:
    import export

    task, config, facts, model = trained
    exported = task.signatures(model, facts, config, given.options)

    def card(version: Path) -> bytes:
        return model_card.write(trained, given.name, export.describe(version)).encode()

    base = given.to / given.name
    written = export.write(
        base,
        exported.signatures,
        resources=exported.resources,
        assets={model_card.FILE: card},
        batch_sizes=given.batch_sizes,
    )
    console.say(f"written: {written}")
    console.say(f"serve it here:   keras-attention serve {given.to}")
    console.say(
        "or in TF Serving: docker run --rm -p 8500:8500 -p 8501:8501 "
        f"-v {base.resolve()}:/models/{given.name} -e MODEL_NAME={given.name} tensorflow/serving"
    )


def _write_portable(trained: Trained, given: Any) -> None:
    import export
    from export.portable import SUFFIXES

    task, config, facts, model = trained
    exported = task.portable(model, facts, config)
    (signature,) = exported.signatures.values()
    path = given.to / f"{given.name}{SUFFIXES[given.format]}"
    export.write_portable(path, signature, given.format, resources=exported.resources)
    console.say(f"written: {path}")
