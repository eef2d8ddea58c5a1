"""Which server is asked, and the two ways to ask it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from export import DevServer
from tests.export.conformance.models import NAMES, write_models

STARTING = 120.0  # seconds that a server may take to load all models


class Address(NamedTuple):
    """Where a server listens, and whether it is the development server."""

    host: str
    grpc_port: int
    rest_port: int
    development: bool = False


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "dev_server_lacks(reason): must fail on the development server, and there only"
    )


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    given = os.environ.get("TF_SERVING_ADDRESS")
    if given:
        host, grpc_port, rest_port = given.rsplit(":", 2)
        yield Address(host, int(grpc_port), int(rest_port))
        return
    folder = tmp_path_factory.mktemp("conformance")
    config = write_models(folder)
    program = shutil.which("tensorflow_model_server")
    if program:
        with _model_server(program, config, folder / "log") as started:
            yield started
    else:
        with DevServer(model_config_file=config, grpc_port=0, rest_port=0) as server:
            yield Address(server.host, server.grpc_port, server.rest_port, development=True)


@contextlib.contextmanager
def _model_server(program: str, config: Path, log: Path) -> Iterator[Address]:
    with socket.create_server(("", 0)) as first, socket.create_server(("", 0)) as second:
        ports = first.getsockname()[1], second.getsockname()[1]
    address = Address("127.0.0.1", *ports)
    command = [
        program,
        f"--model_config_file={config}",
        "--allow_version_labels_for_unavailable_models",
        "--max_num_load_retries=0",
        f"--port={address.grpc_port}",
        f"--rest_api_port={address.rest_port}",
    ]
    with open(log, "wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as it:
        try:
            deadline = time.monotonic() + STARTING
            while not all(_available(address, name) for name in NAMES):
                if it.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"{program} did not load the models:\n{log.read_text()}")
                time.sleep(0.2)
            yield address
        finally:
            it.kill()


def _available(address: Address, name: str) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        answer = ask_rest(address, "GET", f"/v1/models/{name}")
        states = [entry["state"] for entry in answer.document.get("model_version_status", ())]
        return bool(states) and set(states) == {"AVAILABLE"}
    return False


@pytest.fixture(autouse=True)
def expected_failure(request: pytest.FixtureRequest, address: Address) -> None:
    marker = request.node.get_closest_marker("dev_server_lacks")
    if marker and address.development:
        request.applymarker(pytest.mark.xfail(strict=True, reason=marker.args[0]))


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


@pytest.fixture
def rest(address: Address) -> Any:
    """`rest(method, path, body, **headers) -> Answer`."""
    return lambda *arguments, **headers: ask_rest(address, *arguments, **headers)


@pytest.fixture
def post(rest: Any) -> Any:
    """`post(model, body, verb="predict") -> Answer`."""
    return lambda model, body, verb="predict": rest("POST", f"/v1/models/{model}:{verb}", body)


@pytest.fixture(scope="session")
def channel(address: Address) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"{address.host}:{address.grpc_port}") as channel:
        yield channel


@pytest.fixture
def prediction(channel: grpc.Channel) -> prediction_service_pb2_grpc.PredictionServiceStub:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def models(channel: grpc.Channel) -> model_service_pb2_grpc.ModelServiceStub:
    return model_service_pb2_grpc.ModelServiceStub(channel)
