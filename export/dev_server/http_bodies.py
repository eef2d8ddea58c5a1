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
_MAX_HELD = 3 * MAX_BODY
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
    """The memory that large bodies share: those that find none left wait until others are done.

    A body takes it as it comes, so that a client that sends nothing takes none. All but the first
    share a third of it; two thirds are left for that one, as it comes and inflated.
    """

    def __init__(self, size: int = _MAX_HELD) -> None:
        self._left = size
        self._for_others = size // 3
        self._taken: dict[Place, int] = {}  # in the order in which they came
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def place(self) -> Iterator[Place]:
        """What one body takes room by; it is given back at the end."""
        place = Place(self)
        try:
            yield place
        finally:
            with self._changed:
                self._left += self._taken.pop(place, 0)
                self._changed.notify_all()

    def take(self, place: Place, size: int) -> None:
        """Takes so many bytes for a body.

        Raises:
            Refused: if they do not become free in time.
        """
        with self._changed:
            self._taken.setdefault(place, 0)

            def fits() -> bool:
                first = next(iter(self._taken))
                others = sum(self._taken.values()) - self._taken[first]
                return self._left >= size and (place is first or others + size <= self._for_others)

            if not self._changed.wait_for(fits, _PATIENCE):
                raise Refused(503, "Other requests with large bodies took too long.")
            self._left -= size
            self._taken[place] += size


class Place:
    """What a body takes room by; the first of it is small, and not counted."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    def take(self, size: int) -> None:
        """Before so many bytes more are held."""
        self._size += size
        if self._size > _SMALL:
            self._room.take(self, size)


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
    with room.place() as place:
        if "Transfer-Encoding" in headers:
            content = _chunked(file, headers, place)
        else:
            content = _exactly(file, _length(headers), place)
        if headers.get("Content-Encoding", "").lower() == "gzip":
            content = _inflated(content, place)
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


def _chunked(file: BufferedIOBase, headers: Message, place: Place) -> bytes:
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
        content += _exactly(file, size, place)
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


def _exactly(file: BufferedIOBase, size: int, place: Place) -> bytes:
    pieces, left = [], size
    while left:
        place.take(min(left, _SMALL))
        pieces.append(file.read(min(left, _SMALL)))
        left -= len(pieces[-1])
        if not pieces[-1]:
            raise Refused(400, f"The body ends after {size - left} of {size} bytes")
    return b"".join(pieces)


def _inflated(content: bytes, place: Place) -> bytes:
    inflater = zlib.decompressobj(wbits=31)  # 31: with the header of gzip
    inflated = bytearray()
    try:
        for start in range(0, len(content), _SMALL):  # piece by piece, as a tail is a copy
            piece = content[start : start + _SMALL]
            while piece and not inflater.eof:
                more = inflater.decompress(piece, _SMALL)
                if len(inflated) + len(more) > MAX_BODY:
                    raise _too_large("more, once inflated")
                place.take(len(more))
                inflated += more
                piece = inflater.unconsumed_tail
        inflated += inflater.flush()
    except zlib.error as error:
        raise Refused(400, f"The body is not in gzip format: {error}") from error
    if not inflater.eof:
        raise Refused(400, "The body is not in gzip format: it ends too early")
    return bytes(inflated)


def _too_large(received: str) -> Refused:
    return Refused(
        413, f"The body of a request must not exceed {MAX_BODY} bytes. Received: {received}."
    )
