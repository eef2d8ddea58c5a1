"""The bodies of HTTP requests: their lengths, chunks and compression, and how much is held."""

from __future__ import annotations

import contextlib
import re
import threading
import zlib
from collections.abc import Iterator
from email.message import Message
from io import BufferedIOBase

from export.dev_server.rest import error_answer

MAX_BODY = 64 * 2**20
_MAX_HELD = 2 * MAX_BODY
_SMALL = 2**16  # bytes; a body of so many is not counted
_PATIENCE = 30.0  # seconds that a large body waits for others to go
_MAX_LINE = 2**16
_MAX_TRAILERS = 100
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\n]*)?\r?\n")


class Refused(Exception):
    """A body that was not read to its end, and what to answer instead."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.answer = error_answer(code, message)


class Room:
    """The memory that large bodies share: those that find none left wait until others are done."""

    def __init__(self, size: int = _MAX_HELD) -> None:
        self._left = size
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Takes so many bytes of it for a while.

        Raises:
            Refused: if they do not become free in time.
        """
        size = 0 if size <= _SMALL else size
        with self._changed:
            if not self._changed.wait_for(lambda: self._left >= size, _PATIENCE):
                raise Refused(503, "Other requests with large bodies took too long.")
            self._left -= size
        try:
            yield
        finally:
            with self._changed:
                self._left += size
                self._changed.notify_all()


@contextlib.contextmanager
def body(file: BufferedIOBase, headers: Message, room: Room) -> Iterator[bytes]:
    """The body of a request, whole and inflated, for as long as it is needed.

    Args:
        file: what the client sends after the headers.
        headers: the headers.
        room: where it finds a place if it is large.

    Raises:
        Refused: if it is too large, ends early, or is not what the headers say.
    """
    with contextlib.ExitStack() as held:
        if "Transfer-Encoding" in headers:
            content = _chunked(file, headers, room, held)
        else:
            length = _length(headers)
            held.enter_context(room.hold(length))
            content = _exactly(file, length)
        if headers.get("Content-Encoding", "").lower() == "gzip":
            content = _inflated(content, room, held)
        yield content


def _length(headers: Message) -> int:
    lengths = set(headers.get_all("Content-Length", ["0"]))
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdigit()):
        received = ", ".join(sorted({length, *lengths}))[:100]
        raise Refused(400, f"Content-Length must be a number of bytes. Received: {received}")
    digits = length.lstrip("0") or "0"
    if len(digits) > len(str(MAX_BODY)) or int(digits) > MAX_BODY:
        raise _too_large(f"{digits[:100]} bytes")
    return int(digits)


def _chunked(
    file: BufferedIOBase, headers: Message, room: Room, held: contextlib.ExitStack
) -> bytes:
    codings = [each.strip().lower() for each in headers.get_all("Transfer-Encoding", [])]
    if codings != ["chunked"] or "Content-Length" in headers:
        raise Refused(
            400,
            "Transfer-Encoding must be chunked, and no Content-Length beside it. "
            f"Received: {', '.join(codings)[:100]}",
        )
    content = bytearray()
    while size := _chunk_size(file):
        if len(content) + size > MAX_BODY:
            raise _too_large("more")
        if len(content) <= _SMALL < len(content) + size:
            held.enter_context(room.hold(MAX_BODY))
        content += _exactly(file, size)
        if file.readline(2) not in (b"\r\n", b"\n"):
            raise Refused(400, "A chunk of the body is longer than its size")
    for _ in range(_MAX_TRAILERS):
        if file.readline(_MAX_LINE) in (b"\r\n", b"\n", b""):
            return bytes(content)
    raise Refused(400, f"Expected at most {_MAX_TRAILERS} lines after the last chunk")


def _chunk_size(file: BufferedIOBase) -> int:
    found = _CHUNK_SIZE.fullmatch(file.readline(_MAX_LINE))
    if not found:
        raise Refused(400, "A chunk of the body has no size")
    return int(found[1], 16)


def _exactly(file: BufferedIOBase, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise Refused(400, f"The body ends after {len(content)} of {size} bytes")
    return content


def _inflated(content: bytes, room: Room, held: contextlib.ExitStack) -> bytes:
    inflater = zlib.decompressobj(wbits=31)  # 31: with the header of gzip
    try:
        small = min(_SMALL, MAX_BODY)
        inflated = inflater.decompress(content, small)
        if len(inflated) == small and not inflater.eof:
            held.enter_context(room.hold(MAX_BODY))
            inflated += inflater.decompress(inflater.unconsumed_tail, MAX_BODY - small + 1)
    except zlib.error as error:
        raise Refused(400, f"The body is not in gzip format: {error}") from error
    if len(inflated) > MAX_BODY:
        raise _too_large("more, once inflated")
    if not inflater.eof:
        raise Refused(400, "The body is not in gzip format: it ends too early")
    return inflated


def _too_large(received: str) -> Refused:
    return Refused(
        413, f"The body of a request must not exceed {MAX_BODY} bytes. Received: {received}."
    )
