"""The page to ask with, as it is served, and what lets pages of other origins ask."""

import base64
import hashlib
import http.client
import re
from contextlib import closing
from html import escape

import pytest

from export.dev_server import http_bodies, page
from export.dev_server.http_server import RestServer
from export.dev_server.metrics import Metrics
from export.dev_server.model_config import discover
from export.dev_server.models import Models
from export.dev_server.rest import RestService
from keras_attention.visualization.figure import INK, TRUTH
from keras_attention.visualization.overlay import GLOW

HTML = page.page(()).decode()
METADATA = "/v1/models/half_plus_two/metadata"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


@pytest.fixture(scope="module")
def models(exports):
    with closing(Models(lambda: discover(exports))) as loaded:
        yield loaded


@pytest.fixture
def ask(models):
    """One request to a server of its own, with these options."""
    servers = []

    def ask(method, path, body=None, headers=None, **options):
        servers.append(RestServer(("127.0.0.1", 0), RestService(models, Metrics()), **options))
        servers[-1].start()
        port = servers[-1].server_address[1]
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()

    yield ask
    for server in servers:
        server.stop()


@pytest.mark.parametrize("path", ["/", "/index.html", "/?model=m"])
def test_the_page_is_served_under_a_strict_policy(ask, path):
    code, headers, body = ask("GET", path)
    assert (code, body) == (200, HTML)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    assert policy["connect-src"] == "http: https:"


def test_head_tells_of_the_page_without_sending_it(ask):
    code, headers, body = ask("HEAD", "/")
    assert (code, body) == (200, "")
    assert int(headers["Content-Length"]) == len(HTML.encode())
    assert headers["Content-Security-Policy"] == page.HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/"), ("DELETE", "/"), ("GET", "/page.html")]
)
@pytest.mark.parametrize("cors", [False, True])
def test_nothing_else_is_found_outside_v1(ask, method, path, cors):
    code, headers, body = ask(method, path, cors=cors)
    assert code == 404 and "404 Not Found" in body
    assert not {*CORS, *page.HEADERS} & set(headers)


def test_the_page_offers_the_models_by_name_as_text(ask):
    names = ["translation", '<img src=x>"', "a&b"]
    body = ask("GET", "/", models=names)[2]
    offered = re.findall('<button type="button">(.*?)</button>', body)
    assert offered == [escape(name) for name in names]
    assert "<img" not in body


def test_models_that_come_later_are_offered(ask, models):
    names = []
    before = ask("GET", "/", models=names)[2]
    names.extend(models)
    assert before == HTML
    assert ">half_plus_two</button>" in ask("GET", "/", models=names)[2]


def test_the_page_loads_nothing_and_writes_text_only():
    addresses = set(re.findall(r"https?://[\w.:-]+", HTML))
    assert addresses == {"http://127.0.0.1:8501"}
    assert not re.search(r"\ssrc=|url\(|@import|<link(?! rel=\"icon\" href=\"data:,\")", HTML)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", HTML)


def test_the_page_has_the_palette_of_the_figures():
    for colour in (INK, TRUTH, GLOW):
        assert colour in HTML
    channels = re.search(r"const GLOW = \[(.*)\]", HTML)[1].split(", ")
    assert "#" + "".join(channel.removeprefix("0x") for channel in channels) == GLOW


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", METADATA, None, 200),
        ("POST", "/v1/models/half_plus_two:predict", '{"instances": [1.0]}', 200),
        ("POST", "/V1/models/half_plus_two:predict", "{", 400),
        ("GET", "/v1/models/foo", None, 404),
        ("OPTIONS", METADATA, None, 200),
        ("POST", METADATA, b" " * 2000, 413),
    ],
)
def test_pages_of_other_origins_may_read_answers_if_told_so(
    ask, monkeypatch, method, path, body, code
):
    monkeypatch.setattr(http_bodies, "MAX_BODY", 1000)
    origin = {"Origin": "http://a.example"}
    answered, headers, _ = ask(method, path, body, origin, cors=True)
    assert answered == code
    assert {name: headers[name] for name in CORS} == CORS
    answered, headers, _ = ask(method, path, body, origin)
    assert answered == code and not set(CORS) & set(headers)
