"""Inference on examples, where it cannot be seen from outside a server."""

import json

import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, regression_pb2

from export import ServingError, Signature, write
from export.dev_server import inference, json_examples
from export.dev_server.json_tensors import parse
from export.dev_server.servable import Servable


def example(**features):
    lists = {bytes: "bytes_list", float: "float_list", int: "int64_list"}
    result = tf.train.Example()
    for name, values in features.items():
        getattr(result.features.feature[name], lists[type(values[0])]).value.extend(values)
    return result


def rows(*examples):
    return input_pb2.Input(example_list=input_pb2.ExampleList(examples=examples))


def parsed(examples):
    return [
        {
            name: feature
            for name, feature in tf.train.Example.FromString(row).features.feature.items()
        }
        for row in inference.serialized_examples(examples)
    ]


@pytest.fixture(scope="module")
def servable(tmp_path_factory):
    """`serving_default` labels an example with its own bytes; `size` is their number."""
    inputs = {"inputs": tf.TensorSpec((None,), tf.string)}
    version = write(
        tmp_path_factory.mktemp("labels"),
        {
            "serving_default": Signature(lambda inputs: {"classes": inputs[:, None]}, inputs),
            "size": Signature(
                lambda inputs: {"outputs": tf.cast(tf.strings.length(inputs), tf.float32)}, inputs
            ),
        },
    )
    with Servable(version) as servable:
        yield servable


def test_an_example_is_merged_into_its_context():
    context = example(x=[1.0, 2.0], s=[b"context"])
    examples = [example(), example(x=[5.0]), example(s=[7], n=[8])]
    both = input_pb2.Input(
        example_list_with_context=input_pb2.ExampleListWithContext(
            context=context, examples=examples
        )
    )
    assert parsed(both) == [
        dict(expected.features.feature)
        for expected in (
            context,
            example(x=[5.0], s=[b"context"]),
            example(x=[1.0, 2.0], s=[7], n=[8]),
        )
    ]
    assert parsed(rows(*examples)) == [dict(row.features.feature) for row in examples]


def test_a_request_needs_no_name_of_a_model(servable):
    request = regression_pb2.RegressionRequest(input=rows(example(), example(x=[1.0])))
    request.model_spec.signature_name = "size"
    sizes = [0, len(example(x=[1.0]).SerializeToString())]
    assert [entry.value for entry in inference.regress(servable, request).regressions] == sizes
    request = classification_pb2.ClassificationRequest(input=rows(example(s=[b"hi"])))
    (row,) = inference.classify(servable, request).classifications
    assert "hi" in row.classes[0].label and row.classes[0].score == 0


def test_tasks_need_the_name_of_a_model(servable):
    request = inference_pb2.MultiInferenceRequest(input=rows(example()))
    request.tasks.add(method_name=tf.saved_model.REGRESS_METHOD_NAME)
    with pytest.raises(ServingError, match="Found ModelSpec with an empty model name."):
        inference.multi_inference(servable, request)


def test_a_label_that_is_no_text(servable):
    request = classification_pb2.ClassificationRequest(input=rows(example(s=[b"\xff"])))
    with pytest.raises(ServingError, match=r"INTERNAL: A label is no UTF-8: b'.*\\xff'"):
        inference.classify(servable, request)


def fill(body):
    request = classification_pb2.ClassificationRequest()
    json_examples.fill(request, parse(body))
    return request


def test_values_and_their_types():
    body = {
        "signature_name": "s",
        "context": {"flag": True, "none": []},
        "examples": [{"big": 2**64, "bigger": [0.5, -(10**400)], "huge": 1e308, "s": "\u00e9"}],
    }
    request = fill(json.dumps(body).encode())
    assert request.model_spec.signature_name == "s"
    lists = request.input.example_list_with_context
    assert lists.context.features.feature["flag"].int64_list.value == [1]
    assert lists.context.features.feature["none"].WhichOneof("kind") is None
    features = lists.examples[0].features.feature
    assert features["big"].float_list.value == [2.0**64]
    assert features["bigger"].float_list.value == [0.5, -float("inf")]
    assert features["huge"].float_list.value == [float("inf")]
    assert features["s"].bytes_list.value == [b"\xc3\xa9"]


def test_bytes_that_are_no_text():
    request = fill(b'{"examples": [{"s": "\xff"}]}')
    assert request.input.example_list.examples[0] == example(s=[b"\xff"])
    with pytest.raises(ServingError, match="The name of a feature must be UTF-8"):
        fill(b'{"examples": [{"\xff": 1}]}')
    with pytest.raises(ServingError, match="No signature was found with the name"):
        fill(b'{"signature_name": "\xff", "examples": [{}]}')


def test_how_results_are_written():
    result = classification_pb2.ClassificationResult()
    result.classifications.add().classes.add(label='"\u00e9', score=0.2)
    result.classifications.add()
    assert json_examples.write_classifications(result) == (
        b'{"results": [[["\\"\xc3\xa9", 0.2]], []]}'
    )
    values = regression_pb2.RegressionResult()
    for value in (42.0, 0.1, float("nan"), -float("inf")):
        values.regressions.add(value=value)
    assert json_examples.write_regressions(values) == b'{"results": [42.0, 0.1, NaN, -Infinity]}'


def test_no_results():
    with pytest.raises(ServingError, match="Cannot convert empty ClassificationResults to JSON"):
        json_examples.write_classifications(classification_pb2.ClassificationResult())
    with pytest.raises(ServingError, match="Cannot convert empty RegressionResults to JSON"):
        json_examples.write_regressions(regression_pb2.RegressionResult())
