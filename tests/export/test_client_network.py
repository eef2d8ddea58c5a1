"""The client where servers are away, slow, full, or behind TLS."""

import asyncio
import contextlib
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from export import Client, ExportError, ServingError
from export.client import _Call
from export.errors import HTTP_STATUS

PROTOCOLS = ("grpc", "rest")
AVAILABLE = {
    "model_version_status": [
        {
            "version": "1",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ]
}


class Script:
    """Answers by one code after the other, then OK; the times of all questions."""

    def __init__(self, *codes, slow=0.0):
        self.codes, self.slow, self.times, self.connections = list(codes), slow, [], 0

    def next(self):
        self.times.append(time.monotonic())
        time.sleep(self.slow)
        return self.codes.pop(0) if self.codes else "OK"


@contextlib.contextmanager
def rest_server(script, **attributes):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self):
            super().setup()
            script.connections += 1

        def do_GET(self):
            code = script.next()
            body = json.dumps(AVAILABLE if code == "OK" else {"error": "full"}).encode()
            self.send_response(HTTP_STATUS[code])
            self.send_header("Content-Length", str(len(body)))
            for header in attributes.get("headers", ()):
                self.send_header(*header)
            self.end_headers()
            for byte in body:
                self.wfile.write(bytes([byte]))
                time.sleep(attributes.get("pause", 0.0))

        def log_message(self, format, *args):
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            pass  # the client gave up

    Handler.timeout = attributes.get("timeout")
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def grpc_server(script):
    class Service(model_service_pb2_grpc.ModelServiceServicer):
        def GetModelStatus(self, request, context):  # noqa: N802
            code = script.next()
            if code != "OK":
                context.abort(grpc.StatusCode[code], "full")
            version = get_model_status_pb2.ModelVersionStatus(version=1, state=30)
            return get_model_status_pb2.GetModelStatusResponse(model_version_status=[version])

    server = grpc.server(ThreadPoolExecutor(4))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


SERVERS = {"grpc": grpc_server, "rest": rest_server}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_unavailable_server_is_asked_again(protocol):
    script = Script(*["UNAVAILABLE"] * 3)
    with SERVERS[protocol](script) as where, Client(where, "m", protocol=protocol) as client:
        assert client.status() == [(1, "AVAILABLE", "OK", "")]
    waits = [after - before for before, after in zip(script.times, script.times[1:], strict=False)]
    assert len(waits) == 3
    for wait, least in zip(waits, (0.025, 0.05, 0.1), strict=True):
        assert wait >= least


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_number_of_tries_is_limited(protocol):
    script = Script(*["UNAVAILABLE"] * 9)
    with SERVERS[protocol](script) as where:
        with Client(where, "m", protocol=protocol, retries=2) as client:
            with pytest.raises(ServingError, match="^UNAVAILABLE: full$"):
                client.status()
    assert len(script.times) == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "code", ["INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "INTERNAL", "UNIMPLEMENTED"]
)
def test_nothing_else_is_asked_again(protocol, code):
    script = Script(code)
    with SERVERS[protocol](script) as where, Client(where, "m", protocol=protocol) as client:
        with pytest.raises(ServingError) as caught:
            client.status()
    assert (caught.value.code, len(script.times)) == (code, 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_all_tries_share_one_deadline(protocol):
    script = Script(*["UNAVAILABLE"] * 99)
    with SERVERS[protocol](script) as where:
        with Client(where, "m", protocol=protocol, timeout=1.5, retries=99) as client:
            began = time.monotonic()
            words = r"^DEADLINE_EXCEEDED: full \([2-9] tries in [01]\.\d+ of 1\.5 s\)$"
            with pytest.raises(ServingError, match=words):
                client.status()
            assert time.monotonic() - began < 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_slow_server_is_given_up_at_the_deadline(protocol):
    with SERVERS[protocol](Script("UNAVAILABLE", slow=1.0)) as where:
        with Client(where, "m", protocol=protocol, timeout=1.6) as client:
            with pytest.raises(ServingError, match=r"\(2 tries in 1\.\d+ of 1\.6 s\)") as caught:
                client.status()
            assert caught.value.code == "DEADLINE_EXCEEDED"


def test_an_answer_that_drips_is_given_up_at_the_deadline():
    with rest_server(Script(), pause=0.1) as where:
        with Client(where, "m", protocol="rest", timeout=0.4) as client:
            began = time.monotonic()
            with pytest.raises(ServingError, match=r"timed out \(1 try in 0\.\d+ of 0\.4 s\)"):
                client.status()
            assert time.monotonic() - began < 4


def test_waits_double_up_to_a_second(monkeypatch):
    waits = []
    monkeypatch.setattr("export.client.time.sleep", waits.append)
    monkeypatch.setattr("export.client.random.uniform", lambda low, high: (low + high) / 2)
    tries = []

    def away(left):
        tries.append(left)
        raise ServingError("UNAVAILABLE", "away")

    with pytest.raises(ServingError, match="^UNAVAILABLE: away$"):
        _Call(60.0, 7).ask(away)
    assert waits == [0.75 * longest for longest in (0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0)]
    assert len(tries) == 8 and tries == sorted(tries, reverse=True)


def test_a_call_of_two_questions_has_one_deadline():
    call, answers = _Call(0.3, 5), []
    call.ask(lambda left: answers.append(left) or time.sleep(0.1))
    call.ask(answers.append)
    assert answers[0] - answers[1] >= 0.1


def test_a_server_that_starts_late_is_found():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for protocol in PROTOCOLS:
        with Client(f"127.0.0.1:{port}", "m", protocol=protocol, retries=99) as client:
            with pytest.raises(ServingError):
                Client(f"127.0.0.1:{port}", "m", protocol=protocol, retries=0).status()
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(client.status)
                time.sleep(0.3)
                assert not asked.done()
                with _late(protocol, port):
                    assert asked.result(10)[0].state == "AVAILABLE"


@contextlib.contextmanager
def _late(protocol, port):
    with SERVERS[protocol](Script()) as where:
        with _relay(int(where.rpartition(":")[2]), port=port):
            yield


def test_one_connection_serves_many_requests():
    script = Script()
    with rest_server(script) as where, Client(where, "m", protocol="rest") as client:
        for _ in range(5):
            client.status()
    assert (script.connections, len(script.times)) == (1, 5)


def test_a_connection_that_the_server_closed_is_made_anew():
    script = Script()
    with rest_server(script, timeout=0.3) as where:
        with Client(where, "m", protocol="rest", retries=0) as client:
            for _ in range(3):
                client.status()
                time.sleep(0.8)
    assert script.connections == 3


def test_a_server_may_keep_no_connection():
    script = Script()
    with rest_server(script, headers=[("Connection", "close")]) as where:
        with Client(where, "m", protocol="rest", retries=0) as client:
            assert client.status() == client.status()
    assert script.connections == 2


def test_an_error_keeps_the_connection():
    script = Script("INVALID_ARGUMENT", "NOT_FOUND")
    with rest_server(script) as where, Client(where, "m", protocol="rest") as client:
        for _ in range(2):
            with pytest.raises(ServingError):
                client.status()
        client.status()
    assert script.connections == 1


def test_threads_have_connections_of_their_own_and_leave_them_to_others():
    script = Script(slow=0.05)
    with rest_server(script) as where, Client(where, "m", protocol="rest") as client:
        for _ in range(3):
            with ThreadPoolExecutor(4) as pool:
                assert len([*pool.map(lambda _: client.status(), range(12))]) == 12
    assert script.connections <= 4 and len(script.times) == 36


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of 127.0.0.1 that signed itself, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "server.crt", folder / "server.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        + ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        + ["-addext", "subjectAltName=IP:127.0.0.1", "-out", made[0], "-keyout", made[1]],
        check=True,
        capture_output=True,
    )
    return made


@contextlib.contextmanager
def _relay(target, *, port=0, context=None):
    """Listens, with TLS if there is a context, and passes everything on to a port."""
    loop = asyncio.new_event_loop()
    tasks = set()

    async def pump(reader, writer):
        try:
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    async def start():
        return await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)

    async def stop():
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.1)  # transports close in the loop

    server = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(params=PROTOCOLS)
def secure(request, server, certificate):
    """Protocol, and address of a server behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["h2"] if request.param == "grpc" else ["http/1.1"])
    plain = server.grpc_port if request.param == "grpc" else server.rest_port
    with _relay(plain, context=context) as port:
        yield request.param, f"https://127.0.0.1:{port}"


def test_tls_with_a_certificate_of_ones_own(secure, certificate):
    protocol, where = secure
    options = {"protocol": protocol, "root_certificates": certificate[0]}
    with Client(where, "half_plus_two", **options) as client:
        for _ in range(3):
            assert client.predict({"x": [2.0]})["y"].tolist() == [3.0]


def test_a_certificate_of_nobody_known_is_refused(secure):
    protocol, where = secure
    with Client(where, "half_plus_two", protocol=protocol, retries=0) as client:
        with pytest.raises(ServingError, match="(?i)certificate.verify.failed") as caught:
            client.status()
    assert caught.value.code == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), ("", "expected certificates in PEM"), ("key", "expected certifica")],
    ids=["absent", "empty", "no-pem"],
)
def test_what_holds_no_certificate(tmp_path, content, words):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    for protocol in PROTOCOLS:
        with pytest.raises(ExportError, match=f"ca.pem: .*{words}"):
            Client("https://h:1", "m", protocol=protocol, root_certificates=path)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://127.0.0.1:1"])
def test_certificates_are_for_tls_only(address):
    words = "`root_certificates` need an address that begins with https://. Received: "
    with pytest.raises(ExportError, match=words):
        Client(address, "m", root_certificates="ca.pem")
