"""REST that is wrong: in its bytes, its framing, its addresses, its JSON."""

from __future__ import annotations

import base64
import functools
import gzip
import json
import random
import re
import socket
from collections.abc import Callable
from typing import Any

from benchmarks.abuse.models import NAMES, SECRET
from benchmarks.abuse.mutations import mutated

SECONDS = 60.0  # that an answer may take
_B64 = {"b64": base64.b64encode(b"\xff\0").decode()}
_TYPES = {
    "float32_in": 1.5, "float64_in": -2.5e-300, "bool_in": True, "string_in": "a",
    "int32_in": 3, "int64_in": 2**62, "uint8_in": 255, "uint64_in": 2**64 - 1,
}  # fmt: skip
_GOOD: tuple[tuple[str, Any], ...] = (
    ("half:predict", {"instances": [1.0, 2.0]}),
    ("half:predict", {"inputs": {"x": [[1.0, 2.0]]}}),
    ("words:predict", {"instances": [["cat", "no"], ["dog", _B64]]}),
    ("words:predict", {"signature_name": "number", "instances": ["1.5"]}),
    ("types:predict", {"instances": [_TYPES, _TYPES]}),
    ("types:predict", {"inputs": {name: [value] for name, value in _TYPES.items()}}),
    ("examples:classify", {"examples": [{"x": 0.25}], "context": {"c": [1, 2]}}),
    ("examples:regress", {"signature_name": "regress", "examples": [{"x": 0.5, "s": [_B64]}]}),
)
_VERBS = ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "PRI", "é")
_PARTS = (
    "..", "%2e%2e", "..%2f..%2fsecret", "secret", "etc", "passwd", "%00", "%", "%zz", "v1", "V1",
    "models", "versions", "1", "9" * 19, "9" * 5000, "-1", "labels", "stable", "metadata", "a:b",
    "", ".", "half:predict", "half%3Apredict", "half:PREDICT", "half:classify", "é", "\x01", "\\",
    "monitoring", "prometheus", "metrics", "index.html", "?", "#", "//", "a" * 3000,
    *NAMES,
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, float("nan"),
    float("inf"), "", "a", "\0", "\ud800", "é" * 50, [], [[]], {}, {"b64": "!"}, {"b64": 1},
    {"b64": "YQ==", "more": 1}, _B64, [1, [2]], [[1], [2, 3]], "x" * 5000,
)  # fmt: skip


def request(rng: random.Random) -> bytes:
    """All that a client sends over one connection."""
    return rng.choice(_KINDS)(rng)


def ask(address: tuple[str, int], sent: bytes) -> str | None:
    """Sends it over a connection of its own; what is wrong with the answer, or None."""
    with socket.create_connection(address, timeout=SECONDS) as connection:
        received = bytearray()
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before its end; the answer is there to be read
        try:
            while part := connection.recv(2**16):
                received += part
        except OSError as error:
            return f"{error!r} after {bytes(received[:200])!r}"
    return problem(sent, bytes(received))


def problem(sent: bytes, received: bytes) -> str | None:
    """What is wrong with the answers to a request, or None."""
    if not received:
        return None if not sent.split(b"\n")[0].decode("latin-1").strip() else "no answer"
    if SECRET.encode() in received:
        return "the secret file was read"
    return _problem(received, b"HEAD " in sent)


def _problem(received: bytes, may_be_to_head: bool) -> str | None:
    """What is wrong with one or more answers; one to HEAD has a length and no body."""
    if not received:
        return None
    head, end, rest = received.partition(b"\r\n\r\n")
    found = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [ -~]*((?:\r\n[A-Za-z-]+: [ -~]*)*)", head)
    if not (found and end):
        return f"not HTTP: {received[:200]!r}"
    if found[1] == b"100":
        return _problem(rest, may_be_to_head)
    headers = dict(re.findall(rb"\r\n([A-Za-z-]+): ([ -~]*)", found[2].lower()))
    if not headers.get(b"content-length", b"").isdigit():
        return f"no length: {received[:200]!r}"
    length = int(headers[b"content-length"])
    kind = headers.get(b"content-type", b"").decode()
    wrong = "a cut answer" if len(rest) < length else _wrong(int(found[1]), kind, rest[:length])
    wrong = wrong or _problem(rest[length:], may_be_to_head)
    if wrong and may_be_to_head and _problem(rest, may_be_to_head) is None:
        return None
    return wrong


def _wrong(code: int, kind: str, body: bytes) -> str | None:
    if kind.startswith("text/"):
        return None if code in (200, 404) else f"{code} {kind}"
    if code == 200 and not body:  # to OPTIONS
        return None
    try:
        document = json.loads(body.decode("utf-8", "surrogateescape"))
    except ValueError:
        return f"{code}, no JSON: {body[:200]!r}"
    if code == 200:
        return None if isinstance(document, dict) else f"200: {body[:200]!r}"
    if list(document) != ["error"] or not isinstance(document["error"], str):
        return f"{code}, no error: {body[:200]!r}"
    return f"{code}: {document['error']}" if code == 500 else None


def post(target: str, body: bytes, *headers: str, verb: str = "POST") -> bytes:
    """A request with these headers, or with a Content-Length if there are none."""
    lines = [f"{verb} /v1/models/{target} HTTP/1.1", "Host: a"]
    lines += headers or [f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def good(rng: random.Random) -> bytes:
    """A request that there is nothing wrong with."""
    target, document = rng.choice(_GOOD)
    return post(target, json.dumps(document).encode())


def _bytes_changed(rng: random.Random) -> bytes:
    return mutated(rng, good(rng))


def _body_changed(rng: random.Random) -> bytes:
    target, document = rng.choice(_GOOD)
    return post(target, mutated(rng, json.dumps(document).encode()))


def _value_changed(rng: random.Random) -> bytes:
    target, document = rng.choice(_GOOD)
    changed = _replaced(rng, document)
    text = json.dumps(changed, ensure_ascii=rng.random() < 0.5)
    return post(target, text.encode("utf-8", "surrogatepass"))


def _replaced(rng: random.Random, value: Any) -> Any:
    if not (isinstance(value, dict | list) and value) or rng.random() < 0.2:
        return rng.choice(_VALUES)
    if isinstance(value, list):
        index = rng.randrange(len(value))
        return [*value[:index], _replaced(rng, value[index]), *value[index + 1 :]]
    key = rng.choice(list(value))
    changed = {**value, key: _replaced(rng, value[key])}
    if rng.random() < 0.2:
        del changed[key]
    if rng.random() < 0.2:
        changed[rng.choice(("x", "inputs", "instances", "context", "", "\ud800", "b64"))] = (
            rng.choice(_VALUES)
        )
    return changed


def _nested(rng: random.Random) -> bytes:
    target, _ = rng.choice(_GOOD)
    depth = rng.choice((10, 60, 65, 100, 250, 260, 900, 980, 1000, 1100, 5000, 10**5))
    value = b"[" * depth + rng.choice((b"", b"1", b'"a"')) + b"]" * depth
    if rng.random() < 0.3:
        value = b'{"x":' * depth + b"1" + b"}" * depth
    key = rng.choice((b"instances", b"inputs", b"signature_name", b"examples", b"context", b"more"))
    return post(target, b'{"examples": [{}], "%s": %s}' % (key, value))


def _number(rng: random.Random) -> bytes:
    target, _ = rng.choice(_GOOD)
    digits = b"9" * rng.choice((1, 20, 310, 4300, 4301, 10**5))
    number = rng.choice((b"%s", b"-%s", b"1e%s", b"1e-%s", b"0.%s", b"%s.5", b"0x%s", b"+%s"))
    return post(target, b'{"instances": [%s], "examples": [{"x": %s}]}' % ((number % digits,) * 2))


def _address(rng: random.Random) -> bytes:
    path = "/".join(["", *(rng.choice(_PARTS) for _ in range(rng.randint(1, 5)))])
    if rng.random() < 0.6:
        path = "/v1/models" + path
    verb = rng.choice(("GET", "GET", "POST", *_VERBS))
    version = rng.choice(("HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", "", "X", "A B"))
    return f"{verb} {path} {version}\r\nHost: a\r\n\r\n".encode("latin-1", "replace")


def _length(rng: random.Random) -> bytes:
    body = json.dumps({"instances": [1.0]}).encode()
    wrong = (0, 1, len(body) - 1, len(body) + 1, 10**6, 2**26, 2**27, 2**63, -1, "9" * 5000, "x",
             "", " ", "+22", "0x16", "22,22", "²", "1e1")  # fmt: skip
    headers = [f"Content-Length: {rng.choice(wrong)}" for _ in range(rng.choice((1, 1, 2)))]
    return post("half:predict", body, *headers) + rng.choice((b"", b"", good(rng)))


def _chunked(rng: random.Random) -> bytes:
    target, document = rng.choice(_GOOD)
    body = json.dumps(document).encode()
    cut = rng.randint(0, len(body))
    parts = [part for part in (body[:cut], body[cut:]) if part]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    wrong = (b"", b"0\r\n\r\n", b"-5\r\n", b"+5\r\nabcde\r\n0\r\n\r\n", b"0x5\r\n", b"1_0\r\n",
             b"zz\r\n", b"f" * 5000 + b"\r\n", b"fffffff\r\n", b"5\r\nab", b"5;" + b"e" * 70000,
             b"0\r\n" + b"t: t\r\n" * 200 + b"\r\n", b"0\r\n" + b"t" * 70000)  # fmt: skip
    end = rng.choice(wrong)
    if rng.random() < 0.3:
        chunks = mutated(rng, chunks)
    coding = rng.choice(("chunked", "chunked", "Chunked", "gzip, chunked", "xchunked", "identity"))
    more = rng.choice(((), ("Content-Length: 3",)))
    return post(target, chunks + end, f"Transfer-Encoding: {coding}", *more)


def _zipped(rng: random.Random) -> bytes:
    target, document = rng.choice(_GOOD)
    if rng.random() < 0.01:
        body = _bomb()
    else:
        body = gzip.compress(json.dumps(document).encode())
        if rng.random() < 0.7:
            body = mutated(rng, body)
    coding = rng.choice(("gzip", "gzip", "GZIP", "deflate", "gzip, gzip"))
    return post(target, body, f"Content-Length: {len(body)}", f"Content-Encoding: {coding}")


@functools.cache
def _bomb() -> bytes:
    return gzip.compress(b"[" * 2**28)


def _headers(rng: random.Random) -> bytes:
    target, document = rng.choice(_GOOD)
    body = json.dumps(document).encode()
    wrong = ("a", ": a", "a:", " folded: a", "\0: \0", "X" * 70000, "X: " + "y" * 70000,
             "Expect: 100-continue", "Expect: x", "Connection: close", "Connection: keep-alive",
             "Connection: upgrade", "Upgrade: h2c", "Origin: http://a", "Host: \r\n\tb",
             "\r\n".join(f"X{number}: a" for number in range(200)))  # fmt: skip
    more = [rng.choice(wrong) for _ in range(rng.randint(1, 3))]
    return post(target, body, f"Content-Length: {len(body)}", *more)


def _shapes(rng: random.Random) -> bytes:
    target, _ = rng.choice(_GOOD)
    leaf = rng.choice(("1", "1.5", '"a"', "[]", "{}", "null", '{"b64": ""}'))
    shape = [rng.choice((0, 1, 1, 2, 3, 7)) for _ in range(rng.randint(0, 6))]
    shape = shape + rng.choice(([], [], [1000], [1] * rng.randint(50, 70)))
    text = leaf
    for size in reversed(shape):
        text = f"[{', '.join([text] * size)}]"
        if len(text) > 10**5:
            break
    if rng.random() < 0.3:
        text = text.replace(leaf, "[]", 1)
    return post(target, f'{{"{rng.choice(("instances", "inputs"))}": {text}}}'.encode())


def _several(rng: random.Random) -> bytes:
    return b"".join(rng.choice((good, _value_changed, _address, _shapes))(rng) for _ in range(3))


def _noise(rng: random.Random) -> bytes:
    return rng.choice((b"", b"GET ", b"POST /v1/", b"\x16\x03\x01")) + rng.randbytes(
        rng.choice((1, 10, 1000, 10**5))
    )


_KINDS: tuple[Callable[[random.Random], bytes], ...] = (
    _bytes_changed, _bytes_changed, _body_changed, _body_changed, _value_changed, _value_changed,
    _nested, _number, _address, _length, _chunked, _zipped, _headers, _shapes, _several, _noise,
)  # fmt: skip
