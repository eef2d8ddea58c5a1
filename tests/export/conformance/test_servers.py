"""S1 to S8: how a server starts, which versions it serves, what it warms up with."""

import shutil
import time

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    classification_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from tests.export.conformance.calls import example, predict_request, refused, spec
from tests.export.conformance.servers import DidNotStart, ask_rest, calling, launch, states

METRICS = "/monitoring/prometheus/metrics"
LARGE = 1_700_000_000_123  # milliseconds since 1970, which do not fit into 32 bits


def become(address, expected, seconds=30):
    """Waits until the versions of `half` that are available are these."""
    deadline = time.monotonic() + seconds
    while True:
        now = {number for number, state in states(address, "half").items() if state == "AVAILABLE"}
        if now == expected or time.monotonic() > deadline:
            return now
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"times": 2}, "Illegal to list model", id="S3-twice"),
        pytest.param({"base": "half"}, "to have an absolute path", id="S3-relative"),
        pytest.param({"platform": ""}, "model_platform", id="S3-no-platform"),
        pytest.param({"platform": 'model_platform: "caffe"'}, "half", id="S3-other-platform"),
        pytest.param(
            {"more": "nonsense: 1"},
            "Error parsing text-format tensorflow.serving.ModelServerConfig",
            id="S1-unknown-field",
        ),
        pytest.param(
            {"more": "{"},
            "Error parsing text-format tensorflow.serving.ModelServerConfig",
            id="S1-no-text-format",
        ),
        pytest.param(
            {"more": 'version_labels { key: "stable" value: 2 }'},
            "Request to assign label to version 2 of model half, which is not currently "
            "available for inference",
            id="S4-label-of-none",
        ),
    ],
)
def test_a_config_that_is_wrong(versions, config, changes, words):
    versions("1")
    with pytest.raises(DidNotStart) as caught, launch(config(**changes), "half"):
        pass
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("poll_seconds", "after"),
    [pytest.param(1, {2}, id="S2-poll"), pytest.param(0, {1}, id="S2-never")],
)
def test_new_versions_are_looked_for_if_asked(versions, config, poll_seconds, after):
    versions("1")
    with launch(config(), "half", poll_seconds=poll_seconds) as address:
        versions("2")
        assert become(address, {2}, seconds=30 if poll_seconds else 3) == after


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        pytest.param("", {LARGE}, id="S5-default"),
        pytest.param("latest { num_versions: 2 }", {4, LARGE}, id="S5-latest"),
        pytest.param("all {}", {1, 2, 4, LARGE}, id="S5-all"),
        pytest.param("specific { versions: 1 versions: 4 }", {1, 4}, id="S5-specific"),
    ],
)
def test_a_policy_chooses_among_what_are_numbers(versions, config, policy, served):
    versions("1", "2", "00000004", str(LARGE), "five", "6.0")
    more = f"model_version_policy {{ {policy} }}" if policy else ""
    with launch(config(more), "half") as address:
        assert become(address, served) == served
        for number in served:
            path = f"/v1/models/half/versions/{number}:predict"
            reply = ask_rest(address, "POST", path, {"instances": [[2.0]]})
            assert reply.document == {"predictions": [[3.0]]}


def test_a_version_that_is_removed_is_let_go(versions, config):
    """S5"""
    folder = versions("1", "2")
    with launch(config("model_version_policy { all {} }"), "half", poll_seconds=1) as address:
        shutil.rmtree(folder / "2")
        assert become(address, {1}) == {1}
        assert states(address, "half")[2] == "END"


def test_a_label_is_given_to_what_is_available(versions, config):
    """S4"""
    versions("1", "2")
    policy = "model_version_policy { all {} }"
    labelled = predict_request([2.0], version_label="canary")

    def reload(version):
        text = config(f'{policy} version_labels {{ key: "canary" value: {version} }}').read_text()
        asked = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(text, asked.config)
        return asked

    with launch(config(policy), "half") as address, calling(address) as opened:
        assert become(address, {1, 2}) == {1, 2}
        models = model_service_pb2_grpc.ModelServiceStub(opened)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(opened)
        for version in (1, 2):
            assert models.HandleReloadConfigRequest(reload(version)).status.error_code == 0
            assert stub.Predict(labelled).model_spec.version.value == version
        code, words = refused(models.HandleReloadConfigRequest, reload(3))
        assert code == "FAILED_PRECONDITION" and "assign label to version 3" in words
        assert (
            stub.Predict(predict_request([2.0], version_label="canary")).model_spec.version.value
            == 2
        )


def test_a_reload_cannot_change_the_platform(versions, config):
    """S3"""
    versions("1")
    with launch(config(), "half") as address, calling(address) as opened:
        asked = model_management_pb2.ReloadConfigRequest()
        text = config(platform='model_platform: "caffe"').read_text()
        text_format.Parse(text, asked.config)
        models = model_service_pb2_grpc.ModelServiceStub(opened)
        assert "half" in refused(models.HandleReloadConfigRequest, asked)[1]
        assert states(address, "half") == {1: "AVAILABLE"}


def test_metrics(versions, config):
    """S6"""
    versions("1")
    with launch(config(), "half") as address:
        ask_rest(address, "POST", "/v1/models/half:predict", {"instances": [[2.0]]})
        reply = ask_rest(address, "GET", METRICS)
        assert reply.code == 200 and "# TYPE" in reply.text
        assert ":tensorflow:serving:request_count" in reply.text


def test_a_unix_socket(versions, config, tmp_path):
    """S7"""
    versions("1")
    path = tmp_path / "socket"
    with launch(config(), "half", grpc_socket_path=path) as address:
        with grpc.insecure_channel(f"unix:{path}") as opened:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(opened)
            assert stub.Predict(predict_request([2.0])).outputs["y"].float_val[:] == [3.0]
        with calling(address) as opened:  # and the port
            stub = prediction_service_pb2_grpc.PredictionServiceStub(opened)
            assert stub.Predict(predict_request([2.0])).outputs["y"].float_val[:] == [3.0]


def _predicted(**fields):
    asked = predict_request([1.0], [2.0], **fields)
    return prediction_log_pb2.PredictionLog(predict_log={"request": asked})


def _classified():
    asked = classification_pb2.ClassificationRequest(
        model_spec=spec(signature_name="classify_x_to_y")
    )
    asked.input.example_list.examples.append(example({"x": 1.0}))
    return prediction_log_pb2.PredictionLog(classify_log={"request": asked})


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([], id="S8-empty"),
        pytest.param([b""], id="S8-unset"),
        pytest.param([_predicted(), _classified()], id="S8-kinds"),
        pytest.param([_predicted(model="other", version=7)], id="S8-other-name"),
        pytest.param([_predicted()] * 1000, id="S8-most"),
    ],
)
def test_warm_up(versions, config, records):
    _warm_up(versions("1") / "1", records)
    with launch(config(), "half") as address:
        assert states(address, "half") == {1: "AVAILABLE"}


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([_predicted()] * 1001, id="S8-too-many"),
        pytest.param(b"these are no records, not at all", id="S8-no-records"),
        pytest.param([b"\xff\xff\xff"], id="S8-garbage"),
        pytest.param([_predicted(), _predicted(signature="none")], id="S8-fails"),
        pytest.param([_predicted(key="z")], id="S8-other-input"),
        pytest.param(
            [prediction_log_pb2.PredictionLog(session_run_log={"request": {}})], id="S8-session-run"
        ),
    ],
)
def test_warm_up_that_keeps_a_version_from_loading(versions, config, records):
    _warm_up(versions("1") / "1", records)
    with pytest.raises(DidNotStart), launch(config(), "half"):
        pass


def _warm_up(version, records):
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    if isinstance(records, bytes):
        path.write_bytes(records)
        return
    with tf.io.TFRecordWriter(str(path)) as writer:
        for each in records:
            writer.write(each if isinstance(each, bytes) else each.SerializeToString())
