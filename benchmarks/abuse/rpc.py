"""gRPC that is wrong: bytes that are no message, and messages that mean nothing good."""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from benchmarks.abuse.models import NAMES
from benchmarks.abuse.mutations import mutated
from export import ExportError
from export.dev_server.model_config import from_proto

SECONDS = 60.0  # that an answer may take
_PREDICTION, _MODEL = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
METHODS = {
    _PREDICTION + "Predict": (predict_pb2.PredictRequest, predict_pb2.PredictResponse),
    _PREDICTION + "Classify": (
        classification_pb2.ClassificationRequest,
        classification_pb2.ClassificationResponse,
    ),
    _PREDICTION + "Regress": (regression_pb2.RegressionRequest, regression_pb2.RegressionResponse),
    _PREDICTION + "MultiInference": (
        inference_pb2.MultiInferenceRequest,
        inference_pb2.MultiInferenceResponse,
    ),
    _PREDICTION + "GetModelMetadata": (
        get_model_metadata_pb2.GetModelMetadataRequest,
        get_model_metadata_pb2.GetModelMetadataResponse,
    ),
    _MODEL + "GetModelStatus": (
        get_model_status_pb2.GetModelStatusRequest,
        get_model_status_pb2.GetModelStatusResponse,
    ),
    _MODEL + "HandleReloadConfigRequest": (
        model_management_pb2.ReloadConfigRequest,
        model_management_pb2.ReloadConfigResponse,
    ),
    "/grpc.health.v1.Health/Check": (
        health_pb2.HealthCheckRequest,
        health_pb2.HealthCheckResponse,
    ),
    "/tensorflow.serving.SessionService/SessionRun": (predict_pb2.PredictRequest, None),
}
_STRINGS = ("", "a", "\0", "é", "\n", "a" * 10**5, "../../secret", "serving_default", "regress")
_SIZES = (0, 1, 1, 2, 3, -1, -(2**63), 2**18, 2**24 + 1, 10**9, 2**31, 2**32, 2**62, 2**63 - 1)
_FIELDS = {
    "float_val": 1.5, "double_val": -1e308, "int_val": 300, "int64_val": 2**62, "bool_val": True,
    "string_val": b"\xff", "half_val": 70000, "uint32_val": 7, "uint64_val": 2**64 - 1,
    "scomplex_val": 1.5, "dcomplex_val": 1.5, "float8_val": b"\1\2",
}  # fmt: skip


class Call(NamedTuple):
    """A method's name and the bytes of its request."""

    method: str
    message: bytes


def request(rng: random.Random, exports: Path) -> Call:
    """One call; none of them is a good request to serve other models than those in `exports`."""
    while True:
        method = rng.choice(list(METHODS))
        message = _message(rng, method)
        if rng.random() < 0.5:
            data = message.SerializeToString()
        else:
            data = mutated(rng, message.SerializeToString())
        if rng.random() < 0.05:
            data = rng.randbytes(rng.choice((1, 10, 1000, 10**5)))
        if rng.random() < 0.02:
            method += rng.choice(("x", "/", "é"))
        if not _unloads(method, data, exports):
            return Call(method, data)


def ask(channel: grpc.Channel, call: Call) -> str | None:
    """Sends it; what is wrong with the answer, or None."""
    try:
        answer = channel.unary_unary(call.method)(call.message, timeout=SECONDS)
    except grpc.RpcError as error:
        return problem(error.code(), error.details() or "")
    try:
        METHODS[call.method][1].FromString(answer)
    except DecodeError as error:
        return f"no answer: {error}"
    return None


def problem(code: grpc.StatusCode, details: str) -> str | None:
    """What is wrong with an error, or None."""
    ours = "Exception" in details or "The server failed" in details or "RPC limit" in details
    away = code is grpc.StatusCode.UNAVAILABLE and "batch" not in details
    if ours or away or code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED):
        return f"{code.name}: {details[:500]}"
    return None


def good(rng: random.Random, model: str = "") -> Call:
    """A Predict request that there is nothing wrong with."""
    message = predict_pb2.PredictRequest(model_spec={"name": model or "half"})
    _fill(message.inputs["x"], types_pb2.DT_FLOAT, [2], float_val=[1.0, rng.random()])
    return Call(_PREDICTION + "Predict", message.SerializeToString())


def _message(rng: random.Random, method: str) -> Any:
    name = method.rsplit("/", 1)[1]
    message = METHODS[method][0]()
    if name in ("Predict", "SessionRun"):
        _predict(rng, message)
    elif name in ("Classify", "Regress"):
        message.model_spec.CopyFrom(_spec(rng, "examples", ("", "regress")[name == "Regress"]))
        _examples(rng, message.input)
    elif name == "MultiInference":
        for _ in range(rng.choice((0, 1, 2, 2, 3))):
            method_name = f"tensorflow/serving/{rng.choice(('classify', 'regress', 'predict'))}"
            task = message.tasks.add(method_name=method_name)
            task.model_spec.CopyFrom(_spec(rng, "examples", rng.choice(("", "regress"))))
        _examples(rng, message.input)
    elif name == "GetModelMetadata":
        message.model_spec.CopyFrom(_spec(rng, rng.choice(NAMES)))
        fields = rng.choices(("signature_def", *_STRINGS), k=rng.randint(0, 2))
        message.metadata_field.extend(fields)
    elif name == "GetModelStatus":
        message.model_spec.CopyFrom(_spec(rng, rng.choice(NAMES)))
    elif name == "HandleReloadConfigRequest":
        _reload(rng, message)
    else:
        message.service = rng.choice(("", "PredictionService", *_STRINGS))
    return message


def _spec(rng: random.Random, name: str, signature: str = "") -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=name, signature_name=signature)
    if rng.random() < 0.2:
        spec.name = rng.choice(_STRINGS)
    if rng.random() < 0.1:
        spec.signature_name = rng.choice(_STRINGS)
    if rng.random() < 0.1:
        spec.version.value = rng.choice((1, 0, -1, 2**63 - 1))
    elif rng.random() < 0.1:
        spec.version_label = rng.choice(_STRINGS)
    return spec


def _predict(rng: random.Random, message: predict_pb2.PredictRequest) -> None:
    inputs = rng.choice(
        (
            ("half", "", {"x": (types_pb2.DT_FLOAT, {"float_val": [1.0, 2.0]})}),
            ("words", "number", {"words": (types_pb2.DT_STRING, {"string_val": [b"1", b"\xff"]})}),
            ("words", "number", {"words": (types_pb2.DT_STRING, {"string_val": [b"1", b"2"]})}),
            ("types", "", {"string_in": (types_pb2.DT_STRING, {"string_val": [b"1", b"2"]})}),
        )
    )
    name, signature, tensors = inputs
    message.model_spec.CopyFrom(_spec(rng, name, signature))
    for key, (dtype, values) in tensors.items():
        _fill(message.inputs[key], dtype, [2], **values)
        if rng.random() < 0.7:
            message.inputs[key].CopyFrom(_absurd(rng, dtype))
    if rng.random() < 0.1:
        message.inputs[rng.choice(_STRINGS)].CopyFrom(_absurd(rng, types_pb2.DT_FLOAT))
    if rng.random() < 0.2:
        message.output_filter.extend(rng.choices(("y", "number", *_STRINGS), k=rng.randint(1, 3)))


def _fill(tensor: tensor_pb2.TensorProto, dtype: int, shape: list[int], **values: Any) -> None:
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    for field, value in values.items():
        getattr(tensor, field).extend(value)


def _absurd(rng: random.Random, dtype: int) -> tensor_pb2.TensorProto:
    """A tensor whose type, shape and content need not have to do with one another."""
    tensor = tensor_pb2.TensorProto()
    if rng.random() < 0.4:
        dtype = rng.choice((*types_pb2.DataType.values(), 31, 99, 200, -1, 2**31 - 1))
    sizes = [rng.choice(_SIZES) for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3)))]
    sizes = sizes + [1] * rng.choice((0, 0, 0, 0, 30, 70, 300))
    fields = rng.sample(sorted(_FIELDS), rng.choice((0, 1, 1, 2)))
    if dtype == types_pb2.DT_FLOAT and rng.random() < 0.5:
        fields = ["float_val"]
    if dtype == types_pb2.DT_STRING and rng.random() < 0.5:
        fields = ["string_val"]
    values = {
        field: _FIELDS[field]
        if isinstance(_FIELDS[field], bytes) and field == "float8_val"
        else [_FIELDS[field]] * rng.choice((1, 1, 2, 3))
        for field in fields
    }
    content = values.pop("float8_val", None)
    _fill(tensor, dtype, sizes, **values)
    if content is not None:
        tensor.float8_val = content
    tensor.tensor_shape.unknown_rank = rng.random() < 0.03
    if rng.random() < 0.3:
        tensor.tensor_content = rng.randbytes(rng.choice((1, 4, 8, 12, 100)))
    if rng.random() < 0.02:
        tensor.string_val[:] = [b"s" * 10**5]
    return tensor


def _examples(rng: random.Random, message: Any) -> None:
    example = example_pb2.Example()
    example.features.feature["x"].float_list.value[:] = [0.5] * rng.choice((0, 1, 1, 1, 2))
    if rng.random() < 0.3:
        example.features.feature[rng.choice(_STRINGS)].bytes_list.value[:] = [b"\xff" * 10]
    if rng.random() < 0.1:
        example.features.feature["x"].int64_list.value[:] = [1]
    examples = [example] * rng.choice((0, 1, 1, 2, 10))
    if rng.random() < 0.3:
        with_context = message.example_list_with_context
        with_context.context.features.feature["c"].bytes_list.value[:] = [
            b"c" * rng.choice((1, 10**6))
        ]
        with_context.examples.extend(examples)
        if rng.random() < 0.2:
            with_context.examples.extend([example_pb2.Example()] * 10**4)
    else:
        message.example_list.examples.extend(examples)


def _reload(rng: random.Random, message: model_management_pb2.ReloadConfigRequest) -> None:
    for _ in range(rng.randint(1, 3)):
        config = message.config.model_config_list.config.add(
            name=rng.choice((*NAMES, *_STRINGS)),
            base_path=rng.choice(("/", "/etc", "/etc/\0", "/a" * 9999, *_STRINGS)),
            model_platform=rng.choice(("tensorflow", "tensorflow", "tensorflow", "", "other")),
        )
        config.version_labels[rng.choice(_STRINGS)] = rng.choice((0, 1, -1))


@functools.cache
def _root(exports: Path) -> Path:
    return exports.resolve()


def _unloads(method: str, data: bytes, exports: Path) -> bool:
    """Whether it is a request to serve other models that the server must obey."""
    if not method.endswith("HandleReloadConfigRequest"):
        return False
    try:
        message = model_management_pb2.ReloadConfigRequest.FromString(data)
        if message.config.WhichOneof("config") is None:
            return False
        configs = from_proto(message.config).values()
        return all(each.base_path.resolve().is_relative_to(_root(exports)) for each in configs)
    except (DecodeError, ExportError, ValueError, OSError):
        return False
