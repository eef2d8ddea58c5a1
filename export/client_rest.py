"""The client's REST side: NumPy and the standard library, no TensorFlow."""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import numpy as np

from export.arrays import to_bytes
from export.client import Metadata, SignatureMetadata, TensorMetadata, VersionStatus
from export.errors import STATUS_OF_HTTP, ExportError, ServingError

# The names in protocol buffers of the types that differ from NumPy's by more than `DT_`.
_DTYPES = {"FLOAT": "float32", "DOUBLE": "float64", "HALF": "float16"}

_CODES = {**STATUS_OF_HTTP, 502: "UNAVAILABLE"}  # of a proxy whose server is away


class Transport:
    """Asks over connections that it keeps; the arguments are those of `export.client.Client`."""

    def __init__(
        self, address: str, model: str, version: int | None, certificates: bytes | None
    ) -> None:
        self._idle: deque[http.client.HTTPConnection] = deque()  # whose methods are atomic
        self._closed = False
        url = _url(address)
        self._address = url.netloc
        self._connect = _connector(url, certificates)
        self._model = f"{url.path.rstrip('/')}/v1/models/{quote(model, safe='')}"
        self._path = self._model if version is None else f"{self._model}/versions/{version}"

    def predict(
        self,
        inputs: Mapping[str, np.ndarray],
        signature: str,
        known: Metadata,
        timeout: float,
    ) -> dict[str, np.ndarray]:
        """Output name -> array, in the column form: the only one for outputs that are no batch."""
        document = {
            "signature_name": signature,
            "inputs": {name: _to_json(array) for name, array in inputs.items()},
        }
        path = f"{self._model}/versions/{known.version}:predict"
        outputs = self._ask(timeout, "POST", path, document)["outputs"]
        declared = known.signatures[signature].outputs
        if len(declared) == 1:  # then it comes without its name
            outputs = {next(iter(declared)): outputs}
        return {name: _from_json(value, declared[name]) for name, value in outputs.items()}

    def status(self, timeout: float) -> list[VersionStatus]:
        """The state of the versions."""
        return [
            VersionStatus(
                int(entry["version"]),
                entry["state"],
                entry["status"]["error_code"],
                entry["status"]["error_message"],
            )
            for entry in self._ask(timeout, "GET", self._path)["model_version_status"]
        ]

    def metadata(self, timeout: float) -> Metadata:
        """The signatures, from their JSON."""
        document = self._ask(timeout, "GET", f"{self._path}/metadata")
        signatures = document["metadata"]["signature_def"]["signature_def"]
        return Metadata(
            document["model_spec"]["name"],
            int(document["model_spec"]["version"]),
            {
                name: SignatureMetadata(
                    _tensors(entry.get("inputs", {})), _tensors(entry.get("outputs", {}))
                )
                for name, entry in signatures.items()
            },
        )

    def close(self) -> None:
        """Closes the connections, those that are in use after their answers."""
        self._closed = True
        while (connection := self._take()) is not None:
            connection.close()

    def __del__(self) -> None:
        self.close()

    def _ask(self, timeout: float, method: str, path: str, document: object = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        end = time.monotonic() + timeout
        try:
            status, content = self._exchange(end, method, path, body)
        except TimeoutError as error:
            raise ServingError("DEADLINE_EXCEEDED", f"{self._address}: timed out") from error
        except (OSError, http.client.HTTPException) as error:
            raise ServingError("UNAVAILABLE", f"{self._address}: {error}") from error
        return _unpack(status, content.decode("utf-8", "surrogateescape"))

    def _exchange(self, end: float, *request: Any) -> tuple[int, bytes]:
        """Status and body, over a connection of before if it is still good."""
        while (connection := self._take()) is not None:
            try:
                return self._over(connection, end, *request)
            except TimeoutError:
                raise
            except (OSError, http.client.HTTPException):
                pass  # the server closes a connection that was idle for long
        return self._over(self._connect(_left(end)), end, *request)

    def _over(
        self, connection: http.client.HTTPConnection, end: float, *request: Any
    ) -> tuple[int, bytes]:
        connection.response_class = partial(_response, end)  # type: ignore[assignment]
        try:
            if connection.sock is not None:
                connection.sock.settimeout(_left(end))
            connection.request(*request)
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            connection.close()
            raise
        if not response.will_close:
            self._idle.append(connection)
            if self._closed:
                self.close()
        return response.status, content

    def _take(self) -> http.client.HTTPConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None


class _Reader(io.RawIOBase):
    """What a socket receives until a time: its own timeout would begin anew with each packet."""

    def __init__(self, receiver: socket.socket, end: float) -> None:
        self._socket, self._end = receiver, end
        self._stream = receiver.makefile("rb", buffering=0)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What `http.client` asks a socket for."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(_left(self._end))
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _response(end: float, receiver: socket.socket, **options: Any) -> http.client.HTTPResponse:
    return http.client.HTTPResponse(_Reader(receiver, end), **options)  # type: ignore[arg-type]


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _url(address: str) -> SplitResult:
    try:
        url = urlsplit(address if "://" in address else f"http://{address}")
        valid = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # of a port that is no number
        valid = False
    if not valid:
        raise ExportError(f"Expected host:port or an http(s) URL. Received: {address!r}.")
    return url


def _connector(
    url: SplitResult, certificates: bytes | None
) -> Callable[[float], http.client.HTTPConnection]:
    """What makes a connection with a timeout."""
    host, port = str(url.hostname), url.port
    if url.scheme == "http":
        return lambda timeout: http.client.HTTPConnection(host, port, timeout=timeout)
    trusted = certificates.decode("ascii") if certificates else None
    context = ssl.create_default_context(cadata=trusted)
    return lambda timeout: http.client.HTTPSConnection(host, port, timeout=timeout, context=context)


def _unpack(status: int, text: str) -> Any:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if status == 200 and isinstance(document, dict):
        return document
    message = document.get("error") if isinstance(document, dict) else None
    code = "UNKNOWN" if status == 200 else _CODES.get(status, "UNKNOWN")
    raise ServingError(code, message or f"Expected JSON. Received: HTTP {status}, {text[:200]!r}")


def _to_json(array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.tolist()
    flat = np.empty(array.size, object)
    flat[:] = [_to_json_string(item) for item in array.ravel()]
    return flat.reshape(array.shape).tolist()


def _to_json_string(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode("ascii")}


def _from_json(value: Any, declared: TensorMetadata) -> np.ndarray:
    if declared.dtype == "string":
        array = to_bytes(_decoded(value))
    else:
        with np.errstate(over="ignore"):
            array = np.array(value, declared.dtype)
    if array.size == 0 and declared.shape is not None:  # JSON stops at the first empty axis
        array = array.reshape(*array.shape, *(n or 0 for n in declared.shape[array.ndim :]))
    return array


def _decoded(value: Any) -> Any:
    """Nested lists of strings, those written as base64 decoded."""
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _tensors(infos: Mapping[str, Any]) -> dict[str, TensorMetadata]:
    return {name: _tensor(info) for name, info in infos.items()}


def _tensor(info: Mapping[str, Any]) -> TensorMetadata:
    name = info["dtype"].removeprefix("DT_")
    shape = info.get("tensor_shape", {})
    sizes = [int(axis["size"]) for axis in shape.get("dim", [])]
    return TensorMetadata(
        _DTYPES.get(name, name.lower()),
        None if shape.get("unknown_rank") else tuple(None if n < 0 else n for n in sizes),
    )
