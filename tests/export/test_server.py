import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from export import Client, DevServer, ExportError, ServingError, Signature, write
from export.dev_server.batching_parameters import Parameters
from export.dev_server.model_config import ModelConfig, discover
from export.dev_server.servable import Servable
from export.dev_server.text_protos import SSLConfig
from export.layout import versions
from tests.export.conftest import half_signature, spec


@pytest.fixture
def model(exports, tmp_path):
    shutil.copytree(exports / "half_plus_two" / "123", tmp_path / "models" / "half" / "7")
    return tmp_path / "models" / "half"


def serve(folder, **options):
    return DevServer(folder, **{"grpc_port": 0, "rest_port": 0, **options})


def test_a_folder_of_models_and_the_folder_of_one(model):
    assert discover(model.parent) == {"half": ModelConfig(model)}
    assert discover(model) == {"half": ModelConfig(model)}
    (model.parent / ".hidden" / "1").mkdir(parents=True)
    (model.parent / "notes").mkdir()
    (model.parent / "README").write_text("")
    assert discover(model.parent) == {"half": ModelConfig(model)}


def test_only_numbers_are_versions(model):
    for name in ("007", "123456789012", "v8", "9.5", "-3", ".10", str(2**63), "²"):
        (model / name).mkdir()
    (model / "99").write_text("a file")
    assert set(versions(model)) == {7, 123456789012}


def test_the_newest_version_is_served(model):
    write(model, {"serving_default": half_signature()})
    with serve(model) as server:
        with Client(f"127.0.0.1:{server.grpc_port}", "half") as client:
            assert [status.version for status in client.status()] == [8]
            assert client.predict({"x": [2.0]})["y"] == [3.0]


def test_the_server_names_its_models_and_ports(exports):
    server = serve(exports)
    assert server.models == ()
    with server:
        assert server.models == ("half_plus_two", "words")
        assert server.grpc_port > 0 and server.rest_port > 0
        with pytest.raises(ExportError, match="The server is already running"):
            server.start()
    assert server.models == ()


def test_nothing_answers_after_stop_and_the_ports_are_free(model):
    server = serve(model)
    server.start()
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/half"
    kept = socket.create_connection(("127.0.0.1", server.rest_port))
    kept.sendall(b"GET /v1/models/half HTTP/1.1\r\n\r\n")
    assert kept.recv(9) == b"HTTP/1.1 "
    server.stop()
    with pytest.raises(OSError):
        urllib.request.urlopen(url, timeout=5)
    kept.settimeout(5)
    while kept.recv(9999):
        pass  # the rest of the answer, then the end of the connection
    kept.close()
    server.start()  # on the same ports
    assert urllib.request.urlopen(url, timeout=5).status == 200
    server.stop()
    server.stop()


@pytest.mark.parametrize("protocol", ["gRPC", "REST"])
def test_a_taken_port_is_one_clear_line(model, protocol):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = serve(model, **{f"{protocol.lower()}_port": port})
        with pytest.raises(
            ExportError, match=rf"{protocol}: cannot listen on 127.0.0.1:{port}: it is taken"
        ):
            server.start()
        assert server.models == ()


def test_two_servers_do_not_share_a_port(model):
    with serve(model) as first:
        with pytest.raises(ExportError, match="gRPC: cannot listen"):
            serve(model, grpc_port=first.grpc_port).start()
        with pytest.raises(ExportError, match="REST: cannot listen"):
            serve(model, rest_port=first.rest_port).start()


def test_a_unix_socket_is_one_server_s_and_gone_with_it(model, tmp_path):
    path = tmp_path / "socket"
    with serve(model, grpc_socket_path=path):
        with pytest.raises(ExportError, match="socket: another server does"):
            serve(model, grpc_socket_path=path).start()
        with Client(f"unix:{path}", "half") as client:
            assert client.predict({"x": [2.0]})["y"].tolist() == [3.0]
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as left:  # by a server that was killed
        left.bind(str(path))
    with serve(model, grpc_socket_path=path):
        pass


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none/socket", "/none/socket: .*No such file or directory"),
        ("x" * 108, "path too long"),
        ("", ": it is taken, or not ours to open"),
    ],
)
def test_a_unix_socket_that_cannot_be(model, tmp_path, name, words):
    with pytest.raises(ExportError, match=f"gRPC: cannot listen on .*{words}"):
        serve(model, grpc_socket_path=tmp_path / name).start()


def test_an_address_that_is_not_ours(model):
    with pytest.raises(ExportError, match="REST: cannot listen on 192.0.2.1:0: "):
        serve(model, host="192.0.2.1").start()
    with pytest.raises(ExportError, match="`rest_port` must be from 0 to 65535. Received: 99999"):
        serve(model, rest_port=99999).start()


def test_a_missing_folder(tmp_path):
    with pytest.raises(ExportError, match="absent: no such folder"):
        serve(tmp_path / "absent").start()


def test_a_folder_with_no_version(tmp_path):
    (tmp_path / "model" / "latest").mkdir(parents=True)
    with pytest.raises(ExportError, match="expected <version>/saved_model.pb or .*no version"):
        serve(tmp_path).start()


def test_the_folder_of_a_version_is_not_the_folder_of_a_model(model):
    with pytest.raises(ExportError, match="7: is a version; serve the folder it is in"):
        serve(model / "7").start()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda version: (version / "saved_model.pb").unlink(),
            "Received: no saved_model.pb in it",
        ),
        (
            lambda version: (version / "saved_model.pb").write_bytes(b"\xff" * 9),
            "saved_model.pb: expected a SavedModel message",
        ),
        (lambda version: (version / "saved_model.pb").write_bytes(b""), r"Received: \[\]"),
        (lambda version: shutil.rmtree(version / "variables"), "does not load|variables"),
    ],
)
def test_a_damaged_version_does_not_load(model, damage, words):
    if "variables" in words:
        pytest.importorskip("keras")
        version = _with_weights(model)
    else:
        version = model / "7"
    damage(version)
    with pytest.raises(ExportError, match=words):
        serve(model).start()


def _with_weights(base):
    import keras
    import tensorflow as tf

    from export import Signature

    layer = keras.layers.Dense(2)
    signature = Signature(lambda x: {"y": layer(x)}, {"x": tf.TensorSpec((None, 3))})
    return write(base, {"serving_default": signature}, resources=[layer])


def test_ops_that_are_not_there_are_named(model, monkeypatch):
    from export import graph

    monkeypatch.setattr(graph, "op_names", lambda meta_graph: {"AddV2", "GatherTreeOfAddons"})
    with pytest.raises(ServingError, match="Op type not registered: GatherTreeOfAddons.*install"):
        serve(model).start()


def test_a_servable_answers_many_threads(model):
    with Servable(model / "7") as servable:
        answers = {}

        def run(number):
            x = np.full((3,), number, np.float32)
            answers[number] = [servable.predict({"x": x})["y"][0] for _ in range(50)]

        threads = [threading.Thread(target=run, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {number: [number / 2 + 2] * 50 for number in range(5)}


def test_no_request_fails_while_versions_come_and_go(model):
    seen, errors, done = set(), [], threading.Event()

    def ask(protocol, port):
        with Client(f"127.0.0.1:{port}", "half", protocol=protocol, retries=0) as client:
            while not done.is_set():
                try:
                    assert client.predict({"x": [2.0]})["y"] == [3.0]
                    seen.add(client.status()[0].version)
                except (ServingError, AssertionError) as error:
                    errors.append(error)

    with serve(model, poll_seconds=0.05) as server:
        ports = [("grpc", server.grpc_port), ("rest", server.rest_port)]
        threads = [threading.Thread(target=ask, args=each) for each in ports]
        for thread in threads:
            thread.start()
        for number in (8, 9):
            write(model, {"serving_default": half_signature()})
            wait_for(lambda number=number: number in seen)
        (model / "10").mkdir()  # a version that never loads
        wait_for(lambda: 10 in seen)
        shutil.rmtree(model / "8")
        done.set()
        for thread in threads:
            thread.join()
    assert errors == []


def wait_for(happened, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_health(model):
    with serve(model) as server, grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "PredictionService", "ModelService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="other"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_deadline_ends_a_run(tmp_path):
    def count(x):
        start = (tf.constant(0), x)
        more = lambda i, _: i < 10**9  # noqa: E731
        return {"y": tf.while_loop(more, lambda i, y: (i + 1, y + 1.0), start)[1]}

    write(tmp_path / "slow", {"serving_default": Signature(count, {"x": spec(tf.float32)})})
    with serve(tmp_path, rest_timeout=0.5) as server:
        for protocol, port in (("grpc", server.grpc_port), ("rest", server.rest_port)):
            timeout = 0.5 if protocol == "grpc" else 60.0
            where = f"127.0.0.1:{port}"
            started = time.monotonic()
            with Client(where, "slow", protocol=protocol, timeout=timeout) as client:
                with pytest.raises(ServingError) as caught:
                    client.predict({"x": [1.0]})
            assert caught.value.code == "DEADLINE_EXCEEDED"
            assert time.monotonic() - started < 30.0


def test_requests_are_batched(model):
    """Two clients that meet within the batch's time are one run."""
    parameters = Parameters(batch_timeout_micros=1_000_000, max_batch_size=2)
    with serve(model, batching=parameters) as server:
        with Client(f"127.0.0.1:{server.grpc_port}", "half") as client:
            started = time.monotonic()
            with ThreadPoolExecutor(2) as pool:
                found = list(pool.map(lambda x: client.predict({"x": [x]})["y"], (2.0, 4.0)))
            assert [row.tolist() for row in found] == [[3.0], [4.0]]
            assert time.monotonic() - started < 0.9  # a batch that is full does not wait
            with pytest.raises(ServingError, match="Task size 3 is larger"):
                client.predict({"x": [1.0, 2.0, 3.0]})


def test_a_reload_of_the_config(model):
    request = model_management_pb2.ReloadConfigRequest()
    each = request.config.model_config_list.config.add(
        name="other", base_path=str(model), model_platform="tensorflow"
    )
    each.version_labels["stable"] = 7
    with serve(model.parent, poll_seconds=0) as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            assert stub.HandleReloadConfigRequest(request).status.error_code == 0
            assert server.models == ("other",)
            each.base_path = "/"
            with pytest.raises(grpc.RpcError) as caught:
                stub.HandleReloadConfigRequest(request)
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
            each.base_path = "here"
            with pytest.raises(grpc.RpcError, match="an absolute path"):
                stub.HandleReloadConfigRequest(request)
        assert server.models == ("other",)


def test_tls(model, tmp_path):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        + ["-keyout", key, "-out", certificate, "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost"],
        check=True,
        capture_output=True,
    )
    message = SSLConfig(server_key=key.read_text(), server_cert=certificate.read_text())
    (tmp_path / "ssl.config").write_text(text_format.MessageToString(message))
    with serve(model, ssl_config_file=tmp_path / "ssl.config", host="localhost") as server:
        where = f"https://localhost:{server.grpc_port}"
        with Client(where, "half", root_certificates=certificate) as client:
            assert client.predict({"x": [2.0]})["y"] == [3.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('server_cert: "x"', "expected server_key and server_cert"),
        ('server_cert: "x" server_key: "y"', "expected a key, its certificate .* in PEM"),
        ('server_cert: "x" server_key: "y" client_verify: true', "client_verify needs custom_ca"),
    ],
)
def test_a_config_of_tls_that_is_wrong(model, tmp_path, text, words):
    (tmp_path / "ssl.config").write_text(text)
    with pytest.raises(ExportError, match=words):
        serve(model, ssl_config_file=tmp_path / "ssl.config").start()


@pytest.mark.parametrize("arguments", [{}, {"base_path": "a", "model_config_file": "b"}])
def test_a_server_has_a_folder_or_a_config(arguments):
    with pytest.raises(ExportError, match="either a folder of models or a model config file"):
        DevServer(**arguments)


def test_sessions_are_as_their_config_says(model, tmp_path):
    config = tmp_path / "session.config"
    config.write_text("device_count { key: 'CPU' value: 3 }")
    with serve(model, tensorflow_session_config_file=config) as server:
        session = server._models.find("half").servable._session._session
        assert sum("CPU:" in device.name for device in session.list_devices()) == 3
    config.write_text("threads: 3")
    with pytest.raises(ExportError, match=r"session.config: Error parsing text-format tensorflow"):
        serve(model, tensorflow_session_config_file=config).start()
