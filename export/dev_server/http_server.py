"""The sockets below REST: HTTP/1.1 with keep-alive on the standard library's threading server."""

from __future__ import annotations

import contextlib
import http.server
import math
import socket
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from export.dev_server import page
from export.dev_server.http_bodies import MAX_BODY, Refused, Room, body
from export.dev_server.rest import Answer, RestService, error_answer

MAX_CONNECTIONS = 500  # each has a thread, and processes often have 1024 files
_SECONDS = 60.0  # in which a request must arrive; an idle connection is closed after as many
_SECONDS_PER_BYTE = 1e-6  # beyond them, for an answer to be taken
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
        self.room = Room()
        self._deadlines: dict[socket.socket, float] = {}
        self._next_look = 0.0
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
        self._close_overdue(math.inf)

    def allow(self, connection: socket.socket, seconds: float) -> None:
        """Closes a connection after so many seconds, unless this is said anew before."""
        with self._lock:
            self._deadlines[connection] = time.monotonic() + seconds

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._make_room():
            self.allow(request, _SECONDS)
            super().process_request(request, client_address)
        else:
            with contextlib.suppress(OSError):
                request.send(_FULL)
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called again and again between two connections."""
        if (now := time.monotonic()) >= self._next_look:
            self._next_look = now + 1.0
            self._close_overdue(now)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is a mistake of ours and is shown."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def _make_room(self) -> bool:
        """Whether one more may connect: if need be, in the place of who is waited for longest."""
        with self._lock:
            if len(self._deadlines) < MAX_CONNECTIONS:
                return True
            waiting = min(self._deadlines, key=self._deadlines.__getitem__)
            if self._deadlines[waiting] == math.inf:
                return False
            del self._deadlines[waiting]
            _close(waiting)
            return True

    def _close_overdue(self, now: float) -> None:
        with self._lock:
            for connection, deadline in self._deadlines.items():
                if deadline <= now:
                    _close(connection)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _full() -> bytes:
    answer = error_answer(503, f"Expected at most {MAX_CONNECTIONS} connections at once.")
    lines = (
        "HTTP/1.1 503 Service Unavailable",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Connection: close",
    )
    return "\r\n".join([*lines, "", ""]).encode() + answer.body


_FULL = _full()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RestServer
    server_version = "keras-attention-dev-server"
    sys_version = ""
    default_request_version = "HTTP/1.0"  # what is older has no headers, so no errors either
    timeout = _SECONDS
    command = path = ""  # until a request is read
    wbufsize = -1  # one packet for the headers and a small body...
    disable_nagle_algorithm = True  # ...and no waiting for the client's acknowledgement

    def handle_one_request(self) -> None:
        self.server.allow(self.connection, _SECONDS)
        super().handle_one_request()

    def finish(self) -> None:
        """Closes both files, even where a client that went away cannot be sent the rest."""
        try:
            super().finish()
        finally:
            self.rfile.close()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Tells what the standard library finds wrong with a request as any other error."""
        self._refuse(error_answer(code, message or self.responses[code][0]))

    def handle_expect_100(self) -> bool:
        """Lets a client go on that asked whether to send its body."""
        allowed = super().handle_expect_100()
        self.wfile.flush()
        return allowed

    def answer(self) -> None:
        """Answers one request, whatever its verb."""
        try:
            reply = self._reply()
        except Refused as refused:
            self._refuse(refused.answer)
        else:
            self._send(reply)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing for each request."""

    def _reply(self) -> Answer:
        with body(self.rfile, self.headers, self.server.room) as content:
            self.server.allow(self.connection, math.inf)
            if self.command == "OPTIONS":
                return self._preflight()
            if self._wants_page():
                return Answer(200, page.page(self.server.models), page.CONTENT_TYPE)
            return self.server.service.answer(self.command, self.path, content)

    def _preflight(self) -> Answer:
        """The first half of a cross-origin request, which the headers allow, or do not."""
        origin = self.headers.get("Origin", "")
        if "http://" in origin or "https://" in origin:
            return Answer(200, b"")
        return error_answer(400, "Origin header is missing in CORS preflight")

    def _wants_page(self) -> bool:
        return self.command in ("GET", "HEAD") and self.path.split("?")[0] in page.PATHS

    def _more_headers(self) -> Mapping[str, str]:
        if self._wants_page():
            return page.HEADERS
        if self.server.cors and self.path.lower().startswith("/v1/"):
            return _CORS_HEADERS
        return {}

    def _refuse(self, answer: Answer) -> None:
        """Answers a request that was not read to its end, so that no other can follow."""
        self.close_connection = True
        self._send(answer)
        self._discard()

    def _send(self, answer: Answer) -> None:
        self.server.allow(self.connection, _SECONDS + _SECONDS_PER_BYTE * len(answer.body))
        self.send_response(answer.code)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in self._more_headers().items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.requestline.split()[:1] != ["HEAD"]:
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
