"""The sockets below REST: HTTP/1.1 with keep-alive on the standard library's threading server."""

from __future__ import annotations

import contextlib
import http.server
import socket
import sys
import threading
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from export.dev_server import page
from export.dev_server.rest import Answer, RestService, error_answer

MAX_BODY = 64 * 2**20
_CHUNK = 2**16
_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


class RestServer(http.server.ThreadingHTTPServer):
    """Listens at once, answers after `start`, and leaves no connection open after `stop`.

    Beside REST it serves a page to ask the models with, at `/` and `/index.html`.

    Args:
        address: host and port to listen on.
        service: answers the requests of REST.
        models: names that the page offers; iterated over whenever the page is asked for.
        cors: lets pages of any origin read the answers, as TensorFlow Serving does with
            `--rest_api_enable_cors_support`.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        service: RestService,
        *,
        models: Iterable[str] = (),
        cors: bool = False,
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.service = service
        self.models = models
        self.cors = cors
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> None:
        """Begins to answer, in threads of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stops listening and closes the connections that clients keep alive."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is a mistake of ours and is shown."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Refused(Exception):
    """A body that was not read to its end, and what to answer instead."""

    def __init__(self, code: int, message: str) -> None:
        self.answer = error_answer(code, message)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RestServer
    server_version = "keras-attention-dev-server"
    sys_version = ""
    timeout = 60.0  # seconds that an idle connection may hold its thread
    wbufsize = -1  # one packet for the headers and a small body...
    disable_nagle_algorithm = True  # ...and no waiting for the client's acknowledgement

    def handle_expect_100(self) -> bool:
        """Lets a client go on that asked whether to send its body."""
        allowed = super().handle_expect_100()
        self.wfile.flush()
        return allowed

    def answer(self) -> None:
        """Answers one request, whatever its verb."""
        try:
            reply = self._reply()
        except _Refused as refused:
            self.close_connection = True
            self._send(refused.answer)
            self._discard()
        else:
            self._send(reply)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer  # noqa: N815

    def do_OPTIONS(self) -> None:  # noqa: N802
        """The first half of a cross-origin request, which the headers allow, or do not."""
        origin = self.headers.get("Origin", "")
        if "http://" in origin or "https://" in origin:
            self._send(Answer(200, b""))
        else:
            self._send(error_answer(400, "Origin header is missing in CORS preflight"))

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing for each request."""

    def _reply(self) -> Answer:
        body = self._body()
        if self.headers.get("Content-Encoding", "").lower() == "gzip":
            body = _inflate(body)
        if self._wants_page():
            return Answer(200, page.page(self.server.models), page.CONTENT_TYPE)
        return self.server.service.answer(self.command, self.path, body)

    def _wants_page(self) -> bool:
        return self.command in ("GET", "HEAD") and self.path.split("?")[0] in page.PATHS

    def _more_headers(self) -> Mapping[str, str]:
        if self._wants_page():
            return page.HEADERS
        if self.server.cors and self.path.lower().startswith("/v1/"):
            return _CORS_HEADERS
        return {}

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunked_body()
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            raise _Refused(400, f"Content-Length must be a number of bytes. Received: {length}")
        if int(length) > MAX_BODY:
            raise _too_large(f"{length} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionResetError("the client left in the middle of a body")
        return body

    def _chunked_body(self) -> bytes:
        parts, total = [], 0
        while True:
            try:
                size = int(self.rfile.readline(_CHUNK).split(b";")[0], 16)
            except ValueError:
                raise _Refused(400, "A chunk of the body has no size") from None
            if size == 0:
                break
            total += size
            if size < 0 or total > MAX_BODY:
                raise _too_large("more")
            parts.append(self.rfile.read(size))
            self.rfile.readline(_CHUNK)
        while self.rfile.readline(_CHUNK).strip():
            pass  # trailers
        return b"".join(parts)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.code)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in self._more_headers().items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()

    def _discard(self) -> None:
        """Reads on for a moment: closing on unread bytes could destroy the answer on its way."""
        self.connection.settimeout(1.0)
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            for _ in range(2 * MAX_BODY // _CHUNK):
                if not self.rfile.read1(_CHUNK):
                    break


def _inflate(body: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=31)  # 31: with the header of gzip
    try:
        inflated = inflater.decompress(body, MAX_BODY)
    except zlib.error as error:
        raise _Refused(400, f"The body is not in gzip format: {error}") from error
    if not inflater.eof and not inflater.unconsumed_tail:
        raise _Refused(400, "The body is not in gzip format: it ends too early")
    if inflater.unconsumed_tail:
        raise _too_large("more, once inflated")
    return inflated


def _too_large(received: str) -> _Refused:
    return _Refused(
        413, f"The body of a request must not exceed {MAX_BODY} bytes. Received: {received}."
    )
