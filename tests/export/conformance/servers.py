"""Starts the server that is tested: TensorFlow's where it is on the PATH, else the development one.

What both are told, and what both tell, is in the words of TensorFlow Serving's command line.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from export import DevServer, ExportError
from export.dev_server.batching_parameters import Parameters

STARTING = 120.0  # seconds that a server may take to load its models
MONITORING = 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }'


class DidNotStart(Exception):
    """What a server said that ended instead of serving."""


class Address(NamedTuple):
    """Where a server listens, and whether it is the development server."""

    host: str
    grpc_port: int
    rest_port: int
    development: bool = False


class Answer(NamedTuple):
    """What came back over REST."""

    code: int
    text: str
    content_type: str | None

    @property
    def document(self) -> Any:
        """The body, parsed."""
        return json.loads(self.text)

    @property
    def error(self) -> str:
        """The message of an answer that is nothing but an error."""
        document = self.document
        assert list(document) == ["error"] and self.content_type == "application/json"
        return document["error"]


def ask_rest(address: Address, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """One request over a connection of its own; a dict is sent as JSON, anything else as it is."""
    connection = http.client.HTTPConnection(address.host, address.rest_port, timeout=60)
    try:
        body = json.dumps(body) if isinstance(body, dict) else body
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "surrogateescape")
        return Answer(response.status, text, response.getheader("Content-Type"))
    finally:
        connection.close()


@contextlib.contextmanager
def calling(address: Address) -> Iterator[grpc.Channel]:
    """A channel of gRPC to the server."""
    with grpc.insecure_channel(f"{address.host}:{address.grpc_port}") as channel:
        yield channel


@contextlib.contextmanager
def launch(
    config: Path,
    *names: str,
    batching: Path | None = None,
    poll_seconds: int = 0,
    grpc_socket_path: Path | None = None,
    labels_first: bool = False,
) -> Iterator[Address]:
    """A server of the models in a config file.

    Args:
        config: the file.
        names: models that are available before the server is handed out.
        batching: a file of BatchingParameters.
        poll_seconds: how often folders are looked at; 0 for never again.
        grpc_socket_path: a Unix socket to listen on.
        labels_first: whether labels may name versions that are not loaded yet, as all are to
            TensorFlow's server while it reads the file; the development server loads them first.

    Raises:
        DidNotStart: if it ends instead.
    """
    program = shutil.which("tensorflow_model_server")
    if program is None:
        with contextlib.ExitStack() as stack:
            try:
                server = DevServer(
                    model_config_file=config,
                    grpc_port=0,
                    rest_port=0,
                    poll_seconds=poll_seconds,
                    batching=Parameters.read(batching) if batching else None,
                    grpc_socket_path=grpc_socket_path,
                )
                stack.enter_context(server)
            except ExportError as error:
                raise DidNotStart(str(error)) from error
            yield Address(server.host, server.grpc_port, server.rest_port, development=True)
        return
    flags = [
        f"--model_config_file={config}",
        f"--monitoring_config_file={_written(config.parent / 'monitoring.config', MONITORING)}",
        f"--file_system_poll_wait_seconds={poll_seconds}",
        "--max_num_load_retries=0",
    ]
    if batching:
        flags += ["--enable_batching", f"--batching_parameters_file={batching}"]
    if grpc_socket_path:
        flags += [f"--grpc_socket_path={grpc_socket_path}"]
    if labels_first:
        flags += ["--allow_version_labels_for_unavailable_models"]
    with _model_server([program, *flags], names, config.parent / "log") as address:
        yield address


@contextlib.contextmanager
def _model_server(command: list[str], names: tuple[str, ...], log: Path) -> Iterator[Address]:
    with socket.create_server(("", 0)) as first, socket.create_server(("", 0)) as second:
        ports = first.getsockname()[1], second.getsockname()[1]
    address = Address("127.0.0.1", *ports)
    command += [f"--port={address.grpc_port}", f"--rest_api_port={address.rest_port}"]
    with open(log, "wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as it:
        try:
            deadline = time.monotonic() + STARTING
            while not all(_available(address, name) for name in names):
                if it.poll() is not None or time.monotonic() > deadline:
                    raise DidNotStart(log.read_text())
                time.sleep(0.2)
            yield address
        finally:
            it.kill()


def states(address: Address, name: str) -> dict[int, str]:
    """The state of each version of a model, by its number."""
    document = ask_rest(address, "GET", f"/v1/models/{name}").document
    found = document.get("model_version_status", ())
    return {int(entry["version"]): entry["state"] for entry in found}


def _available(address: Address, name: str) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return set(states(address, name).values()) == {"AVAILABLE"}
    return False


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
