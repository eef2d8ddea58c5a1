"""Parts of gRPC requests, and what a refused one says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2


def spec(name: str = "half_plus_two", version: int | None = None, **fields: str) -> Any:
    """A `ModelSpec`."""
    result = model_pb2.ModelSpec(name=name, **fields)
    if version is not None:
        result.version.value = version
    return result


def example(features: Mapping[str, float]) -> tf.train.Example:
    """A `tf.train.Example` of numbers."""
    result = tf.train.Example()
    for name, value in features.items():
        result.features.feature[name].float_list.value.append(value)
    return result


def serialized(*examples: Mapping[str, float]) -> list[bytes]:
    """Examples as a tensor holds them."""
    return [example(features).SerializeToString() for features in examples]


def refused(call: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[str, str]:
    """The name of the status and the message of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **named)
    return caught.value.code().name, caught.value.details()


def predict_request(
    *rows: list[float], model: str = "half", signature: str = "", key: str = "x", **fields: Any
) -> Any:
    """A `PredictRequest` of one input of numbers."""
    made = predict_pb2.PredictRequest(model_spec=spec(model, signature_name=signature, **fields))
    made.inputs[key].CopyFrom(tf.make_tensor_proto(np.array(rows, np.float32)))
    return made
