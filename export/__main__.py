"""`python -m export`: write, serve, lint and configure models, and ask a server."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from export.errors import ExportError
from export.layout import BATCH_SIZES, newest_version
from export.serve_flags import ServeFlags, import_tensorflow

if TYPE_CHECKING:
    from export.client import Client


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 if it did its work, 2 with one line on stderr if the user erred.

    `lint` returns 1 if it found errors.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except BrokenPipeError:  # as under `head`: whoever reads the answers has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ExportError, OSError) as error:
        print(f"{_PROGRAM}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


_PROGRAM = "python -m export"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Write and serve SavedModels, look for what is wrong with them, or ask one.",
    )
    commands = parser.add_subparsers(required=True, metavar="{model,serve,lint,config,predict}")

    model = commands.add_parser("model", help="write a Keras model as the next version of a folder")
    model.add_argument("file", metavar="FILE.keras", help="what `model.save` wrote")
    model.add_argument("--to", required=True, metavar="DIR/NAME", help="folder of the model")
    model.add_argument(
        "--batch-sizes",
        type=int,
        nargs="+",
        default=(),
        metavar="SIZE",
        help="that the warm-up covers beside one row: those that the server rounds up to",
    )
    model.add_argument(
        "--import",
        action="append",
        default=[],
        dest="modules",
        metavar="MODULE",
        help="that registers layers of your own with Keras; repeatable",
    )
    model.set_defaults(run=_model)

    serve = commands.add_parser("serve", help="serve the models in a folder until interrupted")
    ServeFlags.add_to(serve)
    serve.set_defaults(run=lambda options: ServeFlags.of(options).serve())

    lint = commands.add_parser("lint", help="look for what stock TensorFlow Serving would refuse")
    lint.add_argument("directory", help="folder of one version, or of a model: its newest version")
    lint.set_defaults(run=_lint)

    config = commands.add_parser("config", help="write what TensorFlow Serving is started with")
    config.add_argument("directory", help="folder of exported models; written is DIR/serving/")
    config.add_argument("--batch-sizes", type=int, nargs="+", default=BATCH_SIZES, metavar="SIZE")
    config.add_argument("--batch-timeout-micros", type=int, default=5000, metavar="MICROSECONDS")
    config.add_argument(
        "--pad-variable-length-inputs",
        action="store_true",
        help="run rows of different shapes together: for models that are told the lengths",
    )
    config.add_argument(
        "--intra-op-threads",
        type=int,
        default=0,
        metavar="THREADS",
        help="that one operation may use; 0: one on each core (%(default)s)",
    )
    config.add_argument("--image", default="tensorflow/serving:latest", help="(%(default)s)")
    config.add_argument(
        "--storage-uri", default="pvc://models", help="of DIR in a cluster (%(default)s)"
    )
    config.set_defaults(run=_config)

    predict = commands.add_parser("predict", help="ask a server and print its answer as JSON")
    predict.add_argument("address", help="host:port of the protocol, after https:// for TLS")
    predict.add_argument("model", help="name of the model on the server")
    what = predict.add_mutually_exclusive_group()
    what.add_argument(
        "--input", action="append", default=[], metavar="NAME=JSON", help="one tensor; repeatable"
    )
    what.add_argument(
        "--lines",
        metavar="FILE",
        help="a request for each line, a string; -: of stdin. An answer is a line too, in order",
    )
    predict.add_argument(
        "--name", metavar="INPUT", help="what the lines are for; default: the only string input"
    )
    predict.add_argument(
        "--batch-size", type=int, metavar="LINES", help="the most that are sent at once (32)"
    )
    predict.add_argument("--protocol", choices=("grpc", "rest"), default="rest")
    predict.add_argument("--signature", default="serving_default")
    predict.add_argument("--version", type=int, default=None, help="default: the newest")
    predict.add_argument(
        "--timeout", type=float, default=30.0, help="seconds that a request may take (%(default)s)"
    )
    predict.add_argument(
        "--root-certificates", metavar="PEM", help="whom to trust instead of the system's"
    )
    predict.set_defaults(run=_predict)
    return parser


def _model(options: argparse.Namespace) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what it raises it need not log too
    import_tensorflow()
    from export.keras_model import read_model, reason_of, write_model

    for name in options.modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ExportError(f"--import {name}: {error}.") from error
    model = read_model(options.file)
    try:
        print(write_model(options.to, model, batch_sizes=options.batch_sizes))
    except (ExportError, OSError):
        raise
    except Exception as error:  # whatever the layers of a user raise while they are traced
        raise ExportError(f"{options.file}: {reason_of(error)}") from error


def _lint(options: argparse.Namespace) -> int:
    from export.linter import lint

    folder = Path(options.directory)
    _, folder = newest_version(folder) or (0, folder)
    found = lint(folder)
    for level, where, what in found:
        print(f"{level}: {where}: {what}")
    errors = sum(each.level == "error" for each in found)
    print(f"{folder}: {errors} errors, {len(found) - errors} warnings")
    return 1 if errors else 0


def _config(options: argparse.Namespace) -> None:
    from export.server_config import write_server_config

    try:
        written = write_server_config(
            options.directory,
            batch_sizes=options.batch_sizes,
            batch_timeout_micros=options.batch_timeout_micros,
            pad_variable_length_inputs=options.pad_variable_length_inputs,
            intra_op_threads=options.intra_op_threads,
            image=options.image,
            storage_uri=options.storage_uri,
        )
    except ValueError as error:
        raise ExportError(str(error)) from error
    for path in written:
        print(path)


def _predict(options: argparse.Namespace) -> None:
    from export.client import Client

    inputs = dict(_named_json(text) for text in options.input)
    if options.lines is None and (options.name, options.batch_size) != (None, None):
        raise ExportError("--name and --batch-size are for --lines, which was not given.")
    with Client(
        options.address,
        options.model,
        protocol=options.protocol,
        timeout=options.timeout,
        version=options.version,
        signature=options.signature,
        root_certificates=options.root_certificates,
    ) as client:
        if options.lines is None:
            _print_json(client.predict(inputs))
        else:
            _predict_lines(client, options)


def _predict_lines(client: Client, options: argparse.Namespace) -> None:
    size = 32 if options.batch_size is None else options.batch_size
    with contextlib.ExitStack() as stack:
        if options.lines == "-":
            file: BinaryIO = sys.stdin.buffer
        else:
            file = stack.enter_context(open(options.lines, "rb"))
        name = options.name or _only_string_input(client)
        rows = ({name: line} for line in _decoded(file, options.lines))
        for answer in _with_progress(client.stream(rows, batch_size=size)):
            _print_json(answer)


def _only_string_input(client: Client) -> str:
    signatures = client.metadata().signatures
    if client.signature not in signatures:
        known = sorted(name for name in signatures if not name.startswith("__"))
        raise ExportError(
            f"Expected a signature of {client.model}: {', '.join(known)}. "
            f"Received: {client.signature!r}."
        )
    inputs = signatures[client.signature].inputs
    names = sorted(name for name, tensor in inputs.items() if tensor.dtype == "string")
    if len(names) != 1:
        raise ExportError(
            f"{client.signature} of {client.model}: expected --name, as not one input is of "
            f"strings, but {len(names)}: {', '.join(names) or 'none'}."
        )
    return names[0]


def _decoded(file: BinaryIO, name: str) -> Iterator[str]:
    """The lines without their ends; only a line feed ends one, before it a carriage return may."""
    for number, line in enumerate(file, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ExportError(f"{name}: line {number}: expected UTF-8. {error}.") from error
        yield text.removesuffix("\n").removesuffix("\r")


def _with_progress(answers: Iterator[Any]) -> Iterator[Any]:
    """The same, counted on the terminal unless the answers themselves are seen there."""
    if not sys.stderr.isatty() or sys.stdout.isatty() or not importlib.util.find_spec("tqdm"):
        return answers
    from tqdm import tqdm

    return iter(tqdm(answers, unit=" lines"))


def _print_json(outputs: Mapping[str, Any]) -> None:
    readable = {name: _readable(array.tolist()) for name, array in outputs.items()}
    print(json.dumps(readable, ensure_ascii=False), flush=True)


def _named_json(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        if not (name and equals):
            raise ValueError("no `=`")
        return name, json.loads(value)
    except ValueError as error:
        raise ExportError(f"--input must be NAME=JSON ({error}). Received: {text!r}.") from error


def _readable(value: Any) -> Any:
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


if __name__ == "__main__":
    sys.exit(main())
