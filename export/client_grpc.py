"""The client's gRPC side, on the stubs of tensorflow-serving-api."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from export.client import Metadata, SignatureMetadata, TensorMetadata, VersionStatus
from export.errors import ServingError

_Response = TypeVar("_Response")

_OPTIONS = (  # by default a channel refuses answers of more than 4 MiB
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


class Transport:
    """Asks over one channel; the arguments are those of `export.client.Client`."""

    def __init__(self, address: str, model: str, timeout: float, version: int | None) -> None:
        self._spec = model_pb2.ModelSpec(name=model)
        if version is not None:
            self._spec.version.value = version
        self._timeout = timeout
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(
        self, inputs: Mapping[str, np.ndarray], signature: str, declared: SignatureMetadata | None
    ) -> dict[str, np.ndarray]:
        """Output name -> array."""
        request = predict_pb2.PredictRequest(model_spec=self._spec)
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            dtype = tf.string if array.dtype == object else tf.dtypes.as_dtype(array.dtype)
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array, dtype, array.shape))
        response = self._call(self._predictions.Predict, request)
        return {name: np.asarray(tf.make_ndarray(p)) for name, p in response.outputs.items()}

    def status(self) -> list[VersionStatus]:
        """The state of the versions."""
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec)
        response = self._call(self._models.GetModelStatus, request)
        states = get_model_status_pb2.ModelVersionStatus.State
        return [
            VersionStatus(
                entry.version,
                states.Name(entry.state),
                _code_name(entry.status.error_code),
                entry.status.error_message,
            )
            for entry in response.model_version_status
        ]

    def metadata(self) -> Metadata:
        """The signatures, from their protocol buffers."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec, metadata_field=["signature_def"]
        )
        response = self._call(self._predictions.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return Metadata(
            response.model_spec.name,
            response.model_spec.version.value,
            {
                name: SignatureMetadata(_tensors(entry.inputs), _tensors(entry.outputs))
                for name, entry in signatures.signature_def.items()
            },
        )

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _call(self, method: Callable[..., _Response], request: Any) -> _Response:
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise ServingError(error.code().name, error.details() or "") from error


def _tensors(infos: Mapping[str, Any]) -> dict[str, TensorMetadata]:
    return {name: _tensor(info) for name, info in infos.items()}


def _tensor(info: Any) -> TensorMetadata:
    shape = tf.TensorShape(info.tensor_shape)
    return TensorMetadata(
        tf.dtypes.as_dtype(info.dtype).name if info.dtype else "invalid",
        None if shape.rank is None else tuple(shape.as_list()),
    )


def _code_name(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)
