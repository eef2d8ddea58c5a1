"""One client for two protocols: ask a TensorFlow Serving server, or ours, for a prediction.

REST needs NumPy and the standard library only; gRPC imports tensorflow-serving-api when asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from export.errors import ExportError


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
    """What a protocol does for the client; arrays arrive with the types the server declared."""

    def predict(
        self, inputs: Mapping[str, np.ndarray], signature: str, declared: SignatureMetadata | None
    ) -> dict[str, np.ndarray]: ...

    def status(self) -> list[VersionStatus]: ...

    def metadata(self) -> Metadata: ...

    def close(self) -> None: ...


class Client:
    """Asks one model on one server.

    Both protocols give equal results: arrays of the types that the server declares, strings as
    object arrays of bytes. Arguments are converted to the declared types where nothing is lost but
    precision, so lists of Python numbers and strings will do; what cannot be converted is sent as
    it is, and the server says what is wrong with it. One thing cannot be said over REST: the inner
    axes of an empty batch.

    Args:
        address: `host:port`; for REST a URL such as `https://host/prefix` too.
        model: the name of the model on the server.
        protocol: `"grpc"` or `"rest"`.
        timeout: seconds to wait for an answer.
        version: the version to ask; the newest if None.
        signature: the signature to ask unless a call names another.

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
    {'y': array([2.5, 3. , 4.5], dtype=float32)}
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        protocol: Literal["grpc", "rest"] = "grpc",
        timeout: float = 30.0,
        version: int | None = None,
        signature: str = "serving_default",
    ) -> None:
        if protocol not in ("grpc", "rest"):
            raise ExportError(f"`protocol` must be 'grpc' or 'rest'. Received: {protocol!r}.")
        self.model = model
        self.signature = signature
        self._declared: dict[str, SignatureMetadata] | None = None
        module = importlib.import_module(f"export.client_{protocol}")
        self._transport: Transport = module.Transport(address, model, timeout, version)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives back the connection."""
        self._transport.close()

    def predict(
        self, inputs: Mapping[str, Any], *, signature: str | None = None
    ) -> dict[str, np.ndarray]:
        """Output name -> array, for input name -> array or nested list."""
        name = signature or self.signature
        if self._declared is None:
            self._declared = self.metadata().signatures
        declared = self._declared.get(name)
        known = declared.inputs if declared else {}
        arrays = {key: to_array(value, known.get(key)) for key, value in inputs.items()}
        return self._transport.predict(arrays, name, declared)

    def status(self) -> list[VersionStatus]:
        """The state of the versions of the model, newest first; of one if the client asks one."""
        return self._transport.status()

    def metadata(self) -> Metadata:
        """The signatures of the version that the client asks."""
        return self._transport.metadata()


def to_array(value: Any, declared: TensorMetadata | None) -> np.ndarray:
    """A value of the caller as an array: strings as objects of bytes, numbers of the declared type.

    A conversion that would change the meaning (a fraction to an integer, a truth value to a
    number, an integer out of range) is left undone.
    """
    if isinstance(_first(value), str | bytes):
        return to_bytes(value)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ExportError(f"An input must be a rectangular array. {error}.") from error
    if declared is None or array.dtype.name == declared.dtype:
        return array
    if declared.dtype == "string":
        return array if array.size else array.astype(object)
    target = np.dtype(declared.dtype)
    if array.size and (array.dtype.kind == "b" or not np.can_cast(array, target, "same_kind")):
        return array
    with np.errstate(over="ignore"):
        converted = array.astype(target)
    if target.kind in "iu" and not np.array_equal(converted, array):
        return array
    return converted


def to_bytes(value: Any) -> np.ndarray:
    """Strings and bytes, nested or not, as an object array of bytes."""
    array = np.array(value, dtype=object)  # not of kind S: that one drops trailing zero bytes
    flat = np.empty(array.size, object)
    for index, item in enumerate(array.ravel()):
        if not isinstance(item, str | bytes):
            raise ExportError(
                f"A string input must be a rectangular array of strings. Received: {item!r} in it."
            )
        flat[index] = item.encode("utf-8", "surrogateescape") if isinstance(item, str) else item
    return flat.reshape(array.shape)


def _first(value: Any) -> Any:
    """The element at the corner of nested lists or of an array."""
    if isinstance(value, np.ndarray):
        return value.flat[0] if value.size else None
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return value
