import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from export import ExportError, ServingError, Signature, check_parity, write
from export.dev_server.servable import Servable
from export.layout import WARMUP_FILE
from export.warmup import read_warmup, write_warmup
from tests.export.conftest import describe_signature, half_plus_two, half_signature, spec


@pytest.fixture
def version(tmp_path):
    return write(
        tmp_path / "m", {"serving_default": half_signature(), "describe": describe_signature()}
    )


def rewrite(version, *records):
    with tf.io.TFRecordWriter(str(version / WARMUP_FILE)) as writer:
        for record in records:
            writer.write(record)


def test_records_are_the_examples_of_all_signatures(version):
    requests = [log.predict_log.request for log in read_warmup(version)]
    assert [r.model_spec.signature_name for r in requests] == ["serving_default", "describe"]
    assert tf.make_ndarray(requests[0].inputs["x"]).tolist() == [2.0, 5.0]
    assert tf.make_ndarray(requests[1].inputs["word"]).tolist() == [b"no"]
    assert requests[1].inputs["count"].dtype == tf.int32.as_datatype_enum


def test_a_single_row_is_asked_in_batches_too(tmp_path):
    inputs = {"x": spec(tf.float32, None), "word": spec(tf.string)}
    signature = Signature(
        lambda x, word: {"y": x, "copy": word},
        inputs,
        [{"x": [[1.0, 2.0]], "word": ["a"]}, {"x": [[3.0], [4.0]], "word": ["b", "c"]}],
    )
    signatures = {"serving_default": signature, "half": half_signature()}
    version = write(tmp_path / "m", signatures, batch_sizes=(1, 2, 5))
    requests = [log.predict_log.request for log in read_warmup(version)]
    assert [r.model_spec.signature_name for r in requests] == ["serving_default"] * 4 + ["half"]
    rows = [tf.make_ndarray(r.inputs["x"]).tolist() for r in requests]
    assert rows == [[[1, 2]], [[1, 2]] * 2, [[1, 2]] * 5, [[3], [4]], [2, 5]]
    words = [tf.make_ndarray(r.inputs["word"]).tolist() for r in requests[:4]]
    assert words == [[b"a"], [b"a"] * 2, [b"a"] * 5, [b"b", b"c"]]
    check_parity(version, signatures)


@pytest.mark.parametrize("sizes", [(0, 1), (2, 1), (2, 2), (-1,)])
def test_batch_sizes_must_rise(tmp_path, sizes):
    with pytest.raises(ValueError, match="`batch_sizes` must rise from at least 1. Received: "):
        write(tmp_path / "m", {"serving_default": half_signature()}, batch_sizes=sizes)
    assert list(tmp_path.iterdir()) == []


def test_no_example_makes_no_file(tmp_path):
    signature = Signature(half_plus_two, {"x": spec(tf.float32)})
    version = write(tmp_path / "m", {"serving_default": signature})
    assert not (version / "assets.extra").exists()
    assert list(read_warmup(version)) == []


def test_a_record_that_fails_keeps_the_version_from_loading(version):
    log = next(read_warmup(version))
    bad = prediction_log_pb2.PredictionLog()
    bad.CopyFrom(log)
    bad.predict_log.request.model_spec.signature_name = "absent"
    rewrite(version, log.SerializeToString(), bad.SerializeToString())
    with pytest.raises(ServingError, match='warm-up record 1: .*"absent" not found'):
        Servable(version)
    with Servable(version, warm_up=False) as servable:
        assert servable.predict({"x": np.array([2.0], "float32")})["y"] == [3.0]


def test_a_record_of_another_kind_keeps_the_version_from_loading(version):
    log = prediction_log_pb2.PredictionLog()
    log.session_run_log.SetInParent()
    rewrite(version, log.SerializeToString())
    with pytest.raises(ServingError, match="Unsupported log_type for warmup: session_run_log"):
        Servable(version)


def test_an_unset_record_is_skipped(version):
    rewrite(version, b"")
    Servable(version).close()


def test_a_file_that_is_no_tfrecord_is_named(version):
    (version / WARMUP_FILE).write_bytes(b"hello, this is text and not a record file")
    with pytest.raises(ExportError, match="expected an uncompressed TFRecord file. Received: "):
        Servable(version)


def test_a_record_that_is_no_prediction_log_is_named(version):
    rewrite(version, b"\xff\xff\xff")
    with pytest.raises(ExportError, match="record 0 is no PredictionLog"):
        Servable(version)


def test_a_thousand_records_are_the_most(version):
    rewrite(version, *[b""] * 1000)
    assert len(list(read_warmup(version))) == 1000
    rewrite(version, *[b""] * 1001)
    with pytest.raises(ExportError, match="expected at most 1000 warm-up records"):
        list(read_warmup(version))


def test_more_than_a_thousand_examples_are_not_written(tmp_path):
    signature = Signature(half_plus_two, {"x": spec(tf.float32)}, [{"x": [1.0]}] * 501)
    with pytest.raises(ValueError, match="at most 1000 warm-up records. Received: 1002"):
        write_warmup(tmp_path, {"serving_default": signature, "other": signature})
    assert list(tmp_path.iterdir()) == []
