"""Which server is asked, and the two ways to ask it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from tests.export.conformance.example_models import write_half_plus_two
from tests.export.conformance.models import NAMES, write_models
from tests.export.conformance.servers import Address, ask_rest, calling, launch


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
    config = write_models(tmp_path_factory.mktemp("conformance"))
    with launch(config, *NAMES, labels_first=True) as started:
        yield started


@pytest.fixture(autouse=True)
def expected_failure(request: pytest.FixtureRequest, address: Address) -> None:
    marker = request.node.get_closest_marker("dev_server_lacks")
    if marker and address.development:
        request.applymarker(pytest.mark.xfail(strict=True, reason=marker.args[0]))


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
    with calling(address) as opened:
        yield opened


@pytest.fixture
def prediction(channel: grpc.Channel) -> prediction_service_pb2_grpc.PredictionServiceStub:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def models(channel: grpc.Channel) -> model_service_pb2_grpc.ModelServiceStub:
    return model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture(scope="session")
def half(tmp_path_factory):
    """A version of half plus two, to be copied."""
    folder = tmp_path_factory.mktemp("half") / "version"
    write_half_plus_two(folder)
    return folder


@pytest.fixture
def versions(half, tmp_path):
    """`versions(*names)` adds versions to the folder of the model `half`, and returns it."""

    def add(*names):
        for name in names:
            shutil.copytree(half, tmp_path / "beside" / name)
            (tmp_path / "half").mkdir(exist_ok=True)
            (tmp_path / "beside" / name).rename(tmp_path / "half" / name)  # all of it at once
        return tmp_path / "half"

    return add


@pytest.fixture
def config(tmp_path):
    """`config(more, base=...)` writes the config of the model `half`."""

    def write(more="", base=None, platform='model_platform: "tensorflow"', times=1):
        base = tmp_path / "half" if base is None else base
        one = f'config {{ name: "half" base_path: "{base}" {platform} {more} }}'
        path = tmp_path / "models.config"
        path.write_text(f"model_config_list {{ {one * times} }}")
        return path

    return write
