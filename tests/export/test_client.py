import inspect
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from export import Client, DevServer, ExportError, ServingError, Signature, write
from export.arrays import to_array
from export.client import TensorMetadata
from export.dev_server import grpc_service
from tests.export.conftest import spec

PROTOCOLS = ("grpc", "rest")


def address(server, protocol):
    return f"127.0.0.1:{server.grpc_port if protocol == 'grpc' else server.rest_port}"


@pytest.fixture(params=PROTOCOLS)
def client(request, server):
    clients = []

    def client(model="half_plus_two", **options):
        clients.append(
            Client(address(server, request.param), model, protocol=request.param, **options)
        )
        return clients[-1]

    yield client
    for opened in clients:
        opened.close()


@pytest.fixture
def both(server):
    """Asks over both protocols, checks that they agree to the bit, and returns what they said."""

    def both(model, inputs, **options):
        answers = []
        for protocol in PROTOCOLS:
            with Client(address(server, protocol), model, protocol=protocol, **options) as client:
                answers.append(client.predict(inputs))
        first, second = answers
        assert set(first) == set(second)
        for name in first:
            assert first[name].dtype == second[name].dtype, name
            assert first[name].shape == second[name].shape, name
            np.testing.assert_array_equal(first[name], second[name])
        return first

    return both


@pytest.mark.parametrize(
    "x",
    [
        [1.0, 2.0, 5.0],
        [1, 2, 5],
        (1, 2.0, 5),
        np.array([1.0, 2.0, 5.0]),
        np.array([1, 2, 5], np.int64),
        np.array([1, 2, 5], np.float16),
    ],
)
def test_numbers_take_the_type_of_the_signature(both, x):
    answer = both("half_plus_two", {"x": x})
    assert answer["y"].dtype == np.float32 and answer["y"].tolist() == [2.5, 3.0, 4.5]


def test_random_floats_are_equal_over_both_protocols(both):
    x = np.random.default_rng(7).normal(size=(11, 13)).astype(np.float32)
    np.testing.assert_allclose(both("half_plus_two", {"x": x})["y"], x / 2 + 2, rtol=1e-6)


def test_numbers_that_json_lacks(both):
    answer = both("half_plus_two", {"x": [np.nan, np.inf, -np.inf, 1e300]})
    np.testing.assert_array_equal(answer["y"], [np.nan, np.inf, -np.inf, np.inf])


def test_every_type(both):
    inputs = {"count": [3, -2], "word": ["no", "yes"], "ratio": [0.5, 1.5], "precise": [0.1, 1e-9]}
    answer = both("words", inputs, signature="describe")
    assert {name: array.dtype.name for name, array in answer.items()} == {
        "total": "float64", "shout": "object", "twice": "int32", "positive": "bool",
    }  # fmt: skip
    assert answer["shout"].tolist() == [b"NO", b"YES"]
    assert answer["twice"].tolist() == [6, -4] and answer["positive"].tolist() == [True, False]


def test_strings_come_back_as_they_went(both):
    words = [["dog", "Hündin"], [b"\xff\x00\xfe", ""], [b"tail\x00", 'q"\\\n']]
    answer = both("words", {"words": words})
    sent = [[w.encode() if isinstance(w, str) else w for w in row] for row in words]
    assert answer["copy"].tolist() == answer["copy_bytes"].tolist() == sent
    assert answer["ids"].tolist() == [[5, -1], [-1, -1], [-1, -1]]


def test_arrays_of_strings(both):
    for words in (np.array([["cat"]]), np.array([[b"cat"]]), np.array([["cat"]], object)):
        assert both("words", {"words": words})["ids"].tolist() == [[3]]


def test_scalars_and_empty_batches(both):
    answer = both("words", {"values": [[1, 2], [3, 5]]}, signature="count")
    assert answer["total"].shape == () and answer["total"] == 11
    assert both("half_plus_two", {"x": []})["y"].shape == (0,)


def test_an_empty_batch_keeps_the_axes_that_are_known(both):
    empty = {"count": [], "word": [], "ratio": [], "precise": []}
    answer = both("words", empty, signature="describe")
    assert answer["shout"].dtype == object and answer["shout"].shape == (0,)


def test_a_call_may_name_another_signature(client):
    answer = client("words").predict({"values": [[1, 2]]}, signature="count")
    assert answer["total"] == 3


def test_status_and_metadata_are_the_same_over_both(server):
    said = []
    for protocol in PROTOCOLS:
        with Client(address(server, protocol), "words", protocol=protocol) as client:
            said.append((client.status(), client.metadata()))
    assert said[0] == said[1]
    (status,), metadata = said[0]
    assert status == (1, "AVAILABLE", "OK", "")
    assert metadata.model == "words" and metadata.version == 1
    signature = metadata.signatures["count"]
    assert signature.inputs == {"values": TensorMetadata("int32", (None, None))}
    assert signature.outputs["total"] == TensorMetadata("int32", ())


def test_a_version_can_be_asked_for(client):
    assert client(version=123).predict({"x": [2.0]})["y"] == [3.0]
    with pytest.raises(ServingError) as caught:
        client(version=50).predict({"x": [2.0]})
    assert caught.value.code == "NOT_FOUND"
    assert caught.value.message == "Servable not found for request: Specific(half_plus_two, 50)"


@pytest.mark.parametrize(
    "inputs", [{}, {"z": [1.0]}, {"x": ["two"]}, {"x": [True]}, {"z": [1.0], "u": [1.0]}]
)
def test_wrong_inputs_are_the_servers_to_refuse(client, inputs):
    with pytest.raises(ServingError) as caught:
        client().predict(inputs)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_an_unknown_signature_is_the_servers_to_refuse(client):
    with pytest.raises(ServingError, match='"s" not found') as caught:
        client(signature="s").predict({"x": [1.0]})
    assert caught.value.code in ("FAILED_PRECONDITION", "INVALID_ARGUMENT")


def test_nobody_listening():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for protocol in PROTOCOLS:
        with Client(f"127.0.0.1:{port}", "m", protocol=protocol, timeout=5) as client:
            with pytest.raises(ServingError) as caught:
                client.status()
            assert caught.value.code == "UNAVAILABLE"


def test_nobody_answering():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        for protocol in PROTOCOLS:
            with Client(where, "m", protocol=protocol, timeout=0.2) as client:
                with pytest.raises(ServingError) as caught:
                    client.status()
                assert caught.value.code == "DEADLINE_EXCEEDED"


def test_an_answer_that_is_no_json():
    with socket.create_server(("127.0.0.1", 0)) as strange:

        def answer():
            connection, _ = strange.accept()
            connection.recv(9999)
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        where = f"http://127.0.0.1:{strange.getsockname()[1]}/"
        client = Client(where, "m", protocol="rest", retries=0)
        words = "UNAVAILABLE: Expected JSON. Received: HTTP 502, 'oops'"
        with pytest.raises(ServingError, match=words):
            client.status()
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"protocol": "soap"}, "`protocol` must be 'grpc' or 'rest'. Received: 'soap'"),
        ({"timeout": 0}, "Expected a `timeout` above 0 .* of at least 0. Received: 0"),
        ({"retries": -1}, "Expected a `timeout` .*Received: 30.0 and -1"),
        ({"address": "https://h:1/v1"}, "Expected host:port after https://. Received: 'https://h"),
        *(
            (
                {"protocol": "rest", "address": address},
                r"Expected host:port or an http\(s\) URL. Received: ",
            )
            for address in ("ftp://x", "h:port", "https://")
        ),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(ExportError, match=words):
        Client(**{"address": "localhost:1", "model": "m", **arguments})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([[1], [2, 3]], "An input must be a rectangular array."),
        ([["a"], ["b", "c"]], "must be a rectangular array of strings. Received: "),
        (["a", 1], "must be a rectangular array of strings. Received: 1 in it"),
        ([None, 1], "must be of numbers or of strings. Received: None"),
    ],
)
def test_what_is_no_array(value, words):
    with pytest.raises(ExportError, match=words):
        to_array(value, None)


@pytest.mark.parametrize(
    ("value", "declared", "received"),
    [
        ([1.5], "int32", "float64"),
        ([2**40], "int32", "int64"),
        ([2**31 - 1], "int32", "int32"),
        ([True], "float32", "bool"),
        ([1], "string", "int64"),
        ([-1], "uint8", "int64"),
        ([], "int32", "int32"),
        ([0.1], "float64", "float64"),
        ([0.1], "bfloat16", "bfloat16"),
        ([0.1], "resource", "float64"),
    ],
)
def test_a_conversion_never_changes_the_meaning(value, declared, received):
    assert to_array(value, declared).dtype.name == received


def test_tensor_content_is_read_too(server, monkeypatch):
    def fill(proto, array):
        proto.CopyFrom(tf.make_tensor_proto(array))

    monkeypatch.setattr(grpc_service, "fill", fill)
    with Client(address(server, "grpc"), "half_plus_two") as client:
        assert client.predict({"x": [1.0, 2.0, 5.0]})["y"].tolist() == [2.5, 3.0, 4.5]


def test_answers_larger_than_the_default_of_grpc(tmp_path):
    wide = Signature(lambda x: {"y": tf.tile(x, (1, 3_000_000))}, {"x": spec(tf.float32, 1)})
    write(tmp_path / "wide", {"serving_default": wide})
    with DevServer(tmp_path, grpc_port=0, rest_port=0) as server:
        with Client(address(server, "grpc"), "wide") as client:
            assert client.predict({"x": [[0.5]]})["y"].shape == (1, 3_000_000)


def test_many_threads_ask_at_once(client):
    asked, answers = client(), {}

    def ask(number):
        answers[number] = asked.predict({"x": [float(number)]})["y"].item()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: number / 2 + 2 for number in range(17)}


def _ask_without(absent, where, protocol):
    import sys

    for name in absent:
        sys.modules[name] = None
    from export import Client

    with Client(where, "half_plus_two", protocol=protocol) as client:
        print(client.predict({"x": [2.0, 5.0]})["y"].tolist())


def run(function, *arguments):
    """What a function prints in a process of its own."""
    script = f"{inspect.getsource(function)}\n{function.__name__}(*{arguments!r})"
    child = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=240,
    )
    return child.stdout, child.stderr


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_protocol_needs_tensorflow(server, protocol):
    absent = ["tensorflow", "tensorflow_serving", "keras"]
    if protocol == "rest":
        absent += ["grpc", "google.protobuf"]
    said = run(_ask_without, absent, address(server, protocol), protocol)
    assert said == ("[3.0, 4.5]\n", "")


def _ask_then_import(where):
    import sys

    from export import Client

    with Client(where, "half_plus_two") as client:
        client.predict({"x": [2.0, 5.0]})
        assert not [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]

        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(tf.constant([2.0, 5.0]) * 2))
        x = tf.make_ndarray(request.inputs["x"])
        print(client.predict({"x": x})["y"].tolist())


def test_tensorflow_may_be_imported_after_the_client(server):
    assert run(_ask_then_import, address(server, "grpc"))[0] == "[4.0, 7.0]\n"
