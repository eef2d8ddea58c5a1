"""Requests that are wrong in every way, cut connections, and what they once found."""

import contextlib
import gzip
import io
import json
import math
import socket
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import classification_pb2, model_management_pb2, predict_pb2

from benchmarks import serving_abuse
from benchmarks.abuse import attack, models, rest
from export import DevServer, ExportError, ServingError
from export.dev_server import http_bodies, http_server, tensor_protos
from export.dev_server.batching_parameters import Parameters
from export.dev_server.http_bodies import MAX_BODY, Refused, Room
from export.dev_server.inference import serialized_examples
from export.dev_server.json_values import show
from export.dev_server.metrics import Metrics
from export.dev_server.model_config import from_proto
from export.dev_server.servable import Servable

HALF = "/v1/models/half_plus_two"
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module")
def abused(tmp_path_factory):
    return models.write_models(tmp_path_factory.mktemp("abused"))


@pytest.mark.parametrize(
    "batching", [None, Parameters(batch_timeout_micros=1000, max_enqueued_batches=1000)]
)
def test_abuse_is_answered_and_a_good_client_notices_nothing(abused, batching, caplog, capfd):
    seen = attack.Seen()
    asked = ("steady",) if batching else ("steady", "half")
    with DevServer(abused, grpc_port=0, rest_port=0, batching=batching) as server:
        addresses = {
            "rest": f"127.0.0.1:{server.rest_port}",
            "grpc": f"127.0.0.1:{server.grpc_port}",
        }
        with attack.GoodClient(addresses, asked) as good:
            attack.attack(addresses, abused, 150, 20, "test", seen)
    assert seen.failures == [] and (seen.requests, seen.aborted) == (150, 20)
    assert good.lost == [] and good.answered > 0
    assert "Traceback" not in caplog.text + capfd.readouterr().err


def test_nothing_stays_open_where_a_client_is_gone_before_its_answer():
    class Gone(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            raise BrokenPipeError

    handler = http_server._Handler.__new__(http_server._Handler)
    handler.rfile, handler.wfile = io.BytesIO(), io.BufferedWriter(Gone())
    handler.wfile.write(b"an answer")
    with pytest.raises(BrokenPipeError):
        handler.finish()
    assert handler.rfile.closed


def raw(server, sent):
    """What comes back over a connection that sends no more than this."""
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(2**16), b""))


def refused_raw(server, sent):
    """The code and the words of an answer that is an error in JSON."""
    head, _, body = raw(server, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ") and b"Content-Type: application/json" in head
    (error,) = json.loads(body).items()
    assert error[0] == "error"
    return int(head[9:12]), error[1]


def post(body, *headers):
    headers = headers or (f"Content-Length: {len(body)}",)
    return "\r\n".join([f"POST {HALF}:predict HTTP/1.1", *headers, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET /v1/models X\r\n\r\n", 400),
        (b"\x9d\x1b1Jg\r\n\r\n", 400),
        (b"POST /v1/models\r\n\r\n", 400),
        (b"GET /v1/models\r\n\r\n", 400),
        (b"GET /v1/models HTTP/2.0\r\n\r\n", 505),
        (b"BREW /v1/models HTTP/1.1\r\n\r\n", 501),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_what_is_no_http_is_answered_as_any_other_mistake(server, sent, code):
    assert refused_raw(server, sent)[0] == code


@pytest.mark.parametrize(
    ("length", "code", "words"),
    [
        ("9" * 5000, 413, "must not exceed"),
        ("0" * 5000 + "2", 400, "JSON Parse error"),
        ("+2", 400, "must be a number of bytes. Received: +2"),
        ("²", 400, "must be a number of bytes"),
        ("2\r\nContent-Length: 3", 400, "must be a number of bytes. Received: 2, 3"),
        ("99", 400, "The body ends after 2 of 99 bytes"),
    ],
)  # fmt: skip
def test_the_length_of_a_body(server, length, code, words):
    received, error = refused_raw(server, post(b"{ ", f"Content-Length: {length}"))
    assert received == code and words in error


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"-5\r\n", ()),
        (b"0x5\r\nabcde\r\n0\r\n\r\n", ()),
        (b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n", ()),
        (b"2\r\n{}xx0\r\n\r\n", ()),
        (b"2;" + b"e" * 70000, ()),
        (b"0\r\n" + b"t: t\r\n" * 200 + b"\r\n", ()),
        (b"2\r\n{}\r\n0\r\n\r\n", ("Content-Length: 2",)),
        (b"{}", ("Transfer-Encoding: gzip",)),
    ],
)
def test_chunks_are_read_strictly(server, body, headers):
    code, words = refused_raw(server, post(body, "Transfer-Encoding: chunked", *headers))
    assert code == 400 and "JSON" not in words


def test_chunks_that_are_right(server):
    body = b'5 ; a="b"\r\n{"ins\r\nE\r\ntances": [2.0]\r\n1\r\n}\r\n0\r\nt: t\r\n\r\n'
    answer = raw(server, post(body, "Transfer-Encoding: Chunked"))
    assert answer.endswith(b'{"predictions": [3.0]}')


@pytest.mark.parametrize(("size", "fits"), [(999, True), (1000, True), (1001, False)])
def test_a_zipped_body_may_be_as_large_as_any(server, monkeypatch, size, fits):
    monkeypatch.setattr(http_bodies, "MAX_BODY", 1000)
    body = gzip.compress(b'{"instances": [2.0]}'.ljust(size))
    headers = f"Content-Length: {len(body)}", "Content-Encoding: gzip"
    assert raw(server, post(body, *headers)).startswith(b"HTTP/1.1 2" if fits else b"HTTP/1.1 413")


def test_large_bodies_wait_for_one_another(monkeypatch):
    monkeypatch.setattr(http_bodies, "_SMALL", 10)
    monkeypatch.setattr(http_bodies, "_PATIENCE", 0.05)
    room = Room(100)
    with room.place() as first:
        first.take(20)
        with room.place() as small, room.place() as large, room.place() as other:
            small.take(10)  # is not counted
            large.take(30)  # of the third that is not for the first
            first.take(40)
            with pytest.raises(Refused) as caught:
                other.take(11)
            assert caught.value.answer.code == 503
        monkeypatch.setattr(http_bodies, "_PATIENCE", 30.0)
        order = []

        def wait():
            with room.place() as second:
                second.take(60)
                order.append("second")

        thread = threading.Thread(target=wait)
        thread.start()
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_who_never_ends_a_request_is_let_go(exports, monkeypatch):
    monkeypatch.setattr(http_server, "_SECONDS", 0.5)
    with DevServer(exports, grpc_port=0, rest_port=0) as server:
        with socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\n")
            ended = time.monotonic() + 20
            with pytest.raises(OSError):
                while time.monotonic() < ended:  # a little is sent often enough, but never all
                    slow.sendall(b"X: a\r\n")
                    time.sleep(0.1)


def test_who_connects_and_says_nothing_makes_room(exports, monkeypatch):
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 4)
    with DevServer(exports, grpc_port=0, rest_port=0) as server:
        idle = [socket.create_connection(("127.0.0.1", server.rest_port)) for _ in range(20)]
        try:
            for _ in range(3):
                answer = raw(server, post(b'{"instances": [2.0]}'))
                assert answer.endswith(b'{"predictions": [3.0]}')
        finally:
            for connection in idle:
                connection.close()


def test_a_server_that_works_on_as_many_requests_as_it_can_says_so(exports, monkeypatch):
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 1)
    begun, going = threading.Event(), threading.Event()

    def slow(self, inputs, **_):
        begun.set()
        going.wait(60)
        return {"y": inputs["x"]}

    with DevServer(exports, grpc_port=0, rest_port=0) as server:
        monkeypatch.setattr(Servable, "predict", slow)  # only now: warm-up records are run first
        with socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) as first:
            first.sendall(post(b'{"instances": [2.0]}'))
            assert begun.wait(30)
            code, words = refused_raw(server, b"")
            going.set()
            assert (code, words) == (503, "Expected at most 500 connections at once.")
            assert first.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("key", ["signature_name", "inputs", "examples"])
@pytest.mark.parametrize("depth", [900, 960, 990, 100_000])
def test_deep_nesting_is_a_mistake_of_the_client(server, key, depth):
    body = f'{{"{key}": {"[" * depth}{"]" * depth}}}'.encode()
    assert refused_raw(server, post(body))[0] == 400


def test_no_more_of_a_value_is_written_than_is_shown():
    text = show([[["a" * 10] * 10**6] * 10**6] * 10**6)
    assert text.startswith('[[["aaaaaaaaaa", ') and text.endswith("...") and len(text) == 259
    assert show({"a": [1, None]}) == '{"a": [1, null]}'


@pytest.mark.parametrize(("rank", "fits"), [(24, True), (25, False), (33, False), (70, False)])
def test_strings_of_too_many_axes(exports, server, rank, fits):
    """More than 32 end the process inside TensorFlow, were they let through."""
    with Servable(exports / "words" / "1") as servable:
        array = np.full((1,) * min(rank, 64), b"cat", object)
        if fits:
            assert servable.predict({"words": array})["ids"].shape == (1,) * rank
        else:
            with pytest.raises(ServingError, match="INVALID_ARGUMENT: Expected at most 24 axes"):
                servable.predict({"words": array})
    body = f'{{"instances": {"[" * rank}"cat"{"]" * rank}}}'.encode()
    answer = raw(server, post(body).replace(b"half_plus_two", b"words"))
    assert answer.startswith(b"HTTP/1.1 200" if fits else b"HTTP/1.1 400")


def tensor(dtype, *shape, **values):
    dims = [{"size": size} for size in shape]
    return tensor_pb2.TensorProto(
        dtype=dtype.as_datatype_enum, tensor_shape={"dim": dims}, **values
    )


@pytest.mark.parametrize(
    "proto",
    [
        tensor(tf.float32, 10**9, float_val=[1.0]),
        tensor(tf.float32, 2**24 + 2, float_val=[1.0]),
        tensor(tf.float32, 10**9),
        tensor(tf.float16, 10**9, half_val=[1]),
        tensor(tf.int8, 2**31, 2**31, int_val=[1]),
        tensor(tf.string, 2**22, string_val=[b""]),
        tensor(tf.string, 2**12, string_val=[b"a", b"b" * 2**15]),
    ],
)
def test_a_small_message_does_not_become_a_large_tensor(proto):
    with pytest.raises(ServingError, match="RESOURCE_EXHAUSTED: Expected at most 67108864 bytes"):
        tensor_protos.to_array("x", proto)


def test_values_may_be_left_out_where_they_repeat_the_last_one():
    array = tensor_protos.to_array("x", tensor(tf.float32, 2, 3, float_val=[1.0, 5.0]))
    assert array.tolist() == [[1.0, 5.0, 5.0], [5.0, 5.0, 5.0]]
    large = tensor_protos.to_array("x", tensor(tf.float32, 2**24, float_val=[1.0]))
    assert large.shape == (2**24,)


def test_an_array_is_written_in_parts(monkeypatch):
    monkeypatch.setattr(tensor_protos, "_AT_ONCE", 4)
    array = np.arange(11, dtype=np.int64).reshape(11, 1)
    proto = tensor_pb2.TensorProto()
    tensor_protos.fill(proto, array)
    assert list(proto.int64_val) == list(range(11))


def test_a_context_is_not_copied_without_end():
    request = classification_pb2.ClassificationRequest()
    examples = request.input.example_list_with_context
    examples.context.features.feature["c"].bytes_list.value.append(b"c" * 2**16)
    examples.examples.extend([example_pb2.Example()] * 2**10)
    with pytest.raises(ServingError, match="RESOURCE_EXHAUSTED: Expected at most 67108864 bytes"):
        serialized_examples(request.input)


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


def half(x=(2.0,)):
    request = predict_pb2.PredictRequest(model_spec={"name": "half_plus_two"})
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array(x, np.float32)))
    return request.SerializeToString()


def call(channel, message, method=PREDICT, timeout=30):
    """The code and the details of an answer."""
    try:
        channel.unary_unary(method)(message, timeout=timeout)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def test_a_call_may_have_no_deadline(channel):
    assert call(channel, half(), timeout=None) == ("OK", "")


def test_what_is_no_message_is_an_invalid_argument(channel):
    for _ in range(300):  # more than may wait at once
        code, details = call(channel, b"\xff" * 50)
        assert code == "INVALID_ARGUMENT" and details.startswith("Not a message: ")
    assert call(channel, half()) == ("OK", "")


def test_a_message_that_never_comes_holds_nobody_up(channel):
    ended = threading.Event()

    def never():
        ended.wait(30)
        return
        yield b""

    stub = channel.stream_unary(PREDICT)
    calls = [stub.future(never(), timeout=60) for _ in range(40)]
    try:
        assert call(channel, half()) == ("OK", "")
        assert not any(each.done() for each in calls)
    finally:
        ended.set()
        for each in calls:
            each.cancel()


def test_a_mistake_of_ours_is_told_without_its_words(channel, monkeypatch, caplog):
    def mistake(*_, **__):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(Servable, "predict", mistake)
    assert call(channel, half()) == ("INTERNAL", "The server failed; its log says where.")
    assert "ZeroDivisionError: a secret" in caplog.text


def test_a_mistake_of_ours_is_not_counted_as_an_answer():
    metrics = Metrics()
    with pytest.raises(ZeroDivisionError), metrics.request("m", "Predict", "GRPC"):
        raise ZeroDivisionError
    assert 'status="INTERNAL"} 1' in metrics.text() and 'status="OK"' not in metrics.text()


def test_methods_that_are_not_there(channel):
    for method in ("/grpc.health.v1.Health/Watch", "/tensorflow.serving.SessionService/SessionRun"):
        assert call(channel, b"", method)[0] == "UNIMPLEMENTED"
    for name in (b"", b"\n\x11PredictionService", b"\n\x0cModelService"):
        assert call(channel, name, "/grpc.health.v1.Health/Check") == ("OK", "")
    assert call(channel, b"\n\x01x", "/grpc.health.v1.Health/Check")[0] == "NOT_FOUND"


def test_an_error_that_quotes_what_is_no_text(abused):
    with Servable(abused / "words" / "1") as servable:
        with pytest.raises(
            ServingError, match=r"INVALID_ARGUMENT: .*could not .*: \\xff"
        ) as caught:
            servable.predict({"words": np.array([b"\xff"], object)}, signature="number")
    caught.value.message.encode()


def test_a_session_is_asked_in_one_order_only(exports, monkeypatch):
    asked = set()
    with Servable(exports / "words" / "1") as servable:
        run = servable._session.run

        def recorded(feeds, fetches, arrays, timeout=None):
            asked.add(tuple(fetches))
            return run(feeds, fetches, arrays, timeout)

        monkeypatch.setattr(servable._session, "run", recorded)
        words = {"words": np.array([[b"cat"]], object)}
        for wanted in (["ids", "copy"], ["copy", "ids"]):
            assert servable.predict(words, output_filter=wanted)["ids"].tolist() == [[3]]
    assert len(asked) == 1


def test_a_path_that_is_none(channel):
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(
        name="a", base_path="/etc/\0", model_platform="tensorflow"
    )
    with pytest.raises(ExportError, match="Expected model a to have an absolute path"):
        from_proto(request.config)
    method = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
    assert call(channel, request.SerializeToString(), method)[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("received", "wrong"),
    [
        (b"", "no answer"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "no length"),
        (b"<html>", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "a cut answer"),
        (b"HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\n{}", "400, no error"),
        (b"HTTP/1.1 400 No\r\nContent-Length: 1\r\n\r\n{", "400, no JSON"),
        (b'HTTP/1.1 500 No\r\nContent-Length: 13\r\n\r\n{"error":"e"}', "500: e"),
        (b'HTTP/1.1 400 No\r\nContent-Length: 13\r\n\r\n{"error":"e"}', None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP", "not HTTP"),
    ],
)  # fmt: skip
def test_which_answers_are_wrong(received, wrong):
    found = rest.problem(b"GET / HTTP/1.1\r\n\r\n", received)
    assert found is None if wrong is None else found.startswith(wrong)


def test_what_counts_as_growth(tmp_path):
    before = serving_abuse.Usage(100.0, 20, 10)
    assert serving_abuse.growth([before, serving_abuse.Usage(104.9, 30, 20)]) == []
    grown = serving_abuse.growth([before, serving_abuse.Usage(105.1, 31, 21)])
    assert [each.split()[0] for each in grown] == ["memory", "threads", "files"]
    log = tmp_path / "log"
    log.write_text("fine\n")
    assert serving_abuse.traces(log) == []
    log.write_text("fine\nTraceback (most recent call last):\nhere\n")
    assert "here" in serving_abuse.traces(log)[0]


def test_what_a_process_holds():
    usage = serving_abuse.Usage.of(threading.get_native_id())
    assert math.inf > usage.memory > 10 and usage.threads >= 1 and usage.files >= 3


def test_who_promises_large_bodies_and_sends_none_takes_no_room(server, monkeypatch):
    monkeypatch.setattr(http_bodies, "_PATIENCE", 0.2)
    promise = f"POST {HALF}:predict HTTP/1.1\r\nContent-Length: {MAX_BODY}\r\n\r\n"
    with contextlib.ExitStack() as open_ones:
        for _ in range(3):
            slow = socket.create_connection(("127.0.0.1", server.rest_port), timeout=30)
            open_ones.enter_context(slow).sendall(promise.encode() + b" " * 2**17)
        time.sleep(0.2)
        body = b'{"instances": [2.0]}'.ljust(2**20)
        answer = raw(server, post(body, f"Content-Length: {len(body)}"))
    assert answer.startswith(b"HTTP/1.1 200")
