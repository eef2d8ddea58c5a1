"""One client for two protocols: ask a TensorFlow Serving server, or ours, for a prediction.

REST needs NumPy and the standard library, gRPC also its own library and that of protocol buffers;
neither needs TensorFlow.
"""

from __future__ import annotations

import importlib
import os
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np

from export.arrays import to_array
from export.client_rows import stream
from export.errors import ExportError, ServingError

_Answer = TypeVar("_Answer")

_FIRST_WAIT, _LONGEST_WAIT = 0.05, 1.0  # seconds
_FRESH = 1.0  # seconds after which the client looks for a newer version
_GONE = "Servable not found for request: "  # so begins the answer for a version that is let go


class VersionStatus(NamedTuple):
    """The state of one version: AVAILABLE, LOADING, ..., and its error if it has one."""

    version: int
    state: str
    error_code: str
    error_message: str


class TensorMetadata(NamedTuple):
    """Type and shape of an input or output: None for an axis of any size, or for any shape."""

    dtype: str
    shape: tuple[int | None, ...] | None


class SignatureMetadata(NamedTuple):
    """What a signature takes and what it returns, by name."""

    inputs: dict[str, TensorMetadata]
    outputs: dict[str, TensorMetadata]


class Metadata(NamedTuple):
    """A version of a model and its signatures."""

    model: str
    version: int
    signatures: dict[str, SignatureMetadata]


class Transport(Protocol):
    """One try in a protocol, of `timeout` seconds; arrays have the types the server declared.

    A version is asked by its number, so that the answer is from the one whose signatures are known.
    """

    def predict(
        self,
        inputs: Mapping[str, np.ndarray],
        signature: str,
        known: Metadata,
        timeout: float,
    ) -> dict[str, np.ndarray]: ...

    def status(self, timeout: float) -> list[VersionStatus]: ...

    def metadata(self, timeout: float) -> Metadata: ...

    def close(self) -> None: ...


class Client:
    """Asks one model on one server; many threads may share it.

    Both protocols give equal results: arrays of the types that the server declares, strings as
    object arrays of bytes. Arguments are converted to the declared types where nothing is lost but
    precision, so lists of Python numbers and strings will do; what cannot be converted is sent as
    it is, and the server says what is wrong with it. One thing cannot be said over REST: the inner
    axes of an empty batch.

    The server may get new versions, and with them other signatures: at most a second later, and at
    once if the old version is gone, the newest is asked, by its own names and types.

    A server that is away, or whose batching queue is full, answers UNAVAILABLE, and is asked again:
    after 0.05 s, then twice as long each time up to 1 s, less a random part, so that many clients
    do not come back at once. Nothing else is asked again: it would fail again, or its time is up.
    If a connection breaks in the middle, the server may have done the work of a call twice.

    Args:
        address: `host:port`, after `https://` for TLS; for REST a URL such as `https://host/prefix`
            too.
        model: the name of the model on the server.
        protocol: `"grpc"` or `"rest"`.
        timeout: seconds that a call may take, with all its tries and the waits between them.
        retries: how often a call is repeated that found the server unavailable; the five waits of
            the default take at most 1.6 s together.
        version: the version to ask; the newest if None.
        signature: the signature to ask unless a call names another.
        root_certificates: a PEM file of the authorities to trust instead of the system's, such as
            a server's own certificate; for `https://` only.

    Raises:
        ServingError: from every call, with the server's code and message; code `"UNAVAILABLE"` if
            no server answers, `"DEADLINE_EXCEEDED"` if it takes too long.

    Example:

    >>> import tempfile
    >>> import tensorflow as tf
    >>> from export import Client, DevServer, Signature, write
    >>> half = Signature(lambda x: {"y": x / 2 + 2}, {"x": tf.TensorSpec((None,))})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     version = write(f"{folder}/half", {"serving_default": half})
    ...     with DevServer(folder, grpc_port=0, rest_port=0) as server:
    ...         with Client(f"127.0.0.1:{server.grpc_port}", "half") as client:
    ...             client.predict({"x": [1.0, 2.0, 5.0]})
    ...             [row["y"].item() for row in client.stream({"x": x} for x in range(3))]
    {'y': array([2.5, 3. , 4.5], dtype=float32)}
    [2.0, 2.5, 3.0]
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        protocol: Literal["grpc", "rest"] = "grpc",
        timeout: float = 30.0,
        retries: int = 5,
        version: int | None = None,
        signature: str = "serving_default",
        root_certificates: str | os.PathLike[str] | None = None,
    ) -> None:
        if protocol not in ("grpc", "rest"):
            raise ExportError(f"`protocol` must be 'grpc' or 'rest'. Received: {protocol!r}.")
        if not 0 < timeout <= threading.TIMEOUT_MAX or retries < 0:
            raise ExportError(
                "Expected a `timeout` above 0 that a clock can count, and `retries` of at least 0. "
                f"Received: {timeout} and {retries}."
            )
        if root_certificates is not None and not address.startswith("https://"):
            raise ExportError(
                "`root_certificates` need an address that begins with https://. "
                f"Received: {address!r}."
            )
        certificates = _certificates(root_certificates)
        self.model = model
        self.signature = signature
        self._timeout, self._retries = timeout, retries
        self._known: Metadata | None = None
        self._fresh_until = 0.0
        module = importlib.import_module(f"export.client_{protocol}")
        self._transport: Transport = module.Transport(address, model, version, certificates)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives back the connections."""
        self._transport.close()

    def predict(
        self, inputs: Mapping[str, Any], *, signature: str | None = None
    ) -> dict[str, np.ndarray]:
        """Output name -> array, for input name -> array or nested list."""
        name = signature or self.signature
        call = _Call(self._timeout, self._retries)
        for again in range(self._retries + 1, -1, -1):
            known = self._newest(call)
            ask = partial(self._transport.predict, _arrays(inputs, known, name), name, known)
            try:
                return call.ask(ask)
            except ServingError as error:
                if not again or not error.message.startswith(_GONE):
                    raise
                self._fresh_until = 0.0
        raise AssertionError("the last try returns or raises")

    def stream(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        signature: str | None = None,
        batch_size: int = 32,
        concurrent: int = 4,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Output name -> array for each of many rows, in their order, without the batch axis.

        Rows are taken as they are needed, sent in batches, and several batches are on their way at
        once, so that memory does not grow with the number of rows. A batch is of consecutive rows
        of equal types and shapes: it ends early where these change, so pad rows of different
        lengths, or sort them by it. Where a batch fails, or reading the rows does, the answers to
        all rows before it come first, then the error; the batches that follow are given up.

        Args:
            rows: input name -> value of one row.
            signature: the signature to ask; the client's if None.
            batch_size: the most rows in a batch.
            concurrent: how many batches are on their way at once. Each has the client's `timeout`.

        Raises:
            ServingError: if a batch is refused or fails; the message begins with the numbers of its
                rows, which count from 1.
            ExportError: if a row is no array, or the outputs have no row for each row sent.
        """
        if batch_size < 1 or concurrent < 1:
            raise ExportError(
                "Expected `batch_size` and `concurrent` to be at least 1. "
                f"Received: {batch_size} and {concurrent}."
            )

        name = signature or self.signature
        first = self._newest(_Call(self._timeout, self._retries))
        return stream(
            rows,
            lambda row: _arrays(row, self._known or first, name),
            lambda batch: self.predict(batch, signature=name),
            batch_size,
            concurrent,
        )

    def status(self) -> list[VersionStatus]:
        """The state of the versions of the model, newest first; of one if the client asks one."""
        return _Call(self._timeout, self._retries).ask(self._transport.status)

    def metadata(self) -> Metadata:
        """The signatures of the version that the client asks."""
        return _Call(self._timeout, self._retries).ask(self._transport.metadata)

    def _newest(self, call: _Call) -> Metadata:
        """The version to ask and its signatures; looked for anew once in a while."""
        known = self._known
        if known is None or time.monotonic() >= self._fresh_until:
            self._fresh_until = time.monotonic() + _FRESH  # others go by what is known meanwhile
            known = self._known = call.ask(self._transport.metadata)
        return known


class _Call:
    """The time of one call, from now on, and its tries."""

    def __init__(self, timeout: float, retries: int) -> None:
        self._timeout, self._retries = timeout, retries
        self._began = time.monotonic()
        self._tries = 0

    def ask(self, question: Callable[[float], _Answer]) -> _Answer:
        """The answer to a question that is given the seconds left, asked until it is answered."""
        longest = _FIRST_WAIT
        for retries in range(self._retries, -1, -1):
            self._tries += 1
            try:
                return question(self._left())
            except ServingError as error:
                wait = random.uniform(longest / 2, longest)
                late = wait >= self._left()
                if error.code == "DEADLINE_EXCEEDED" or (error.code == "UNAVAILABLE" and late):
                    raise self._late(error) from error
                if error.code != "UNAVAILABLE" or not retries:
                    raise
            time.sleep(wait)
            longest = min(2 * longest, _LONGEST_WAIT)
        raise AssertionError("the last try returns or raises")

    def _left(self) -> float:
        return self._began + self._timeout - time.monotonic()

    def _late(self, error: ServingError) -> ServingError:
        tries = f"{self._tries} {'try' if self._tries == 1 else 'tries'}"
        passed = self._timeout - self._left()
        return ServingError(
            "DEADLINE_EXCEEDED", f"{error.message} ({tries} in {passed:.2g} of {self._timeout:g} s)"
        )


def _arrays(inputs: Mapping[str, Any], known: Metadata, signature: str) -> dict[str, np.ndarray]:
    declared = known.signatures.get(signature)
    types = {name: each.dtype for name, each in declared.inputs.items()} if declared else {}
    return {name: to_array(value, types.get(name)) for name, value in inputs.items()}


def _certificates(path: str | os.PathLike[str] | None) -> bytes | None:
    """The content of a PEM file that holds certificates."""
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            content = file.read()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            cadata=content.decode("ascii")
        )
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ExportError(f"{path}: expected certificates in PEM. {error}.") from error
    return content
