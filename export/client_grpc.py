"""The client's gRPC side: the messages of `export.messages` over a channel, no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc
import numpy as np

from export.client import Metadata, SignatureMetadata, TensorMetadata, VersionStatus
from export.errors import ExportError, ServingError
from export.messages import MESSAGES
from export.tensor_codec import from_proto, to_proto, type_name

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # by default answers of more than 4 MiB are refused
    ("grpc.max_send_message_length", -1),
    # By default a channel that failed to connect stays away for a second, then for two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}


class Transport:
    """Asks over one channel; the arguments are those of `export.client.Client`."""

    def __init__(
        self, address: str, model: str, version: int | None, certificates: bytes | None
    ) -> None:
        self._spec = MESSAGES["ModelSpec"](name=model)
        if version is not None:
            self._spec.version.value = version
        if address.startswith("https://"):
            credentials = grpc.ssl_channel_credentials(certificates)
            self._channel = grpc.secure_channel(_target(address), credentials, _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(_target(address), _OPTIONS)
        self._predict = self._method("PredictionService", "Predict")
        self._metadata = self._method("PredictionService", "GetModelMetadata")
        self._status = self._method("ModelService", "GetModelStatus")

    def predict(
        self,
        inputs: Mapping[str, np.ndarray],
        signature: str,
        known: Metadata,
        timeout: float,
    ) -> dict[str, np.ndarray]:
        """Output name -> array."""
        request = MESSAGES["PredictRequest"](model_spec=self._spec)
        request.model_spec.signature_name = signature
        request.model_spec.version.value = known.version
        for name, array in inputs.items():
            request.inputs.add(key=name, value=to_proto(array))
        response = _call(self._predict, request, timeout)
        return {entry.key: from_proto(entry.value) for entry in response.outputs}

    def status(self, timeout: float) -> list[VersionStatus]:
        """The state of the versions."""
        request = MESSAGES["GetModelStatusRequest"](model_spec=self._spec)
        response = _call(self._status, request, timeout)
        return [
            VersionStatus(
                entry.version,
                _STATES[entry.state],
                _code_name(entry.status.error_code),
                entry.status.error_message,
            )
            for entry in response.model_version_status
        ]

    def metadata(self, timeout: float) -> Metadata:
        """The signatures, from their protocol buffers."""
        request = MESSAGES["GetModelMetadataRequest"](
            model_spec=self._spec, metadata_field=["signature_def"]
        )
        response = _call(self._metadata, request, timeout)
        packed = {entry.key: entry.value.value for entry in response.metadata}
        signatures = MESSAGES["SignatureDefMap"].FromString(packed["signature_def"])
        return Metadata(
            response.model_spec.name,
            response.model_spec.version.value,
            {
                entry.key: SignatureMetadata(
                    _tensors(entry.value.inputs), _tensors(entry.value.outputs)
                )
                for entry in signatures.signature_def
            },
        )

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _method(self, service: str, name: str) -> Callable[..., Any]:
        return self._channel.unary_unary(
            f"/tensorflow.serving.{service}/{name}",
            MESSAGES[f"{name}Request"].SerializeToString,
            MESSAGES[f"{name}Response"].FromString,
        )


def _target(address: str) -> str:
    """What gRPC calls an address: it has no scheme of TLS and no path."""
    for scheme in ("http://", "https://"):
        if address.startswith(scheme):
            target = address.removeprefix(scheme).rstrip("/")
            if not target or "/" in target:
                raise ExportError(f"Expected host:port after {scheme}. Received: {address!r}.")
            return target
    return address


def _call(method: Callable[..., Any], request: Any, timeout: float) -> Any:
    try:
        return method(request, timeout=timeout)
    except grpc.RpcError as error:
        raise ServingError(error.code().name, error.details() or "") from error


def _tensors(entries: Iterable[Any]) -> dict[str, TensorMetadata]:
    return {entry.key: _tensor(entry.value) for entry in entries}


def _tensor(info: Any) -> TensorMetadata:
    shape = info.tensor_shape
    sizes = tuple(None if axis.size < 0 else axis.size for axis in shape.dim)
    return TensorMetadata(type_name(info.dtype), None if shape.unknown_rank else sizes)


def _code_name(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)
