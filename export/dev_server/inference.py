"""Classify, Regress and MultiInference: serialized `tf.train.Example`s in, results out.

These calls take signatures of one input named `inputs`, a vector of serialized examples. As in the
server's default, the names of the outputs decide what a signature is good for, not `method_name`.
One difference is known: MultiInference runs its signatures one after the other, where the server
fetches the outputs of all in one run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, regression_pb2

from export.dev_server.json_values import invalid
from export.dev_server.tensor_protos import MAX_REPEATED, dtype_of
from export.errors import ServingError
from export.layout import DEFAULT_SIGNATURE

if TYPE_CHECKING:  # a servable replays warm-up records by these functions
    from export.dev_server.servable import Servable


def classify(
    servable: Servable,
    request: classification_pb2.ClassificationRequest,
    timeout: float | None = None,
) -> classification_pb2.ClassificationResult:
    """The classes of each example, with labels, scores or both.

    Only the name of the signature is read from `request.model_spec`; `timeout` is in seconds.

    Raises:
        ServingError: in the codes and words of TensorFlow Serving.
    """
    return _infer(servable, _CLASSIFY, request, timeout)


def regress(
    servable: Servable, request: regression_pb2.RegressionRequest, timeout: float | None = None
) -> regression_pb2.RegressionResult:
    """One value for each example.

    Only the name of the signature is read from `request.model_spec`; `timeout` is in seconds.

    Raises:
        ServingError: in the codes and words of TensorFlow Serving.
    """
    return _infer(servable, _REGRESS, request, timeout)


def multi_inference(
    servable: Servable, request: inference_pb2.MultiInferenceRequest, timeout: float | None = None
) -> inference_pb2.MultiInferenceResponse:
    """The results of several signatures on the same examples, in the order of the tasks.

    All tasks must name one model, each another signature, and their signatures must share the
    input tensor. The version in the results is left for the caller to fill in.
    Each signature has `timeout` seconds.

    Raises:
        ServingError: in the codes and words of TensorFlow Serving.
    """
    _check_tasks(servable, request.tasks)
    examples = serialized_examples(request.input)
    response = inference_pb2.MultiInferenceResponse()
    for task in request.tasks:
        result = response.results.add()
        result.model_spec.name = task.model_spec.name
        result.model_spec.signature_name = signature_name(task)
        if task.method_name == tf.saved_model.CLASSIFY_METHOD_NAME:
            target, method = result.classification_result, _CLASSIFY
        else:
            target, method = result.regression_result, _REGRESS
        name = result.model_spec.signature_name
        target.CopyFrom(_run(servable, method, name, examples, timeout))
    return response


def signature_name(request: Any) -> str:
    """The signature that a request, or a task of one, asks for."""
    return request.model_spec.signature_name or DEFAULT_SIGNATURE


def serialized_examples(examples: input_pb2.Input) -> np.ndarray:
    """The examples of a request, each merged into a copy of the context, if there is one.

    Messages that stand behind one another parse as one in which the later entry of a map counts:
    of a feature that is in both, the example's.
    """
    context = examples.example_list_with_context.context.SerializeToString()
    rows = examples.example_list_with_context.examples or examples.example_list.examples
    if not rows:
        raise invalid("Input is empty.")
    if len(context) * len(rows) > MAX_REPEATED:
        raise ServingError(
            "RESOURCE_EXHAUSTED",
            f"Expected at most {MAX_REPEATED} bytes of context in all examples together. "
            f"Received: {len(context)} for each of {len(rows)}.",
        )
    array = np.empty(len(rows), object)
    array[:] = [context + row.SerializeToString() for row in rows]
    return array


class _Method(NamedTuple):
    """What one kind of inference wants of a signature, and what it makes of the outputs."""

    outputs: Callable[[meta_graph_pb2.SignatureDef], list[str]]
    result: Callable[[Mapping[str, np.ndarray], int], Any]


def _infer(servable: Servable, method: _Method, request: Any, timeout: float | None) -> Any:
    name = signature_name(request)
    method.outputs(_signature(servable, name, "No signature was found with the name"))
    return _run(servable, method, name, serialized_examples(request.input), timeout)


def _run(
    servable: Servable, method: _Method, name: str, examples: np.ndarray, timeout: float | None
) -> Any:
    outputs = servable.predict(
        {"inputs": examples},
        signature=name,
        output_filter=method.outputs(servable.signature(name)),
        timeout=timeout,
    )
    return method.result(outputs, len(examples))


def _signature(servable: Servable, name: str, refusal: str) -> meta_graph_pb2.SignatureDef:
    try:
        return servable.signature(name)
    except ServingError as error:  # each of these calls has a code and words of its own for this
        raise invalid(f"{refusal}: {name}") from error


def _check_tasks(servable: Servable, tasks: Sequence[inference_pb2.InferenceTask]) -> None:
    """Refuses tasks that do not go together; they are judged one by one, in order."""
    names: set[str] = set()
    tensors: set[str] = set()
    for task in tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != tasks[0].model_spec.name:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        name = signature_name(task)
        if name in names:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        names.add(name)
        definition = _signature(servable, name, "Requested signature not found in model graph")
        if task.method_name == tf.saved_model.CLASSIFY_METHOD_NAME:
            _CLASSIFY.outputs(definition)
        elif task.method_name == tf.saved_model.REGRESS_METHOD_NAME:
            _REGRESS.outputs(definition)
        else:
            raise ServingError(
                "UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name}"
            )
        tensors.add(definition.inputs["inputs"].name)
        if len(tensors) > 1:
            raise invalid("Input tensor must be the same for all Signatures.")


def _classification_outputs(definition: meta_graph_pb2.SignatureDef) -> list[str]:
    if len(definition.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(definition.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(definition.outputs)}")
    if "inputs" not in definition.inputs:
        raise invalid(f"No classification inputs found in SignatureDef: {definition}")
    wanted = [name for name in ("classes", "scores") if name in definition.outputs]
    if not wanted:
        raise invalid(
            "Expected classification signature outputs to contain at least one of "
            f'"classes" or "scores". Signature was: {definition}'
        )
    return wanted


def _classifications(
    outputs: Mapping[str, np.ndarray], batch: int
) -> classification_pb2.ClassificationResult:
    for name, dtype in (("classes", tf.string), ("scores", tf.float32)):
        if name in outputs:
            _check_classification(name, outputs[name], dtype, batch)
    widths = [array.shape[1] for array in outputs.values()]
    if len(set(widths)) > 1:
        raise invalid(
            "Tensors class and score should match in dim_size(1). Got "
            f"{outputs['classes'].shape[1]} vs. {outputs['scores'].shape[1]}"
        )
    shape = (batch, widths[0])
    labels = outputs.get("classes", np.full(shape, b"", object))
    scores = outputs.get("scores", np.zeros(shape, np.float32))
    result = classification_pb2.ClassificationResult()
    for row in zip(labels.tolist(), scores.tolist(), strict=True):
        classes = result.classifications.add().classes
        for label, score in zip(*row, strict=True):
            classes.add(label=_label(label), score=score)
    return result


def _check_classification(name: str, array: np.ndarray, dtype: tf.DType, batch: int) -> None:
    if array.ndim != 2:
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if dtype_of(array) != dtype:
        raise invalid(f"Expected {name} Tensor of {_enum(dtype)}. Got: {_enum(dtype_of(array))}")
    if len(array) != batch:
        raise invalid(f"Expected {name} output batch size of {batch}. Got: {len(array)}")


def _label(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ServingError("INTERNAL", f"A label is no UTF-8: {value!r}") from error


def _regression_outputs(definition: meta_graph_pb2.SignatureDef) -> list[str]:
    if len(definition.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(definition.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "inputs" not in definition.inputs:
        raise invalid(f"No regression inputs found in SignatureDef: {definition}")
    if "outputs" not in definition.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {definition}")
    return ["outputs"]


def _regressions(outputs: Mapping[str, np.ndarray], batch: int) -> regression_pb2.RegressionResult:
    array = outputs["outputs"]
    if array.ndim != 1 and array.shape[1:] != (1,):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(array)}"
        )
    if len(array) != batch:
        raise invalid(f"Input batch size did not match output batch size: {batch} vs. {len(array)}")
    if dtype_of(array) != tf.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_enum(dtype_of(array))}")
    result = regression_pb2.RegressionResult()
    for value in array.ravel().tolist():
        result.regressions.add(value=value)
    return result


_CLASSIFY = _Method(_classification_outputs, _classifications)
_REGRESS = _Method(_regression_outputs, _regressions)


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _enum(dtype: tf.DType) -> str:
    return types_pb2.DataType.Name(dtype.as_datatype_enum)
