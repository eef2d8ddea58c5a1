"""A client whose server gets new versions: what it asks, and how it reads the answers."""

import time

import numpy as np
import pytest
import tensorflow as tf

from export import Client, DevServer, ServingError, Signature, write
from export import client as clients
from export.client import Metadata, SignatureMetadata, TensorMetadata
from tests.export.conftest import spec

GONE = ServingError("NOT_FOUND", "Servable not found for request: Specific(m, 1)")


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_new_version_is_asked_by_its_own_names_and_types(tmp_path, protocol):
    half = Signature(lambda x: {"y": x / 2}, {"x": spec(tf.float32)})
    twice = Signature(lambda x: {"z": x * 2}, {"x": spec(tf.int64)})
    write(tmp_path / "m", {"serving_default": half})
    with DevServer(tmp_path, grpc_port=0, rest_port=0, poll_seconds=0.1) as server:
        port = server.grpc_port if protocol == "grpc" else server.rest_port
        with Client(f"127.0.0.1:{port}", "m", protocol=protocol) as client:
            (old,) = client.predict({"x": [3]}).items()
            rows = iter([{"x": 3}] * 2 + [{"x": 2**40 + 1}] * 2)
            stream = client.stream(rows, batch_size=1, concurrent=1)
            first = next(stream)
            write(tmp_path / "m", {"serving_default": twice})
            end, answers = time.monotonic() + 30, []
            while not answers or "y" in answers[-1]:
                assert time.monotonic() < end
                answers.append(client.predict({"x": [3]}))  # no answer is an error
            (new,) = answers[-1].items()
            last = list(stream)[-1]
    assert (old[0], old[1].dtype, old[1].tolist()) == ("y", np.float32, [1.5])
    assert (new[0], new[1].dtype, new[1].tolist()) == ("z", np.int64, [6])
    assert all(answer["y"].tolist() == [1.5] for answer in answers[:-1])
    assert first["y"] == 1.5 and last["z"] == 2 * (2**40 + 1)


class Scripted:
    """Knows these versions, one after the other, and answers or fails as told."""

    def __init__(self, versions, answers):
        self.versions, self.answers, self.asked = versions, answers, []

    def metadata(self, timeout):
        self.asked.append("metadata")
        tensor = TensorMetadata("float32", (None,))
        signature = SignatureMetadata({"x": tensor}, {"y": tensor})
        version = self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]
        return Metadata("m", version, {"serving_default": signature})

    def predict(self, inputs, signature, known, timeout):
        self.asked.append(known.version)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        pass


@pytest.fixture
def scripted():
    def scripted(versions, answers, **options):
        client = Client("127.0.0.1:1", "m", **options)
        client.close()
        client._transport = Scripted(versions, answers)
        return client, client._transport.asked

    return scripted


def test_metadata_are_asked_for_once_in_a_while_only(scripted, monkeypatch):
    client, asked = scripted([1, 2], ["answer"])
    for _ in range(3):
        client.predict({"x": [1.0]})
    assert asked == ["metadata", 1, 1, 1]
    monkeypatch.setattr(clients, "_FRESH", 0.0)
    client._fresh_until = 0.0
    client.predict({"x": [1.0]})
    client.predict({"x": [1.0]})
    assert asked[4:] == ["metadata", 2, "metadata", 2]


@pytest.mark.parametrize("retries", [0, 5])
def test_a_version_that_is_gone_is_followed_by_the_newest(scripted, retries):
    client, asked = scripted([1, 2], [GONE, "answer"], retries=retries)
    assert client.predict({"x": [1.0]}) == "answer"
    assert asked == ["metadata", 1, "metadata", 2]


def test_servers_behind_one_address_need_not_have_the_same_versions(scripted):
    client, asked = scripted([2, 1, 2, 1], [GONE, GONE, GONE, "answer"])
    assert client.predict({"x": [1.0]}) == "answer"
    assert asked == ["metadata", 2, "metadata", 1, "metadata", 2, "metadata", 1]


def test_a_version_that_is_never_there(scripted):
    client, asked = scripted([1], [GONE], retries=2)
    with pytest.raises(ServingError, match="NOT_FOUND: Servable not found"):
        client.predict({"x": [1.0]})
    assert asked == ["metadata", 1] * 4


def test_what_the_model_did_not_find_is_not_asked_again(scripted):
    client, asked = scripted([1], [ServingError("NOT_FOUND", "no such row")])
    with pytest.raises(ServingError, match="NOT_FOUND: no such row"):
        client.predict({"x": [1.0]})
    assert asked == ["metadata", 1]
