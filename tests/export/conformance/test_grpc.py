"""G: the gRPC services, but for the calls that take examples."""

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from tests.export.conformance.calls import refused, serialized, spec


@pytest.fixture
def predict(prediction):
    def predict(model_spec, inputs=None, output_filter=()):
        request = predict_pb2.PredictRequest(model_spec=model_spec, output_filter=output_filter)
        for name, value in (inputs or {}).items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return prediction.Predict(request, timeout=60)

    return predict


@pytest.mark.parametrize(
    ("model_spec", "code", "words"),
    [
        pytest.param(None, "INVALID_ARGUMENT", "Missing ModelSpec", id="G1-no-spec"),
        pytest.param(
            model_pb2.ModelSpec(),
            "INVALID_ARGUMENT",
            "ModelSpec has no name specified.",
            id="G1-no-name",
        ),
        pytest.param(
            spec("foo"), "NOT_FOUND", "Servable not found for request: Latest(foo)", id="G1-name"
        ),
        pytest.param(
            spec(version=50),
            "NOT_FOUND",
            "Servable not found for request: Specific(half_plus_two, 50)",
            id="G1-version",
        ),
        pytest.param(
            spec(version=0),
            "NOT_FOUND",
            "Servable not found for request: Specific(half_plus_two, 0)",
            id="G1-zero",
        ),
        pytest.param(
            spec(version_label="x"),
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: x",
            id="G1-label",
        ),
        pytest.param(
            spec(signature_name="s"),
            "FAILED_PRECONDITION",
            'Serving signature key "s" not found.',
            id="G9",
        ),
    ],
)
def test_a_model_that_is_not_there(predict, model_spec, code, words):
    assert refused(predict, model_spec, {"x": [2.0]}) == (code, words)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        pytest.param({}, "Missing but required: {x}", id="G2"),
        pytest.param(
            {"unknown_key1": [1.0], "unknown_key2": [1.0]},
            "Sent extra: {unknown_key1,unknown_key2}. Missing but required: {x}.",
            id="G3-extra",
        ),
        pytest.param({"z": [1.0]}, "Signature input alias: x(feed name: ", id="G3-other"),
        pytest.param(
            {"x": [True]}, "Expects arg[0] to be float but bool is provided", id="G4-bool"
        ),
        pytest.param(
            {"x": ["2"]}, "Expects arg[0] to be float but string is provided", id="G4-string"
        ),
    ],
)
def test_inputs_must_be_those_of_the_signature(predict, inputs, words):
    code, message = refused(predict, spec(), inputs)
    assert code == "INVALID_ARGUMENT"
    assert words in message


def test_outputs_can_be_chosen(predict):  # G5
    echo = spec("echo", signature_name="two_lengths")
    assert set(predict(echo, {"x": [1, 2]}).outputs) == {"all", "first"}
    assert set(predict(echo, {"x": [1, 2]}, ["first"]).outputs) == {"first"}
    code, message = refused(predict, echo, {"x": [1, 2]}, ["z"])
    assert code == "INVALID_ARGUMENT"
    assert "output tensor alias not found in signature: z" in message
    code, message = refused(predict, echo, {"x": [1, 2]}, ["all", "all"])
    assert (code, message) == ("INVALID_ARGUMENT", "duplicate output tensor alias: all")


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param({}, id="latest"),
        pytest.param({"version": 123}, id="version"),
        pytest.param({"signature_name": "serving_default"}, id="signature"),
        pytest.param({"version_label": "stable"}, id="label"),
    ],
)
def test_predict(predict, choice):  # G6
    response = predict(spec(**choice), {"x": [2.0]})
    assert response.model_spec == spec(version=123, signature_name="serving_default")
    assert tf.make_ndarray(response.outputs["y"]).tolist() == [3.0]


@pytest.mark.parametrize(
    ("signature", "output"), [("regress_x_to_y", "outputs"), ("classify_x_to_y", "scores")]
)
def test_predict_by_a_signature_of_another_method(predict, signature, output):  # G7
    response = predict(spec(signature_name=signature), {"inputs": serialized({"x": 2.0})})
    assert response.model_spec.signature_name == signature
    assert tf.make_ndarray(response.outputs[output]).tolist() == [[3.0]]


def test_signatures_without_inputs(predict):  # G8
    predict(spec("counter", signature_name="reset_counter"))
    counts = [
        predict(spec("counter", signature_name=name), inputs).outputs["output"].float_val[0]
        for name, inputs in [
            ("get_counter", {}),
            ("incr_counter", {}),
            ("reset_counter", {}),
            ("incr_counter", {}),
            ("incr_counter_by", {"delta": 3.0}),
        ]
    ]
    assert counts == [0.0, 1.0, 0.0, 1.0, 4.0]


def test_shapes_are_for_the_graph_to_judge(predict):
    response = predict(spec(), {"x": [[1.0, 2.0], [3.0, 4.0]]})
    assert tf.make_ndarray(response.outputs["y"]).tolist() == [[2.5, 3.0], [3.5, 4.0]]
    wide = spec("echo", signature_name="three_wide")
    code, message = refused(predict, wide, {"x": [[1.0, 2.0]]})
    assert code == "INVALID_ARGUMENT"
    assert "not compatible with expected shape" in message


def test_a_long_message_is_cut(predict):  # G14
    check = spec("echo", signature_name="check")
    code, message = refused(predict, check, {"x": [float("nan")]})
    assert code == "INVALID_ARGUMENT"
    assert message.endswith("m...TRUNCATED")
    assert len(message) == 1024 + len("...TRUNCATED")


@pytest.fixture
def metadata(prediction):
    request = get_model_metadata_pb2.GetModelMetadataRequest
    return lambda **fields: prediction.GetModelMetadata(request(**fields), timeout=60)


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        pytest.param(
            {"model_spec": spec()},
            "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify at least one metadata_field",
            id="G10-no-field",
        ),
        pytest.param(
            {"model_spec": spec(), "metadata_field": ["x"]},
            "INVALID_ARGUMENT",
            "Metadata field x is not supported",
            id="G10-field",
        ),
        pytest.param(
            {"metadata_field": ["signature_def"]},
            "INVALID_ARGUMENT",
            "Missing ModelSpec",
            id="G10-no-spec",
        ),
        pytest.param(
            {"model_spec": model_pb2.ModelSpec(), "metadata_field": ["signature_def"]},
            "INVALID_ARGUMENT",
            "ModelSpec has no name specified.",
            id="G10-no-name",
        ),
        pytest.param(
            {"model_spec": spec("foo"), "metadata_field": ["signature_def"]},
            "NOT_FOUND",
            "Servable not found for request: Latest(foo)",
            id="G10-name",
        ),
    ],
)
def test_metadata_that_cannot_be_given(metadata, fields, code, words):
    assert refused(metadata, **fields) == (code, words)


def test_metadata(metadata):  # G10
    response = metadata(model_spec=spec(), metadata_field=["signature_def"])
    assert response.model_spec == spec(version=123)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert list(signatures.signature_def["regress_x_to_y"].inputs) == ["inputs"]


@pytest.fixture
def status(models):
    request = get_model_status_pb2.GetModelStatusRequest
    return lambda **fields: models.GetModelStatus(request(**fields), timeout=60)


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        pytest.param({}, "INVALID_ARGUMENT", "Missing ModelSpec", id="G11-no-spec"),
        pytest.param(
            {"model_spec": spec("foo")},
            "NOT_FOUND",
            "Could not find any versions of model foo",
            id="G11-name",
        ),
        pytest.param(
            {"model_spec": spec(version=5)},
            "NOT_FOUND",
            "Could not find version 5 of model half_plus_two",
            id="G11-version",
        ),
    ],
)
def test_a_status_that_cannot_be_given(status, fields, code, words):
    assert refused(status, **fields) == (code, words)


@pytest.mark.parametrize(
    ("model_spec", "versions"),
    [
        pytest.param(spec(), [123], id="G11-one"),
        pytest.param(spec(version=123), [123], id="G11-single"),
        pytest.param(spec("pair"), [2, 1], id="G11-all"),
        pytest.param(spec("pair", version=1), [1], id="G11-older"),
    ],
)
def test_status(status, model_spec, versions):
    entries = status(model_spec=model_spec).model_version_status
    assert [entry.version for entry in entries] == versions
    for entry in entries:
        assert entry.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
        assert entry.status.error_code == 0 and not entry.status.error_message


def test_there_is_no_session_service(channel):
    call = channel.unary_unary("/tensorflow.serving.SessionService/SessionRun")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=60)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
