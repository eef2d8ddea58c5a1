"""`export.lint`: what a stock server would refuse, found without TensorFlow's Python."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from export import ExportError, lint, linter, write
from export.__main__ import main
from export.graph import op_names, reached_op_names, read_meta_graph
from export.layout import WARMUP_FILE
from export.linter.child import masked_crc32c
from tests.export.conformance.example_models import write_half_plus_two
from tests.export.conftest import half_signature, spec


def save(folder, **functions):
    """A SavedModel as anybody might write it: of functions with their inputs."""
    module = tf.Module()
    signatures = {
        name: tf.function(function).get_concrete_function(*inputs)
        for name, (function, *inputs) in functions.items()
    }
    tf.saved_model.save(module, str(folder), signatures)
    return folder


def record(version, *logs):
    """Puts warm-up records in their place."""
    path = version / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def predict_log(signature="serving_default", **inputs):
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return log


def filtered_log(*outputs):
    log = predict_log(x=[1.0])
    log.predict_log.request.output_filter.extend(outputs)
    return log


def found(version, level="error"):
    return [f"{where}: {what}" for each, where, what in lint(version) if each == level]


@pytest.fixture
def good(exports, tmp_path):
    return shutil.copytree(exports / "half_plus_two" / "123", tmp_path / "123")


def test_what_write_wrote_is_found_good(exports):
    assert lint(exports / "half_plus_two" / "123") == []
    assert found(exports / "words" / "1") == []


def test_a_signature_that_no_record_asks_was_not_run(exports):
    never = "count: no warm-up record asks it, so it was not run"
    assert never in found(exports / "words" / "1", "warning")


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """One model with a fault in every signature."""
    ragged = tf.RaggedTensor.from_row_lengths
    return save(
        tmp_path_factory.mktemp("faulty") / "1",
        two=(lambda x: {"y": x * 2.0}, tf.TensorSpec((2, 3), tf.float32, "x")),
        once=(lambda x: {"y": x * 2.0}, tf.TensorSpec((), tf.float32, "x")),
        half=(lambda x: {"y": tf.cast(x, tf.bfloat16)}, spec(tf.float32)),
        ragged=(lambda x: {"y": ragged(x, tf.shape(x))}, tf.TensorSpec((None,), name="x")),
        keras=(lambda x: {"y": x * 2.0}, tf.TensorSpec((None,), tf.float32, "keras_tensor_3")),
        python=(
            lambda x: {"y": tf.ensure_shape(tf.numpy_function(np.sin, [x], tf.float32), (None,))},
            tf.TensorSpec((None,), tf.float32, "x"),
        ),
    )


@pytest.fixture(scope="module")
def faults(faulty):
    """All that is found in it."""
    return [f"{level}: {where}: {what}" for level, where, what in lint(faulty)]


@pytest.mark.parametrize(
    "expected",
    [
        "error: two, input x: its batch is always of 2;",
        "warning: two, output y: its batch is always of 2;",
        "warning: once, input x: it has no batch axis",
        "error: half, output y: DT_BFLOAT16, which has no form in JSON",
        "error: ragged, output y: it is ragged",
        "error: keras, input keras_tensor_3: Keras' own name",
        "error: graph: no kernel runs it on a CPU",
        "error: signatures: expected one named serving_default",
        "warning: assets.extra/tf_serving_warmup_requests: there is none",
    ],
)
def test_faults_are_found_and_named(faults, expected):
    assert len([each for each in faults if each.startswith(expected)]) == 1, faults


def test_python_in_the_graph_is_named(faults):
    (kernel,) = [each for each in faults if "no kernel" in each]
    assert "PyFunc" in kernel and "CPU" in kernel


def test_what_is_compiled_is_run_with_xla_switched_off(tmp_path):
    compiled = tf.function(lambda x: x * 3.0, jit_compile=True)
    version = save(
        tmp_path / "1",
        serving_default=(lambda x: {"y": compiled(x)}, tf.TensorSpec((None,), tf.float32, "x")),
    )
    record(version, predict_log(x=[1.0]))
    told, run = found(version)
    assert told.startswith("graph: a stock server answers `XLA compilation disabled`")
    assert run.startswith(f"{WARMUP_FILE}, record 0: ") and "XLA compilation disabled" in run


def test_only_functions_that_are_reached_must_run(good):
    meta_graph = read_meta_graph(good)
    never = meta_graph.graph_def.library.function.add()
    never.signature.name = "never"
    never.node_def.add(name="rnn", op="CudnnRNNV3")
    assert "CudnnRNNV3" in op_names(meta_graph)
    assert "CudnnRNNV3" not in reached_op_names(meta_graph)
    caller = meta_graph.graph_def.node.add(name="call", op="PartitionedCall")
    caller.attr["f"].func.name = "never"
    assert {"CudnnRNNV3", "PartitionedCall"} <= reached_op_names(meta_graph)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (predict_log("other", x=[1.0]), "it asks the signature other, which there is not"),
        (predict_log(z=[1.0]), "expected the inputs ['x']. Received: ['z']"),
        (predict_log(x=["a"]), "INVALID_ARGUMENT: "),
        (filtered_log("z"), "expected some of the outputs ['y'], each once. Received: ['z']"),
        (filtered_log("y", "y"), "expected some of the outputs ['y'], each once"),
        (PredictionLog(session_run_log={}), "a server takes no session_run_log to warm up with"),
        (
            PredictionLog(classify_log={"request": {"model_spec": {"signature_name": "other"}}}),
            "it asks the signature other for tensorflow/serving/classify, which there is not",
        ),
    ],
)
def test_a_record_that_fails_is_named(good, log, expected):
    record(good, predict_log(x=[1.0]), log)
    (only,) = found(good)
    assert only.startswith(f"{WARMUP_FILE}, record 1: {expected}")


def test_records_of_examples_are_run(tmp_path):
    write_half_plus_two(tmp_path / "1")
    good, bad = PredictionLog(), PredictionLog()
    request = good.classify_log.request
    request.model_spec.signature_name = "classify_x_to_y"
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
    request = bad.multi_inference_log.request
    task = request.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.name, task.model_spec.signature_name = "m", "regress_x_to_y"
    request.input.example_list.examples.add().features.feature["x"].int64_list.value.append(2)
    record(tmp_path / "1", good, bad)
    (only,) = (each for each in found(tmp_path / "1") if each.startswith(str(WARMUP_FILE)))
    assert only.startswith(f"{WARMUP_FILE}, record 1: INVALID_ARGUMENT: ")
    never = [each for each in found(tmp_path / "1", "warning") if "no warm-up record" in each]
    assert len(never) == 3 and not any("x_to_y" in each for each in never)


def regress_log(signature):
    return PredictionLog(regress_log={"request": {"model_spec": {"signature_name": signature}}})


def tasks_log(*tasks):
    return PredictionLog(multi_inference_log={"request": {"tasks": tasks}})


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (regress_log("regress_x_to_y"), "expected examples. Received: none"),
        (
            regress_log("classify_x_to_y"),
            "it asks the signature classify_x_to_y for tensorflow/serving/regress, "
            "which there is not",
        ),
        (
            tasks_log({"model_spec": {"name": "a"}}, {}),
            "expected tasks that all name one model. Received: ['', 'a']",
        ),
        (
            tasks_log({"model_spec": {"name": "a"}, "method_name": "guess"}),
            "it asks the signature serving_default for guess, which there is not",
        ),
    ],
    ids=["no examples", "other outputs", "two models", "no such method"],
)
def test_a_record_of_examples_that_fails_is_named(tmp_path, log, expected):
    write_half_plus_two(tmp_path / "1")
    record(tmp_path / "1", log)
    assert f"{WARMUP_FILE}, record 0: {expected}" in found(tmp_path / "1")


def test_what_a_signature_is_good_for_is_told_by_its_outputs(tmp_path):
    def count(inputs):
        return {"outputs": tf.cast(tf.strings.length(inputs), tf.float32)}

    version = save(
        tmp_path / "1", serving_default=(count, tf.TensorSpec((None,), tf.string, "inputs"))
    )
    log = PredictionLog()
    log.regress_log.request.input.example_list.examples.add()
    record(version, log)
    assert lint(version) == []


def test_too_many_records(good):
    record(good, *[predict_log(x=[1.0])] * 1001)
    assert found(good) == [f"{WARMUP_FILE}: a server takes no more than 1000 records"]


def test_a_file_that_ends_within_a_record(good):
    path = good / WARMUP_FILE
    path.write_bytes(path.read_bytes()[:-3])
    (only,) = found(good)
    assert only.startswith(f"{WARMUP_FILE}: expected whole records")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (20, 0xFF, "one with a wrong checksum"),
        (8, 0x00, "one with a wrong checksum"),
        (7, 0x80, "a file that ends within one"),
    ],
    ids=["data", "checksum of the length", "length"],
)
def test_a_byte_that_is_wrong(good, place, value, words):
    path = good / WARMUP_FILE
    content = bytearray(path.read_bytes())
    assert content[place] != value
    content[place] = value
    path.write_bytes(content)
    assert found(good) == [f"{WARMUP_FILE}: expected whole records. Received: {words}"]


def test_checksums_are_those_of_the_standard():
    # RFC 3720, appendix B.4: 32 bytes of zeros, and 32 of ones.
    for byte, expected in ((b"\0", 0x8A9136AA), (b"\xff", 0x62A8AB43)):
        turned = (masked_crc32c(32 * byte) - 0xA282EAD8) & 0xFFFFFFFF
        assert ((turned << 15) | (turned >> 17)) & 0xFFFFFFFF == expected


def test_a_model_that_prints_is_looked_at(tmp_path):
    def speak(x):
        tf.print("[1, 2", tf.constant(b"\xff"), output_stream=sys.stdout)
        return {"y": x}

    version = save(tmp_path / "1", serving_default=(speak, tf.TensorSpec((None,), tf.float32, "x")))
    record(version, predict_log(x=[1.0]))
    assert found(version) == []


@pytest.fixture(scope="module")
def remembering(tmp_path_factory):
    """One model whose signatures keep a state, draw random numbers, do both or neither."""

    def noisy(x):
        return x + tf.random.uniform(tf.shape(x))

    def looped(x):
        return tf.while_loop(lambda x: True, lambda x: [noisy(x)], [x], maximum_iterations=2)[0]

    counter = tf.Variable(0.0)
    dropout = keras.layers.Dropout(0.5)
    dropout.build((None,))
    module = tf.Module()
    module.kept = [counter, *(each.value for each in dropout.variables)]
    functions = {
        "serving_default": lambda x: {"y": x * 2.0 + counter},
        "counted": lambda x: {"y": x + counter.assign_add(1.0)},
        "drawn": lambda x: {"y": noisy(x)},
        "looped": lambda x: {"y": looped(x)},
        "dropped": lambda x: {"y": dropout(x, training=True)},
        "whole": lambda x: {"y": dropout(x, training=False)},
        "seeded": lambda x: {"y": x + tf.random.stateless_uniform(tf.shape(x), (1, 2))},
    }
    x = tf.TensorSpec((None,), tf.float32, "x")
    signatures = {
        name: tf.function(each).get_concrete_function(x) for name, each in functions.items()
    }
    folder = tmp_path_factory.mktemp("remembering") / "1"
    tf.saved_model.save(module, str(folder), signatures)
    return folder


def test_answers_that_depend_on_what_was_asked_before(remembering):
    words = "its answers may depend on chance and on what was asked before"
    warnings = [each.split(": ") for each in found(remembering, "warning") if words in each]
    assert {name: names for name, _, names in warnings} == {
        "counted": "AssignAddVariableOp",
        "drawn": "RandomUniform",
        "looped": "RandomUniform",
        "dropped": "AssignVariableOp",
    }


def test_it_ends_in_time(good, monkeypatch):
    monkeypatch.setattr(linter, "SECONDS", 0.01)
    with pytest.raises(ExportError, match="not looked through within 0.01 s"):
        lint(good)


def test_the_graph_to_serve_is_looked_at(good):
    path = good / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    other = saved_model_pb2.SavedModel()
    other.meta_graphs.add().meta_info_def.tags.append("train")
    other.meta_graphs.extend(message.meta_graphs)
    path.write_bytes(other.SerializeToString())
    assert "serving_default" in read_meta_graph(good).signature_def
    del other.meta_graphs[1:]
    path.write_bytes(other.SerializeToString())
    (only,) = found(good)
    assert "expected a graph with the tag `serve`. Received: [['train']]" in only


def test_records_of_something_else(good):
    with tf.io.TFRecordWriter(str(good / WARMUP_FILE)) as writer:
        writer.write(b"\xff\xff")
    assert found(good) == [f"{WARMUP_FILE}, record 0: it is no PredictionLog"]


def test_weights_that_are_lost(exports, tmp_path):
    version = write(tmp_path / "weighted", {"serving_default": half_signature()})
    shutil.rmtree(version / "variables")
    assert all(each.startswith("loading: ") for each in found(version))


def test_the_command_tells_the_newest_version_and_exits_with_what_it_found(good, capsys):
    (good.parent / "9").mkdir()
    assert main(["lint", str(good.parent)]) == 0
    assert capsys.readouterr().out == f"{good}: 0 errors, 0 warnings\n"
    record(good, predict_log("other"))
    assert main(["lint", str(good)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"error: {WARMUP_FILE}, record 0: it asks the signature other")
    assert out.endswith("1 errors, 1 warnings\n")


@pytest.mark.parametrize("content", [None, b"no message"])
def test_folders_that_hold_no_model(tmp_path, content, capsys):
    if content:
        (tmp_path / "saved_model.pb").write_bytes(content)
        (only,) = found(tmp_path)
        assert "expected a SavedModel message" in only
    else:
        with pytest.raises(ExportError, match="expected a SavedModel. Received: no saved_model.pb"):
            lint(tmp_path)
        assert main(["lint", str(tmp_path)]) == 2
        assert main(["lint", str(tmp_path / "nowhere")]) == 2
        assert "nowhere" in capsys.readouterr().err


def portably(version, *options):
    """What the fallback for other systems finds."""
    command = [sys.executable, "-m", "export.linter.child", str(version), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [tuple(each) for each in json.loads(done.stdout)]


def test_without_the_c_library_the_same_errors_are_found(faulty, exports):
    def errors(version):
        return {each[:2] for each in portably(version, "portable") if each[0] == "error"}

    for version in (faulty, exports / "words" / "1"):
        assert errors(version) == {tuple(each[:2]) for each in lint(version) if each[0] == "error"}
    warnings = [each for each in portably(exports / "words" / "1", "portable")]
    assert "C library could not be reached" in warnings[0][2]
