"""gRPC over real sockets: rows G1 to G12 of the conformance table."""

import grpc
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture
def predict(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def predict(spec=None, output_filter=(), **inputs):
        request = predict_pb2.PredictRequest(model_spec=spec, output_filter=output_filter)
        for name, value in inputs.items():
            if not isinstance(value, TensorProto):
                value = tf.make_tensor_proto(value)
            request.inputs[name].CopyFrom(value)
        return stub.Predict(request, timeout=10)

    return predict


def half(**choice):
    return model_pb2.ModelSpec(name="half_plus_two", **choice)


def words(signature):
    return model_pb2.ModelSpec(name="words", signature_name=signature)


def version(number):
    spec = half()
    spec.version.value = number
    return spec


def refused(call, *arguments, **named):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **named)
    return caught.value.code().name, caught.value.details()


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [  # G1, G9
        (None, "INVALID_ARGUMENT", "Missing ModelSpec"),
        (model_pb2.ModelSpec(), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            model_pb2.ModelSpec(name="foo"),
            "NOT_FOUND",
            "Servable not found for request: Latest(foo)",
        ),
        (
            version(50),
            "NOT_FOUND",
            "Servable not found for request: Specific(half_plus_two, 50)",
        ),
        (version(0), "NOT_FOUND", "Servable not found for request: Specific(half_plus_two, 0)"),
        (
            half(version_label="x"),
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: x",
        ),
        (
            half(signature_name="s"),
            "FAILED_PRECONDITION",
            'Serving signature key "s" not found.',
        ),
    ],
)
def test_a_model_that_is_not_there_is_named(predict, spec, code, message):
    assert refused(predict, spec, x=[2.0]) == (code, message)


def test_inputs_must_be_those_of_the_signature(predict):  # G2, G3
    assert refused(predict, half()) == (
        "INVALID_ARGUMENT",
        "input size does not match signature: 0!=1 len({}) != len({x}). "
        "Sent extra: {}. Missing but required: {x}.",
    )
    code, message = refused(predict, half(), unknown_key1=[1.0], unknown_key2=[1.0])
    assert "2!=1 len({unknown_key1,unknown_key2}) != len({x})" in message
    assert "Sent extra: {unknown_key1,unknown_key2}. Missing but required: {x}." in message
    code, message = refused(predict, half(), z=[1.0])
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("Signature input alias: x(feed name: serving_default_x:0) not found")
    assert message.endswith("to be in the request {x}, or default input alias set: ")


@pytest.mark.parametrize(
    ("value", "given"), [([True], "bool"), (["2"], "string"), ([2], "int32"), ([[2]], "int32")]
)
def test_types_must_be_those_of_the_signature(predict, value, given):  # G4
    assert refused(predict, half(), x=value) == (
        "INVALID_ARGUMENT",
        f"Expects arg[0] to be float but {given} is provided",
    )


@pytest.mark.parametrize("size", [3, -1, 2**62])
def test_a_tensor_that_does_not_decode(predict, size):
    broken = tf.make_tensor_proto([1.0, 2.0])
    broken.tensor_shape.dim[0].size = size  # of two floats
    assert refused(predict, half(), x=broken) == ("INVALID_ARGUMENT", "tensor parsing error: x")


def test_outputs_can_be_chosen(predict):  # G5
    count = words("count")
    assert set(predict(count, values=[[1, 2]]).outputs) == {"total", "values"}
    assert set(predict(count, ["total"], values=[[1, 2]]).outputs) == {"total"}
    assert refused(predict, count, ["z"], values=[[1]]) == (
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: z "
        "Outputs expected to be in the set {total,values}.",
    )
    assert refused(predict, count, ["total", "total"], values=[[1]]) == (
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: total",
    )


@pytest.mark.parametrize("spec", [half(), version(123), half(signature_name="serving_default")])
def test_half_plus_two(predict, spec):  # G6
    response = predict(spec, x=[2.0])
    assert response.model_spec.name == "half_plus_two"
    assert response.model_spec.version.value == 123
    assert response.model_spec.signature_name == "serving_default"
    proto = response.outputs["y"]
    assert list(proto.float_val) == [3.0] and not proto.tensor_content


def test_shapes_are_for_the_graph_to_judge(predict):
    assert list(predict(half(), x=[[1.0, 2.0], [3.0, 4.0]]).outputs["y"].float_val) == (
        [2.5, 3.0, 3.5, 4.0]
    )
    code, message = refused(predict, words("check"), x=[[1.0]])
    assert code == "INVALID_ARGUMENT" and "not compatible with expected shape" in message


def test_a_long_message_is_cut(predict):  # G14
    code, message = refused(predict, words("check"), x=[[1.0, 2.0, float("nan")]])
    assert message.endswith("m...TRUNCATED") and len(message) == 1024 + len("...TRUNCATED")


@pytest.fixture
def metadata(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = get_model_metadata_pb2.GetModelMetadataRequest
    return lambda **fields: stub.GetModelMetadata(request(**fields), timeout=10)


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [  # G10
        ({}, "INVALID_ARGUMENT", "Missing ModelSpec"),
        (
            {"model_spec": half()},
            "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            {"model_spec": half(), "metadata_field": ["x"]},
            "INVALID_ARGUMENT",
            "Metadata field x is not supported",
        ),
        (
            {"model_spec": model_pb2.ModelSpec(), "metadata_field": ["signature_def"]},
            "INVALID_ARGUMENT",
            "ModelSpec has no name specified.",
        ),
        (
            {"model_spec": model_pb2.ModelSpec(name="a"), "metadata_field": ["signature_def"]},
            "NOT_FOUND",
            "Servable not found for request: Latest(a)",
        ),
    ],
)
def test_metadata_that_cannot_be_given(metadata, fields, code, message):
    assert refused(metadata, **fields) == (code, message)


def test_metadata(metadata):
    response = metadata(model_spec=half(), metadata_field=["signature_def"])
    assert response.model_spec.version.value == 123
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert list(signatures.signature_def["serving_default"].inputs) == ["x"]


@pytest.fixture
def status(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest
    return lambda **fields: stub.GetModelStatus(request(**fields), timeout=10)


def test_status(status):  # G11
    assert refused(status) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    assert refused(status, model_spec=model_pb2.ModelSpec(name="foo")) == (
        "NOT_FOUND",
        "Could not find any versions of model foo",
    )
    assert refused(status, model_spec=version(5)) == (
        "NOT_FOUND",
        "Could not find version 5 of model half_plus_two",
    )
    for spec in (half(), version(123), half(version_label="ignored")):
        (entry,) = status(model_spec=spec).model_version_status
        assert entry.version == 123 and entry.status.error_code == 0
        assert entry.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
