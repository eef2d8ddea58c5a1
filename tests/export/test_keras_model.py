"""Any built Keras model is written in one call, and answers as `model.predict` does."""

import os
import re
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from export import Signature, signature_of, write, write_model
from export.__main__ import main
from export.dev_server.servable import Servable
from export.graph import op_names, read_meta_graph
from export.warmup import read_warmup
from keras_attention import AdditiveSoftAttention
from tests.export.conftest import spec


def random(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ids(*shape, below=11):
    """Ids of which the last ones of a row may be padding."""
    found = np.random.default_rng(5).integers(1, below, shape).astype(np.float32)
    found[1:, -2:] = 0
    return found


def sub_network(shape, name):
    given = keras.Input(shape, name=name)
    return given, layers.Dense(5)(given)


class Doubled(keras.Model):
    """Takes and returns what its first call shows, and has no `training`."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)
        self.inputs = self.output_names = ["what a user calls so is no input"]

    def call(self, inputs):
        left, right = inputs["left"], inputs["Right side"]
        return {"sum": self.dense(left + right), "parts": [left, (right,)]}


@keras.saving.register_keras_serializable("tests")
class Noisy(keras.Model):
    """Its answers in training and out of it differ."""

    def __init__(self, **options):
        super().__init__(**options)
        self.lstm = layers.Bidirectional(layers.LSTM(3))

    def call(self, inputs, training=False):
        return self.lstm(inputs) + (100.0 if training else 0.0)


def dense():
    model = keras.Sequential([keras.Input((3,), name="rowsOf X"), layers.Dense(2)])
    return model, [random(7, 3)], ["rows_of_x"], ["outputs"]


def sequential_built_by_a_call():
    model = keras.Sequential([layers.Dense(5), layers.Dropout(0.7), layers.Dense(2, name="Top-2")])
    model(random(4, 3))
    return model, [random(7, 3)], ["inputs"], ["top_2"]


def masked_lstm():
    given = keras.Input((None,), name="ids")
    hidden = layers.Embedding(11, 5, mask_zero=True)(given)
    hidden = layers.Bidirectional(layers.GRU(3, return_sequences=True))(hidden)
    return (
        keras.Model(given, layers.LSTM(7, name="state")(hidden)),
        [ids(3, 13)],
        ["ids"],
        ["state"],
    )


def two_inputs():
    (first, left), (second, right) = sub_network((3,), "query"), sub_network((7,), "Value")
    last = layers.Dense(2, name="scores")
    return (
        keras.Model([first, second], [last(left + right), layers.Dense(3)(left)]),
        [random(5, 3), random(5, 7, seed=4)],
        ["query", "value"],
        ["scores", "outputs"],
    )


def nameless_inputs():
    (first, left), (second, right) = sub_network((3,), None), sub_network((5,), None)
    both = layers.Attention(name="both")(
        [layers.Reshape((5, 1))(left), layers.Reshape((5, 1))(right)], return_attention_scores=True
    )
    return (
        keras.Model((first, second), both),
        [random(5, 3), random(5, 5, seed=4)],
        ["inputs", "inputs_1"],
        ["outputs", "outputs_1"],
    )


def dicts():
    (first, left), (second, right) = sub_network((3,), "b"), sub_network((7,), "a")
    model = keras.Model(
        {"b": first, "a": second}, {"Sum": left + right, "classes": keras.ops.argmax(left, axis=1)}
    )
    return model, {"b": random(5, 3), "a": random(5, 7)}, ["a", "b"], ["sum", "classes"]


def subclassed():
    model = Doubled()
    inputs = {"left": random(5, 3), "Right side": random(5, 3, seed=7)}
    model(inputs)
    return model, inputs, ["right_side", "left"], ["parts_0", "parts_1_0", "sum"]


def subclassed_with_training():
    model = Noisy()
    model(random(2, 5, 3))
    return model, [random(7, 5, 3)], ["inputs"], ["outputs"]


def strings():
    words = layers.TextVectorization(output_sequence_length=5, vocabulary=["cat", "dog", "runs"])
    model = keras.Sequential([keras.Input((), dtype="string", name="text"), words])
    model.add(layers.Embedding(11, 3, name="words"))
    texts = np.array(["a dog runs", "", "cat Cat", "Hündin"], object)
    return model, [tf.constant(texts)], ["text"], ["words"]


def half():
    policy = keras.DTypePolicy("mixed_float16")
    given = keras.Input((3,), dtype="float16", name="x")
    hidden = layers.Dense(5, dtype=policy)(given)
    return (
        keras.Model(given, layers.Dense(2, dtype=policy, name="y")(hidden)),
        [random(7, 3)],
        ["x"],
        ["y"],
    )


def attention():
    query, value = keras.Input((None, 3), name="query"), keras.Input((None, 5), name="value")
    read = AdditiveSoftAttention(units=7, name="read")
    context, weights = read(query, value, return_attention_scores=True)
    return (
        keras.Model([query, value], {"context": context, "weights": weights}),
        [random(2, 3, 3), random(2, 11, 5)],
        ["query", "value"],
        ["context", "weights"],
    )


def convolution():
    given = keras.Input((None, 3), name="sound")
    hidden = layers.Conv1D(5, 3, strides=2)(layers.Conv1D(5, 3, strides=2)(given))
    model = keras.Model(given, layers.GlobalMaxPooling1D()(hidden))
    return model, [random(3, 29, 3)], ["sound"], ["outputs"]


MODELS = [
    dense, sequential_built_by_a_call, masked_lstm, two_inputs, nameless_inputs, dicts, subclassed,
    subclassed_with_training, strings, half, attention, convolution,
]  # fmt: skip


def array(value):
    value = np.asarray(value)
    return value.astype(object) if value.dtype.kind == "S" else value


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_the_version_answers_as_the_model_does(tmp_path, make):
    model, inputs, input_names, output_names = make()
    version = write_model(tmp_path / "m", model, batch_sizes=[1, 2])
    values = keras.tree.flatten(inputs)
    request = {name: array(value) for name, value in zip(input_names, values, strict=True)}
    with Servable(version) as servable:
        served = servable.predict(request)
    given = inputs if isinstance(inputs, dict) else values if len(values) > 1 else values[0]
    expected = keras.tree.flatten(model.predict(given, verbose=0))
    assert set(served) == set(output_names)
    for name, value in zip(output_names, expected, strict=True):
        assert served[name].dtype == (np.float32 if value.dtype == np.float16 else value.dtype)
        tolerance = 1e-2 if value.dtype == np.float16 else 1e-5
        np.testing.assert_allclose(served[name], value, rtol=tolerance, atol=tolerance)
    assert len(list(read_warmup(version))) == 2


def test_names_of_ones_own_and_examples(tmp_path):
    model, inputs, *_ = two_inputs()
    example = {"a": random(2, 3), "b": random(2, 7)}
    names = {"input_names": ["a", "b"], "output_names": ["y", "z"]}
    signature = signature_of(model, examples=[example], **names)
    assert list(signature.inputs) == ["a", "b"] and signature.examples == [example]
    version = write_model(tmp_path / "m", model, examples=[example], **names)
    with Servable(version) as servable:
        served = servable.predict({"a": inputs[0], "b": inputs[1]})
    np.testing.assert_allclose(served["y"], model(inputs)[0], rtol=1e-5, atol=1e-6)
    assert set(served) == {"y", "z"}


def test_names_do_not_depend_on_what_was_made_before():
    def names():
        model, *_ = nameless_inputs()
        return list(signature_of(model).inputs)

    assert names() == names() == ["inputs", "inputs_1"]


def test_inputs_of_other_types_and_lengths(tmp_path):
    class Lengths(keras.Model):
        def call(self, inputs):
            return keras.ops.sum(inputs, axis=1)

    model = Lengths()
    model(np.ones((2, 5), np.int32))
    with pytest.raises(ValueError, match=r"must have the shape \(None, 5\)"):
        signature_of(model, examples=[{"inputs": [[1.0, 2.0]]}])
    given = tf.TensorSpec((None, None), tf.int32, name="numbers")
    version = write_model(tmp_path / "m", model, inputs=given)
    with Servable(version) as servable:
        answer = servable.predict({"numbers": np.array([[2, 3, 5], [7, 11, 13]], np.int32)})
    assert answer["outputs"].tolist() == [10, 31] and answer["outputs"].dtype == np.int32


@pytest.mark.parametrize("fails", [False, True])
def test_recurrent_layers_run_without_cudnn_and_keep_their_own_choice(monkeypatch, fails):
    seen = []
    call = layers.LSTM.call

    def spy(self, *arguments, **options):
        seen.append(self.use_cudnn)
        if fails and len(seen) > 1:
            raise RuntimeError("no such step")
        return call(self, *arguments, **options)

    given = keras.Input((5, 3), name="x")
    always = layers.LSTM(2, return_sequences=True)
    hidden = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(always(given))
    model = keras.Model(given, keras.Sequential([layers.LSTM(2)])(hidden))
    always.use_cudnn = True
    recurrent = [layer for layer in model._flatten_layers() if isinstance(layer, layers.LSTM)]
    before = [layer.use_cudnn for layer in recurrent]
    assert set(before) == {True, "auto"} and len(before) == 4
    monkeypatch.setattr(layers.LSTM, "call", spy)
    signature = signature_of(model)
    if fails:
        with pytest.raises(RuntimeError, match="no such step"):
            signature.trace()
    else:
        signature.trace()
    assert set(seen) == {False} and len(seen) == (2 if fails else 4)
    assert [layer.use_cudnn for layer in recurrent] == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_names": ["a"]}, r"`input_names` must be 2 names, all different. Received: \['a'"),
        ({"output_names": ["a", "a"]}, r"`output_names` must be 2 names, all different. Received"),
        ({"input_names": ["a", "B"]}, "Input names must match .*Received: 'B'"),
    ],
)
def test_names_that_do_not_fit(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        write_model(tmp_path / "m", two_inputs()[0], **options)
    assert os.listdir(tmp_path) == []


def test_a_model_that_cannot_be_served():
    with pytest.raises(ValueError, match="`model` must be a keras.Model. Received: 3"):
        signature_of(3)
    with pytest.raises(ValueError, match="`model` must be built: call it .*Received: doubled"):
        signature_of(Doubled())
    fixed = keras.Input(batch_shape=(2, 3), name="x")
    with pytest.raises(ValueError, match="`x` must have the batch as its leading axis"):
        signature_of(keras.Model(fixed, layers.Dense(2)(fixed)))
    sparse = keras.Input((3,), sparse=True, name="x")
    with pytest.raises(ValueError, match="Input `x` must be a dense tensor. Received: a sparse"):
        signature_of(keras.Model(sparse, layers.Dense(2)(sparse)))
    given = keras.Input((None,), name="x")
    with pytest.raises(ValueError, match="`examples` must be given, as the model fails on zeros. "):
        signature_of(keras.Model(given, layers.Reshape((5, 7))(given)))


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        (lambda x: tf.py_function(np.sort, [x], tf.float32), "EagerPyFunc"),
        (lambda x: tf.numpy_function(np.sort, [x], tf.float32), "PyFunc"),
        (lambda x: tf.numpy_function(np.sort, [x], tf.float32, stateful=False), "PyFuncStateless"),
    ],
)
def test_python_is_refused(tmp_path, call, operation):
    signature = Signature(lambda x: {"y": call(x)}, {"x": spec(tf.float32)}, [{"x": [2.0]}])
    with pytest.raises(ValueError, match=f"must not call Python, .*Received: {operation}[.]"):
        write(tmp_path / "m", {"serving_default": signature})
    assert os.listdir(tmp_path) == []


def test_the_command_writes_the_next_version(tmp_path, capfd):
    for make in (masked_lstm, attention, subclassed_with_training):
        model, inputs, names, (*_, last) = make()
        model.save(tmp_path / "a.keras")
        base = tmp_path / "exports" / make.__name__
        for number in ("1", "2"):
            capfd.readouterr()
            arguments = ["--to", str(base), "--batch-sizes", "1", "2"]
            assert main(["model", str(tmp_path / "a.keras"), *arguments]) == 0
            assert capfd.readouterr() == (f"{base / number}\n", "")
        assert "CudnnRNNV3" not in op_names(read_meta_graph(base / number))
        with Servable(base / number) as servable:
            served = servable.predict(dict(zip(names, inputs, strict=True)))
        answer = model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
        expected = answer[last] if isinstance(answer, dict) else answer
        np.testing.assert_allclose(served[last], expected, rtol=1e-5, atol=1e-6)


def test_the_command_imports_layers_of_ones_own(tmp_path, monkeypatch, capfd):
    (tmp_path / "layers_of_mine.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('mine')\n"
        "class Thrice(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x * 3.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import layers_of_mine

    path = tmp_path / "mine.keras"
    keras.Sequential([keras.Input((3,)), layers_of_mine.Thrice()]).save(path)
    command = ["model", str(path), "--to", str(tmp_path / "m")]
    assert main([*command, "--import", "layers_of_mine"]) == 0
    assert main([*command, "--import", "layers_of_nobody"]) == 2
    assert "--import layers_of_nobody: No module named" in capfd.readouterr().err
    keras.saving.get_custom_objects().pop("mine>Thrice")
    assert main(command) == 2
    told = capfd.readouterr().err
    assert "mine.keras: cannot be loaded. Could not locate class 'Thrice'." in told
    assert told.count("\n") == 1 and not (tmp_path / "m" / "2").exists()


def test_a_mistake_is_one_line_and_code_2(tmp_path, capfd):
    absent, text, lone = (tmp_path / name for name in ("absent.keras", "text.keras", "lone.keras"))
    text.write_text("no model")
    with zipfile.ZipFile(lone, "w") as file:
        file.writestr("note.txt", "no model either")
    wise, unsafe, fixed = (tmp_path / name for name in ("a.keras", "b.keras", "c.keras"))
    dense()[0].save(wise)
    keras.Sequential([keras.Input((3,)), layers.Lambda(lambda x: x + 1)]).save(unsafe)
    pair = keras.Input(batch_shape=(2, 3), name="x")
    keras.Model(pair, layers.Dense(2)(pair)).save(fixed)
    to = str(tmp_path / "m")
    for arguments, words in (
        ([absent, "--to", to], "absent.keras: expected a .keras file. Received: no such file."),
        ([tmp_path, "--to", to], "expected a .keras file. Received: no such file."),
        ([text, "--to", to], "text.keras: expected a .keras file, as `model.save` writes it."),
        ([lone, "--to", to], "lone.keras: cannot be loaded. "),
        ([unsafe, "--to", to], "b.keras: cannot be loaded. .*(unsafe|safe_mode|lambda)"),
        ([fixed, "--to", to], "c.keras: Input `x` must have the batch as its leading axis"),
        ([wise, "--to", text / "m"], "Not a directory: "),
        ([wise, "--to", to, "--batch-sizes", "2", "1"], "a.keras: `batch_sizes` must rise"),
    ):
        capfd.readouterr()
        assert main(["model", *map(str, arguments)]) == 2
        out, error = capfd.readouterr()
        assert error.startswith("python -m export: ") and re.search(words, error), error
        assert out == "" and error.count("\n") == 1
    assert not (tmp_path / "m").exists()
