"""The process in which a SavedModel is looked at: `python -m export.linter.child VERSION`.

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
from export.linter.library import Library, folder_of
from export.linter.rules import Finding
from export.linter.session import Session


def findings(folder: Path) -> Iterator[Finding]:
    """Everything that is wrong with the version in `folder`."""
    library = Library()
    meta_graph = read_meta_graph(folder)
    from tensorflow.core.framework import types_pb2

    yield from rules.signatures(meta_graph, types_pb2.DataType.Name)
    yield from rules.compiled(meta_graph)
    yield from _text_operations(library, meta_graph)
    registered = _registered(library)
    yield from rules.operations(meta_graph, registered, lambda name: _on_cpu(library, name))
    try:
        session = Session(library, folder)
    except ServingError as error:
        yield Finding("error", "loading", str(error))
        return
    yield from _warm_up(session, meta_graph, folder)


def _registered(library: Library) -> set[str]:
    """The names of all operations that there are."""
    from tensorflow.core.framework import op_def_pb2

    listed = op_def_pb2.OpList.FromString(library.taken(library.call("TF_GetAllOpList")))
    return {each.name for each in listed.op}


def _on_cpu(library: Library, operation: str) -> bool:
    from tensorflow.core.framework import kernel_def_pb2

    found = library.attempt("TF_GetRegisteredKernelsForOp", operation.encode())
    kernels = kernel_def_pb2.KernelList.FromString(library.taken(found)).kernel
    # What the runtime itself replaces, such as `PartitionedCall`, is registered for all devices.
    return any(kernel.device_type in ("CPU", "DEFAULT") for kernel in kernels)


def _text_operations(library: Library, meta_graph: Any) -> Iterator[Finding]:
    """Loads what tensorflow_text brings, where it is needed: a stock server has it built in."""
    missing = op_names(meta_graph) - _registered(library)
    folder = folder_of("tensorflow_text") if missing else None
    if folder is not None:
        for path in sorted(folder.glob("python/ops/_*.so")):
            library.attempt("TF_LoadLibrary", str(path).encode())
        yield Finding(
            "warning",
            "graph",
            "it needs operations of tensorflow-text; a server has those of its own release: "
            + ", ".join(sorted(missing)),
        )


def _warm_up(session: Session, meta_graph: Any, folder: Path) -> Iterator[Finding]:
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


def _failure(session: Session, meta_graph: Any, log: Any) -> Iterator[str]:
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
    """Looks at the folder that the first argument names."""
    try:
        found = list(findings(Path(sys.argv[1])))
    except (ExportError, OSError) as error:
        found = [Finding("error", "version", str(error))]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
