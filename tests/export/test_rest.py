"""REST over real sockets: routing R1 to R16 and requests of the conformance table."""

import gzip
import http.client
import json
import socket

import pytest

from export.dev_server import http_bodies


@pytest.fixture
def connection(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=10)
    yield connection
    connection.close()


@pytest.fixture
def ask(connection):
    def ask(method, path, body=None, **headers):
        if isinstance(body, dict):
            body = json.dumps(body)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    return ask


HALF = "/v1/models/half_plus_two"
ROWS = {"instances": [[1, 2], [3, 4]]}
ANSWER = [[2.5, 3.0], [3.5, 4.0]]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/foo"),  # R1
        ("POST", "/v1/foo"),
        ("GET", "/v1/models/a/b"),  # R3
        ("GET", f"{HALF}:predict"),  # R4
        ("POST", f"{HALF}/version/50:predict"),  # R5
        ("POST", f"{HALF}/versions/HELLO:predict"),
        ("POST", f"{HALF}/versions/50/labels/x:predict"),
        ("GET", f"{HALF}/label/x"),
        ("POST", f"{HALF}/metadata"),  # R7
        ("PUT", HALF),
        ("DELETE", HALF),
        ("PATCH", HALF),
    ],
)
def test_a_path_of_no_meaning_is_malformed(ask, method, path):
    assert ask(method, path) == (400, {"error": f"Malformed request: {method} {path}"})


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/v1/models", 400, "Missing model name in request."),  # R2
        (  # R6
            f"{HALF}/versions/18446744073709551615",
            400,
            "Failed to convert version: 18446744073709551615 to numeric.",
        ),
        ("/v1/models/foo", 404, "Could not find any versions of model foo"),
        (f"{HALF}/versions/5", 404, "Could not find version 5 of model half_plus_two"),
        ("/v1/models/foo/metadata", 404, "Servable not found for request: Latest(foo)"),
        ("/v1/models/a%20b/metadata", 404, "Servable not found for request: Latest(a b)"),  # R8
    ],
)
def test_a_model_that_is_not_there_is_named(ask, path, code, message):
    assert ask("GET", path) == (code, {"error": message})


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [  # R11
        ("/v1/models/foo", 404, "Servable not found for request: Latest(foo)"),
        (f"{HALF}/versions/50", 404, "Servable not found for request: Specific(half_plus_two, 50)"),
        (f"{HALF}/labels/none", 400, "Unrecognized servable version label: none"),
        (f"{HALF}/labels/a%2Fb", 400, "Unrecognized servable version label: a/b"),
    ],
)
def test_a_prediction_by_a_model_that_is_not_there(ask, path, code, message):
    assert ask("POST", f"{path}:predict", ROWS) == (code, {"error": message})


def test_malformed_json_is_told_before_an_unknown_model(ask):
    code, answer = ask("POST", "/v1/models/foo:predict", b"{")
    assert code == 400 and "JSON Parse error" in answer["error"]


def test_paths_do_not_depend_on_case_and_queries_are_ignored(ask):  # R9
    assert ask("POST", "/V1/Models/half_plus_two:predict?x=1#y", ROWS)[0] == 200


def test_pages_elsewhere_are_not_found(connection):  # R10
    connection.request("GET", "/statuspage")
    response = connection.getresponse()
    assert response.status == 404 and response.getheader("Content-Type") == "text/html"
    assert b"404" in response.read()


@pytest.mark.parametrize("path", [HALF, f"{HALF}/versions/123", f"{HALF}/versions/000123"])
def test_half_plus_two(ask, path):  # R12
    assert ask("POST", f"{path}:predict", ROWS) == (200, {"predictions": ANSWER})
    column = {"inputs": {"x": [[1, 2], [3, 4]]}, "signature_name": "serving_default"}
    assert ask("POST", f"{path}:predict", column) == (200, {"outputs": ANSWER})


def test_an_unknown_signature(ask):
    body = {"signature_name": "s", "instances": [1.0]}
    message = 'Serving signature name: "s" not found in signature def'
    assert ask("POST", f"{HALF}:predict", body) == (400, {"error": message})


def test_strings_tables_and_bytes(ask):
    code, answer = ask(
        "POST", "/v1/models/words:predict", {"instances": [["dog", "é"], ["", "cat"]]}
    )
    assert code == 200
    assert answer["predictions"][0] == {
        "ids": [5, -1],
        "copy": ["dog", "é"],
        "copy_bytes": [{"b64": "ZG9n"}, {"b64": "w6k="}],
    }
    assert answer["predictions"][1]["ids"] == [-1, 3]


def test_a_scalar_output_is_no_row_but_a_column(ask):  # T8
    body = {"signature_name": "count", "instances": [[1, 2], [3, 4]]}
    code, answer = ask("POST", "/v1/models/words:predict", body)
    assert code == 400 and "no shape information" in answer["error"]
    body = {"signature_name": "count", "inputs": [[1, 2], [3, 4]]}
    assert ask("POST", "/v1/models/words:predict", body) == (
        200,
        {"outputs": {"total": 10, "values": [[1, 2], [3, 4]]}},
    )


def test_the_graph_judges_shapes(ask):
    body = {"signature_name": "check", "inputs": [[1, 2]]}
    code, answer = ask("POST", "/v1/models/words:predict", body)
    assert code == 400 and "not compatible with expected shape" in answer["error"]


def test_status(ask):  # R14
    available = {
        "version": "123",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    for path in (HALF, f"{HALF}/versions/123", f"{HALF}/labels/any"):
        assert ask("GET", path) == (200, {"model_version_status": [available]})


def test_metadata(ask):  # R14
    code, answer = ask("GET", f"{HALF}/metadata")
    assert code == 200
    expected = {"name": "half_plus_two", "signature_name": "", "version": "123"}
    assert answer["model_spec"] == expected
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "__saved_model_init_op"}
    entry = signatures["serving_default"]
    assert entry["method_name"] == "tensorflow/serving/predict"
    assert entry["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert entry["inputs"]["x"]["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}],
        "unknown_rank": False,
    }


def test_a_connection_serves_many_requests(ask, connection):
    ask("GET", HALF)
    socket_before = connection.sock
    assert ask("GET", "/v1/foo")[0] == 400
    assert ask("POST", f"{HALF}:predict", ROWS)[0] == 200
    assert connection.sock is socket_before


def test_a_zipped_body(ask):  # R15
    body = gzip.compress(json.dumps(ROWS).encode())
    assert ask("POST", f"{HALF}:predict", body, Content_Encoding="gzip")[0] == 200
    for broken in (body[:-9], b"plain"):
        code, answer = ask("POST", f"{HALF}:predict", broken, Content_Encoding="gzip")
        assert code == 400 and "not in gzip format" in answer["error"]


def test_a_body_in_chunks(connection):
    parts = iter([b'{"instances"', b": [2.0]}"])
    connection.request("POST", f"{HALF}:predict", parts, encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert json.loads(connection.getresponse().read()) == {"predictions": [3.0]}


def test_options(connection):  # R16
    connection.request("OPTIONS", HALF, headers={"Origin": "http://a.example"})
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"")
    connection.request("OPTIONS", HALF)
    response = connection.getresponse()
    assert response.status == 400
    assert json.loads(response.read())["error"] == "Origin header is missing in CORS preflight"


def test_head_has_no_body(connection):
    connection.request("HEAD", HALF)
    response = connection.getresponse()
    assert (response.status, response.read()) == (400, b"")
    connection.request("GET", HALF)
    assert connection.getresponse().status == 200


def test_a_body_too_large_is_refused_and_the_server_lives(ask, monkeypatch):
    monkeypatch.setattr(http_bodies, "MAX_BODY", 1000)
    code, answer = ask("POST", f"{HALF}:predict", b" " * 300_000)
    assert code == 413
    words = "The body of a request must not exceed 1000 bytes. Received: 300000 bytes."
    assert answer == {"error": words}
    zipped = gzip.compress(b" " * 300_000)
    assert ask("POST", f"{HALF}:predict", zipped, Content_Encoding="gzip")[0] == 413
    assert ask("POST", f"{HALF}:predict", ROWS)[0] == 200


@pytest.mark.parametrize("header", ["Content-Length: x", "Transfer-Encoding: chunked"])
def test_a_body_of_unknown_length_is_refused(server, header):
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=10) as raw:
        raw.sendall(f"POST {HALF}:predict HTTP/1.1\r\n{header}\r\n\r\nzz\r\n".encode())
        assert b" 400 " in raw.makefile("rb").readline()


def test_a_client_that_leaves_is_no_error(server, ask, capfd):
    with socket.create_connection(("127.0.0.1", server.rest_port)) as raw:
        raw.sendall(f"POST {HALF}:predict HTTP/1.1\r\nContent-Length: 99\r\n\r\n{{".encode())
    assert ask("GET", HALF)[0] == 200
    assert "Traceback" not in capfd.readouterr().err
