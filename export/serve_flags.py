"""The flags of a development server, for every command that starts one; no TensorFlow."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from export.errors import ExportError

_Value = TypeVar("_Value")


def _flag(default: _Value, help: str, **options: Any) -> _Value:
    """A field that is a flag; `options` are those of `ArgumentParser.add_argument`."""
    if isinstance(default, bool):
        options["action"] = "store_true"
    elif isinstance(default, int | float):
        options["type"] = type(default)
    return field(default=default, metadata={"help": help, **options})


@dataclass(frozen=True)
class ServeFlags:
    """What a server is told on the command line; `export.DevServer` says more of each."""

    directory: str | None = _flag(
        None, "folder of one model, or of several such folders", nargs="?"
    )
    model_config_file: str | None = _flag(
        None, "instead of a folder: a ModelServerConfig", metavar="FILE"
    )
    host: str = _flag("127.0.0.1", "address to listen on; 0.0.0.0 lets all in (%(default)s)")
    grpc_port: int = _flag(8500, "0 for a free one (%(default)s)")
    rest_port: int = _flag(8501, "0 for a free one (%(default)s)")
    grpc_socket_path: str | None = _flag(
        None, "a Unix socket to listen on for gRPC too", metavar="PATH"
    )
    poll_seconds: float = _flag(1.0, "how often to look for new versions; 0: never (%(default)s)")
    batching: str | None = _flag(
        None,
        "run requests that meet together, by TensorFlow Serving's defaults or by a file of "
        "BatchingParameters",
        nargs="?",
        const="",
        metavar="FILE",
    )
    cors: bool = _flag(False, "let pages of other origins ask over REST")
    ssl_config_file: str | None = _flag(
        None, "an SSLConfig, with which gRPC is encrypted", metavar="FILE"
    )
    tensorflow_session_config_file: str | None = _flag(
        None, "a ConfigProto: threads and devices of TensorFlow", metavar="FILE"
    )

    @classmethod
    def add_to(cls, parser: argparse.ArgumentParser) -> None:
        """Makes a parser know the flags."""
        for each in fields(cls):
            name = each.name if each.name == "directory" else f"--{each.name.replace('_', '-')}"
            parser.add_argument(name, default=each.default, **each.metadata)

    @classmethod
    def of(cls, options: argparse.Namespace) -> ServeFlags:
        """The flags among what such a parser read."""
        return cls(**{each.name: getattr(options, each.name) for each in fields(cls)})

    @classmethod
    def parse(cls, arguments: Sequence[str], program: str) -> ServeFlags:
        """The flags of a program that has no others.

        Raises:
            ExportError: if they are wrong.
        """
        parser = _Parser(prog=program, description="Serve exported models until interrupted.")
        cls.add_to(parser)
        return cls.of(parser.parse_args(arguments))

    def serve(self) -> None:
        """Serves until SIGINT or SIGTERM.

        Raises:
            ExportError: if there is nothing to serve, a file is wrong, or a port is taken.
        """
        if (self.directory is None) == (self.model_config_file is None):
            raise ExportError("Expected either a folder of models or --model-config-file.")
        if self.directory is not None and not Path(self.directory).is_dir():
            raise ExportError(f"{self.directory}: no such folder.")
        import_tensorflow()
        try:
            from export.dev_server.batching_parameters import Parameters
            from export.dev_server.server import serve_forever
        except ModuleNotFoundError as error:
            raise ExportError(
                f'serve needs pip install "keras-attention-layers[serving]". ({error})'
            ) from error

        logging.basicConfig(format="%(message)s")
        logging.getLogger("export").setLevel(logging.INFO)
        batching = None
        if self.batching is not None:
            batching = Parameters.read(self.batching) if self.batching else Parameters()
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        serve_forever(given.pop("directory"), **{**given, "batching": batching})


class _Parser(argparse.ArgumentParser):
    """Tells a mistake to the program instead of to the user."""

    def error(self, message: str) -> NoReturn:
        raise ExportError(message)


def import_tensorflow() -> None:
    """Imports TensorFlow and wakes its devices without the lines it prints about itself.

    Nothing runs yet: the first session of a process is what threads are made for.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drops what is written to file descriptor 2, by Python or C++, unless the block raises."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
