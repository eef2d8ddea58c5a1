"""The client's REST side: NumPy and the standard library, no TensorFlow."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from export.client import (
    Metadata,
    SignatureMetadata,
    TensorMetadata,
    VersionStatus,
    to_bytes,
)
from export.errors import STATUS_OF_HTTP, ExportError, ServingError

# The names in protocol buffers of the types that differ from NumPy's by more than `DT_`.
_DTYPES = {"FLOAT": "float32", "DOUBLE": "float64", "HALF": "float16"}


class Transport:
    """Asks over a connection per request; the arguments are those of `export.client.Client`."""

    def __init__(self, address: str, model: str, timeout: float, version: int | None) -> None:
        url = urlsplit(address if "://" in address else f"http://{address}")
        if url.scheme not in ("http", "https") or not url.netloc:
            raise ExportError(f"Expected host:port or an http(s) URL. Received: {address!r}.")
        secure = url.scheme == "https"
        self._connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._address = url.netloc
        self._timeout = timeout
        self._path = f"{url.path.rstrip('/')}/v1/models/{quote(model, safe='')}"
        if version is not None:
            self._path += f"/versions/{version}"

    def predict(
        self, inputs: Mapping[str, np.ndarray], signature: str, declared: SignatureMetadata | None
    ) -> dict[str, np.ndarray]:
        """Output name -> array, in the column form: the only one for outputs that are no batch."""
        document = {
            "signature_name": signature,
            "inputs": {name: _to_json(array) for name, array in inputs.items()},
        }
        outputs = self._ask("POST", ":predict", document)["outputs"]
        known = declared.outputs if declared else {}
        if len(known) == 1:  # then it comes without its name
            outputs = {next(iter(known)): outputs}
        return {name: _from_json(value, known[name]) for name, value in outputs.items()}

    def status(self) -> list[VersionStatus]:
        """The state of the versions."""
        return [
            VersionStatus(
                int(entry["version"]),
                entry["state"],
                entry["status"]["error_code"],
                entry["status"]["error_message"],
            )
            for entry in self._ask("GET", "")["model_version_status"]
        ]

    def metadata(self) -> Metadata:
        """The signatures, from their JSON."""
        document = self._ask("GET", "/metadata")
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
        """Does nothing: no connection outlives its request."""

    def _ask(self, method: str, verb: str, document: object = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        connection = self._connect(self._address, timeout=self._timeout)
        try:
            connection.request(method, self._path + verb, body)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "surrogateescape")
        except TimeoutError as error:
            raise ServingError("DEADLINE_EXCEEDED", f"{self._address}: timed out") from error
        except (OSError, http.client.HTTPException) as error:
            raise ServingError("UNAVAILABLE", f"{self._address}: {error}") from error
        finally:
            connection.close()
        return _unpack(response.status, text)


def _unpack(status: int, text: str) -> Any:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if status == 200 and isinstance(document, dict):
        return document
    message = document.get("error") if isinstance(document, dict) else None
    code = "UNKNOWN" if status == 200 else STATUS_OF_HTTP.get(status, "UNKNOWN")
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
