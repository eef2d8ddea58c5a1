"""Files for other runtimes: they answer as the function does, or there are none."""

import importlib.util
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import ExportError, Signature, write_portable
from export import portable as portable_module
from export.portable import SUFFIXES
from tests.export.conftest import half_signature, spec
from tests.export.runtimes import answer, needs


@pytest.fixture(params=SUFFIXES)
def format(request):
    needs(request.param)
    return request.param


def scaled():
    """Sums of the rows of a matrix product, up to a length: two inputs, two outputs."""
    layer = keras.layers.Dense(5, name="zeta")
    layer.build((None, 3))

    def function(steps, lengths):
        real = tf.sequence_mask(lengths, tf.shape(steps)[1], steps.dtype)
        hidden = layer(steps) * tf.expand_dims(real, 2)
        return {"total": tf.reduce_sum(hidden, axis=1), "alike": lengths + 1}

    inputs = {"steps": spec(tf.float32, None, 3), "lengths": spec(tf.int32)}
    steps = np.random.default_rng(0).normal(size=(2, 7, 3)).astype("float32")
    examples = [
        {"steps": steps[:count], "lengths": np.array([7, 5][:count], np.int32)} for count in (1, 2)
    ]
    return Signature(function, inputs, examples), layer


def test_a_file_answers_as_the_function_does(tmp_path, format, capfd):
    signature, layer = scaled()
    path = tmp_path / "new" / f"model{SUFFIXES[format]}"
    capfd.readouterr()
    assert write_portable(path, signature, format, resources=[layer]) == path
    assert capfd.readouterr().err == ""
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    # Of a shape that it was not tried with.
    steps = np.random.default_rng(1).normal(size=(3, 11, 3)).astype("float32")
    inputs = {"steps": steps, "lengths": np.array([11, 1, 6], np.int32)}
    told = answer(path, inputs)
    expected = signature.function(**{key: tf.constant(value) for key, value in inputs.items()})
    assert set(told) == {"total", "alike"}
    assert told["alike"].tolist() == [12, 2, 7]
    np.testing.assert_allclose(told["total"], expected["total"], rtol=1e-4, atol=1e-5)


def test_an_older_file_is_replaced_only_by_a_whole_one(tmp_path, format, monkeypatch):
    path = tmp_path / f"m{SUFFIXES[format]}"
    path.write_bytes(b"old")

    def fails(*_):
        raise RuntimeError("no such operation\nand pages more")

    monkeypatch.setattr(portable_module, "_convert", fails)
    words = f"{format} cannot hold this function: no such operation$"
    with pytest.raises(ExportError, match=words):
        write_portable(path, half_signature(), format)
    assert path.read_bytes() == b"old" and [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_full_disk_is_no_fault_of_the_format(tmp_path, monkeypatch):
    needs("onnx")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(portable_module, "_convert", full)
    with pytest.raises(OSError, match="No space left"):
        write_portable(tmp_path / "m.onnx", half_signature(), "onnx")


def test_a_file_that_answers_otherwise_is_not_left(tmp_path, monkeypatch):
    needs("onnx")
    wrong = {"y": np.array([3.0, 4.75], "float32")}
    monkeypatch.setitem(portable_module._RUNTIMES, "onnx", lambda path: lambda inputs: wrong)
    with pytest.raises(ExportError, match="not answer as the function does. Output `y`, example 0"):
        write_portable(tmp_path / "m.onnx", half_signature(), "onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_litert_has_no_operation_for_is_told_in_one_line(tmp_path):
    needs("litert")
    layer = keras.layers.GRU(3, return_sequences=True)
    layer.build((None, None, 2))
    signature = Signature(
        lambda x: {"y": layer(x)},
        {"x": spec(tf.float32, None, 2)},
        [{"x": np.ones((1, 4, 2), "float32")}],
    )
    with pytest.raises(ExportError, match=r"litert cannot hold .* \(TensorListReserve\).$") as told:
        write_portable(tmp_path / "m.tflite", signature, "litert", resources=[layer])
    assert "\n" not in str(told.value) and list(tmp_path.iterdir()) == []


def test_a_recurrent_layer_goes_to_onnx(tmp_path):
    needs("onnx")
    layer = keras.layers.GRU(3, return_sequences=True)
    layer.build((None, None, 2))
    signature = Signature(
        lambda x: {"y": layer(x)},
        {"x": spec(tf.float32, None, 2)},
        [{"x": np.linspace(-1, 1, 8, dtype="float32").reshape(1, 4, 2)}],
    )
    path = write_portable(tmp_path / "m.onnx", signature, "onnx", resources=[layer])
    longer = np.linspace(-2, 2, 30, dtype="float32").reshape(3, 5, 2)
    np.testing.assert_allclose(answer(path, {"x": longer})["y"], layer(longer), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "signature", "format", "words"),
    [
        ("m.onnx", half_signature(), "tflite", "`format` must be one of onnx, litert. Received: "),
        ("m.tflite", half_signature(), "onnx", "`path` must end in .onnx. Received: "),
        (
            "m.onnx",
            Signature(lambda x: {"y": x}, {"x": spec(tf.float32)}),
            "onnx",
            "`signature` must have an example to try the file with. Received: none.",
        ),
        (
            "m.onnx",
            Signature(lambda x: {"y": x}, {"x": spec(tf.string)}, [{"x": ["a"]}]),
            "onnx",
            "Input `x` must be of numbers. Received: string.",
        ),
    ],
    ids=["format", "path", "examples", "strings"],
)
def test_arguments_are_checked_first(tmp_path, name, signature, format, words):
    with pytest.raises(ValueError, match=words):
        write_portable(tmp_path / "new" / name, signature, format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", SUFFIXES)
def test_packages_that_are_missing_are_named(tmp_path, format, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    words = {"onnx": "pip install onnx tf2onnx onnxruntime", "litert": "pip install ai_edge_litert"}
    with pytest.raises(ExportError, match=f"{format} needs packages .*: {words[format]}$"):
        write_portable(tmp_path / f"m{SUFFIXES[format]}", half_signature(), format)


def test_mistakes_of_the_function_are_its_own(tmp_path):
    needs("onnx")
    signature = Signature(
        lambda x: {"y": x[:, 3]}, {"x": spec(tf.float32, 2)}, [{"x": [[1.0, 2.0]]}]
    )
    with pytest.raises(ValueError, match="slice index 3"):
        write_portable(tmp_path / "m.onnx", signature, "onnx")
