"""TensorFlow Serving's gRPC services: inference, what is known of the models, and health.

Calls not written here are answered UNIMPLEMENTED by the classes below. A `ServingError` leaves a
method as it is: who calls it makes a status of it.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from export.dev_server import inference
from export.dev_server.descriptions import signature_map, status_response
from export.dev_server.metrics import Metrics
from export.dev_server.model_config import from_proto
from export.dev_server.models import Loaded, Models
from export.dev_server.tensor_protos import fill, to_array
from export.errors import ExportError, ServingError


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers for the signatures of the models in `models`."""

    def __init__(self, models: Models, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics

    def Predict(  # noqa: N802
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs one signature on named tensors."""
        with self._answering("Predict", request.model_spec):
            loaded = _find(self._models, request)
            name = inference.signature_name(request)
            loaded.servable.signature(name)  # before the tensors, as the server does
            outputs = loaded.servable.predict(
                {key: to_array(key, proto) for key, proto in request.inputs.items()},
                signature=name,
                output_filter=request.output_filter,
                timeout=_remaining(context),
            )
            response = predict_pb2.PredictResponse()
            _describe(response.model_spec, loaded, name)
            for key, array in outputs.items():
                fill(response.outputs[key], array)
            return response

    def Classify(  # noqa: N802
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Runs one signature on examples, for their classes."""
        with self._answering("Classify", request.model_spec):
            loaded = _find(self._models, request)
            result = inference.classify(loaded.servable, request, _remaining(context))
            response = classification_pb2.ClassificationResponse(result=result)
            _describe(response.model_spec, loaded, inference.signature_name(request))
            return response

    def Regress(  # noqa: N802
        self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        """Runs one signature on examples, for a value of each."""
        with self._answering("Regress", request.model_spec):
            loaded = _find(self._models, request)
            result = inference.regress(loaded.servable, request, _remaining(context))
            response = regression_pb2.RegressionResponse(result=result)
            _describe(response.model_spec, loaded, inference.signature_name(request))
            return response

    def MultiInference(  # noqa: N802
        self, request: inference_pb2.MultiInferenceRequest, context: grpc.ServicerContext
    ) -> inference_pb2.MultiInferenceResponse:
        """Runs several signatures of the first task's model on the same examples."""
        first = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        with self._answering("MultiInference", first):
            loaded = _named(self._models, first)
            remaining = _remaining(context)
            response = inference.multi_inference(loaded.servable, request, remaining)
            for result in response.results:
                _describe(result.model_spec, loaded, result.model_spec.signature_name)
            return response

    def GetModelMetadata(  # noqa: N802
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Tells the signatures of a version."""
        _require_model_spec(request)
        _check_fields(request.metadata_field)
        loaded = _find(self._models, request)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        _describe(response.model_spec, loaded)
        response.metadata["signature_def"].Pack(signature_map(loaded))
        return response

    def _answering(
        self, api: str, spec: model_pb2.ModelSpec
    ) -> contextlib.AbstractContextManager[None]:
        model = spec.name if spec.name in self._models else ""
        return self._metrics.request(model, api, "GRPC")


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Tells which versions of the models in `models` are available, and changes which are."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def GetModelStatus(  # noqa: N802
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Tells the state of one version or of all; a label is ignored."""
        _require_model_spec(request)
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        return status_response(self._models, spec.name, version)

    def HandleReloadConfigRequest(  # noqa: N802
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Serves the models of another config, in folders that the server was started on."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise ServingError(
                "INVALID_ARGUMENT",
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported",
            )
        try:
            self._models.reload(from_proto(request.config))
        except ServingError:
            raise
        except ExportError as error:
            raise ServingError("INVALID_ARGUMENT", str(error)) from error
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()  # OK
        return response


class Health(health_pb2_grpc.HealthServicer):
    """Says that the services are well: they are, as long as anything is said."""

    def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Tells the state of one service, or of the server if none is named."""
        if request.service not in ("", "PredictionService", "ModelService"):
            raise ServingError("NOT_FOUND", f"Unknown service: {request.service}")
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


def _remaining(context: grpc.ServicerContext) -> float | None:
    """Seconds to the deadline of a call; None if it has none, which reads as aeons."""
    seconds = context.time_remaining()
    return None if seconds is None or seconds > threading.TIMEOUT_MAX else seconds


def _find(models: Models, request: Any) -> Loaded:
    """The version that `request.model_spec` asks for."""
    _require_model_spec(request)
    return _named(models, request.model_spec)


def _named(models: Models, spec: model_pb2.ModelSpec) -> Loaded:
    if not spec.name:
        raise ServingError("INVALID_ARGUMENT", "ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    return models.find(
        spec.name,
        version=spec.version.value if choice == "version" else None,
        label=spec.version_label if choice == "version_label" else None,
    )


def _require_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise ServingError("INVALID_ARGUMENT", "Missing ModelSpec")


def _check_fields(fields: Any) -> None:
    if not fields:
        raise ServingError(
            "INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field"
        )
    for field in fields:
        if field != "signature_def":
            raise ServingError("INVALID_ARGUMENT", f"Metadata field {field} is not supported")


def _describe(spec: model_pb2.ModelSpec, loaded: Loaded, signature: str = "") -> None:
    spec.name = loaded.model
    spec.version.value = loaded.version
    spec.signature_name = signature
