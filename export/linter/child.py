"""The process that looks at a SavedModel: `python -m export.linter.child VERSION [portable]`.

It prints what it found as one JSON list; see `export.lint`.
"""

from __future__ import annotations

import json
import os
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

_METHODS = {
    "classify_log": "tensorflow/serving/classify",
    "regress_log": "tensorflow/serving/regress",
}
# By these a server knows what a signature is good for; it does not look at its `method_name`.
_OUTPUTS = {
    "tensorflow/serving/classify": ("classes", "scores"),
    "tensorflow/serving/regress": ("outputs",),
}


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
    yield from rules.remembering(meta_graph)
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
            asked.update(_asked(log))
            for what in _failure(session, meta_graph, log):
                yield Finding("error", f"{where}, record {number}", what)
    except DecodeError:
        yield Finding("error", f"{where}, record {number}", "it is no PredictionLog")
    except EOFError as error:
        yield Finding("error", where, str(error))
    for name in sorted(meta_graph.signature_def):
        if name not in asked and not name.startswith("__"):
            yield Finding("warning", name, "no warm-up record asks it, so it was not run")


def _asked(log: Any) -> list[str]:
    """The signatures that a record asks."""
    kind = log.WhichOneof("log_type")
    if kind == "multi_inference_log":
        return [_signature_name(task.model_spec) for task in log.multi_inference_log.request.tasks]
    if kind == "predict_log" or kind in _METHODS:
        return [_signature_name(getattr(log, kind).request.model_spec)]
    return []


def _signature_name(spec: Any) -> str:
    return spec.signature_name or DEFAULT_SIGNATURE


def _failure(session: Runs, meta_graph: Any, log: Any) -> Iterator[str]:
    """What a server would say of one record, if it fails."""
    kind = log.WhichOneof("log_type")
    if kind is None:
        return
    request = getattr(log, kind).request
    if kind == "predict_log":
        inputs, outputs = dict(request.inputs), list(request.output_filter)
        yield from _of_call(session, meta_graph, request.model_spec, inputs, outputs)
    elif kind == "multi_inference_log":
        models = {task.model_spec.name for task in request.tasks}
        if len(models) != 1 or "" in models:
            yield f"expected tasks that all name one model. Received: {sorted(models)}"
            return
        for task in request.tasks:
            examples, method = request.input, task.method_name
            yield from _of_examples(session, meta_graph, task.model_spec, examples, method)
    elif kind in _METHODS:
        examples, method = request.input, _METHODS[kind]
        yield from _of_examples(session, meta_graph, request.model_spec, examples, method)
    else:
        yield f"a server takes no {kind} to warm up with"


def _of_call(
    session: Runs, meta_graph: Any, spec: Any, inputs: dict[str, Any], outputs: list[str]
) -> Iterator[str]:
    name = _signature_name(spec)
    if name not in meta_graph.signature_def:
        yield f"it asks the signature {name}, which there is not"
        return
    signature = meta_graph.signature_def[name]
    if set(inputs) != set(signature.inputs):
        expected, received = sorted(signature.inputs), sorted(inputs)
        yield f"expected the inputs {expected}. Received: {received}"
        return
    if not set(outputs) <= set(signature.outputs) or len(set(outputs)) < len(outputs):
        expected = sorted(signature.outputs)
        yield f"expected some of the outputs {expected}, each once. Received: {outputs}"
        return
    feeds = {signature.inputs[key].name: value for key, value in inputs.items()}
    wanted = [signature.outputs[key] for key in outputs or signature.outputs]
    try:
        session.run(feeds, [each.name for each in wanted if each.name])
    except ServingError as error:
        yield str(error)


def _of_examples(
    session: Runs, meta_graph: Any, spec: Any, given: Any, method: str
) -> Iterator[str]:
    """Of a Classify or a Regress, whose signature takes serialized examples."""
    from tensorflow.core.framework import tensor_pb2, types_pb2

    name = _signature_name(spec)
    outputs = _outputs(meta_graph, name, method)
    if not outputs:
        yield f"it asks the signature {name} for {method}, which there is not"
        return
    context = given.example_list_with_context
    shared = context.context.SerializeToString()  # two messages in a row are merged when read
    serialized = [each.SerializeToString() for each in given.example_list.examples]
    serialized += [shared + each.SerializeToString() for each in context.examples]
    if not serialized:
        yield "expected examples. Received: none"
        return
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=serialized)
    tensor.tensor_shape.dim.add(size=len(serialized))
    yield from _of_call(session, meta_graph, spec, {"inputs": tensor}, outputs)


def _outputs(meta_graph: Any, name: str, method: str) -> list[str]:
    """What a Classify or a Regress fetches from a signature; nothing if it cannot be asked so."""
    if name not in meta_graph.signature_def or method not in _OUTPUTS:
        return []
    signature, names = meta_graph.signature_def[name], _OUTPUTS[method]
    if set(signature.inputs) != {"inputs"} or len(signature.outputs) > len(names):
        return []
    return [each for each in names if each in signature.outputs]


def _records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: a length, its checksum, the bytes, their checksum."""
    left = path.stat().st_size
    with path.open("rb") as file:
        while header := file.read(12):
            length = int.from_bytes(header[:8], "little")
            left -= 12 + length + 4
            if left < 0:
                raise EOFError("expected whole records. Received: a file that ends within one")
            content = file.read(length)
            for part, checksum in ((header[:8], header[8:]), (content, file.read(4))):
                if masked_crc32c(part) != int.from_bytes(checksum, "little"):
                    raise EOFError("expected whole records. Received: one with a wrong checksum")
            yield content


def masked_crc32c(content: bytes) -> int:
    """The checksum of a TFRecord: CRC-32C (RFC 3720, appendix B.4), turned and added to."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _crc32c_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC32C = [_crc32c_of_byte(byte) for byte in range(256)]


def main() -> None:
    """Looks at the folder that the first argument names; by TensorFlow's Python with `portable`."""
    report = os.dup(1)
    os.dup2(2, 1)  # a model may print
    try:
        found = list(findings(Path(sys.argv[1]), portable=sys.argv[2:] == ["portable"]))
    except (ExportError, OSError) as error:
        found = [Finding("error", "version", str(error))]
    with open(report, "w", encoding="utf-8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
