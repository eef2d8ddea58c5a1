"""The process that looks at a SavedModel: `python -m export.linter.child VERSION [portable]`.

It prints what it found as one JSON list; see `export.lint`.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from export.errors import ExportError, ServingError
from export.graph import op_names, read_meta_graph
from export.layout import DEFAULT_SIGNATURE, MAX_WARMUP_RECORDS, WARMUP_FILE
from export.linter import rules
from export.linter.library import folder_of
from export.linter.rules import Finding
from export.linter.runtimes import Native, Portable, Runs, Runtime


def findings(folder: Path, portable: bool = False) -> Iterator[Finding]:
    """Everything that is wrong with the version in `folder`."""
    runtime = Portable() if portable else _runtime()
    if isinstance(runtime, Portable):
        yield Finding(
            "warning",
            "linter",
            "TensorFlow's C library could not be reached: all was run in TensorFlow with its "
            "Python, where XLA is on",
        )
    meta_graph = read_meta_graph(folder)
    from tensorflow.core.framework import types_pb2

    yield from rules.signatures(meta_graph, types_pb2.DataType.Name)
    yield from rules.compiled(meta_graph)
    yield from _text_operations(runtime, meta_graph)
    yield from rules.operations(meta_graph, runtime.has, runtime.on_cpu)
    try:
        session = runtime.session(folder)
    except ExportError as error:
        yield Finding("error", "loading", str(error))
        return
    yield from _warm_up(session, meta_graph, folder)


def _runtime() -> Runtime:
    try:
        return Native()
    except ExportError:
        if folder_of("tensorflow") is None:
            raise
        sys.modules.pop("tensorflow", None)  # what stood in its place
        return Portable()


def _text_operations(runtime: Runtime, meta_graph: Any) -> Iterator[Finding]:
    """Loads what tensorflow_text brings, where it is needed: a stock server has it built in."""
    missing = {name for name in op_names(meta_graph) if not runtime.has(name)}
    folder = folder_of("tensorflow_text") if missing else None
    if folder is not None:
        for path in sorted(folder.glob("python/ops/_*.so")):
            runtime.load_operations(path)
        yield Finding(
            "warning",
            "graph",
            "it needs operations of tensorflow-text; a server has those of its own release: "
            + ", ".join(sorted(missing)),
        )


def _warm_up(session: Runs, meta_graph: Any, folder: Path) -> Iterator[Finding]:
    """Of the requests that a server replays before it calls the version ready."""
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    where = str(WARMUP_FILE)
    if not (folder / WARMUP_FILE).exists():
        yield Finding(
            "warning", where, "there is none, so nothing was run, and first requests wait"
        )
        return
    asked = set()
    try:
        for number, record in enumerate(_records(folder / WARMUP_FILE)):
            if number == MAX_WARMUP_RECORDS:
                yield Finding(
                    "error", where, f"a server takes no more than {MAX_WARMUP_RECORDS} records"
                )
                return
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") == "predict_log":
                asked.add(log.predict_log.request.model_spec.signature_name or DEFAULT_SIGNATURE)
            for what in _failure(session, meta_graph, log):
                yield Finding("error", f"{where}, record {number}", what)
    except DecodeError:
        yield Finding("error", f"{where}, record {number}", "it is no PredictionLog")
    except EOFError as error:
        yield Finding("error", where, str(error))
    for name in sorted(meta_graph.signature_def):
        if name not in asked and not name.startswith("__"):
            yield Finding("warning", name, "no warm-up record asks it, so it was not run")


def _failure(session: Runs, meta_graph: Any, log: Any) -> Iterator[str]:
    """What a server would say of one record, if it fails."""
    if log.WhichOneof("log_type") != "predict_log":
        return  # of other protocols; they are replayed through their own
    request = log.predict_log.request
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if name not in meta_graph.signature_def:
        yield f"it asks the signature {name}, which there is not"
        return
    signature = meta_graph.signature_def[name]
    if set(request.inputs) != set(signature.inputs):
        expected, received = sorted(signature.inputs), sorted(request.inputs)
        yield f"expected the inputs {expected}. Received: {received}"
        return
    feeds = {signature.inputs[key].name: value for key, value in request.inputs.items()}
    fetches = [each.name for each in signature.outputs.values() if each.name]
    try:
        session.run(feeds, fetches)
    except ServingError as error:
        yield str(error)


def _records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: a length, its checksum, the bytes, their checksum."""
    with path.open("rb") as file:
        while header := file.read(12):
            if len(header) == 12:
                (length,) = struct.unpack("<Q", header[:8])
                content = file.read(length + 4)
            if len(header) < 12 or len(content) < length + 4:
                raise EOFError("expected whole records. Received: a file that ends within one")
            yield content[:length]


def main() -> None:
    """Looks at the folder that the first argument names; by TensorFlow's Python with `portable`."""
    try:
        found = list(findings(Path(sys.argv[1]), portable=sys.argv[2:] == ["portable"]))
    except (ExportError, OSError) as error:
        found = [Finding("error", "version", str(error))]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
