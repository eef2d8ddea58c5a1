"""What is told of a SavedModel: its tensors, and the server that it needs."""

import pytest
import tensorflow as tf

from export import ExportError, Signature, describe, write
from tests.export.conftest import spec


def test_every_signature_is_told_with_its_tensors(exports):
    told = describe(exports / "words" / "1")
    start = told.index("### `serving_default`")
    assert told[start : told.index("## Server")].splitlines() == [
        "### `serving_default`",
        "",
        "| | name | type | shape |",
        "|---|---|---|---|",
        "| input | `words` | string | (?, ?) |",
        "| output | `copy` | string | (?, ?) |",
        "| output | `copy_bytes` | string | (?, ?) |",
        "| output | `ids` | int64 | (?, ?) |",
        "",
    ]
    assert [line for line in told.splitlines() if line.startswith("### ")] == [
        "### `check`", "### `count`", "### `describe`", "### `serving_default`"
    ]  # fmt: skip
    assert "| input | `precise` | float64 | (?,) |" in told
    assert "| output | `y` | float32 | (?, 3) |" in told
    assert "__saved_model_init_op" not in told


def test_the_server_is_that_of_the_tensorflow_that_wrote_it(exports):
    told = describe(exports / "half_plus_two" / "123")
    release = ".".join(tf.__version__.split(".")[:2])
    assert f"Written by TensorFlow {tf.__version__}. TensorFlow Serving {release} or newer" in told
    assert "It needs no operations of tensorflow-text." in told


def test_operations_of_tensorflow_text_are_named(tmp_path):
    text = pytest.importorskip("tensorflow_text")
    signature = Signature(
        lambda text_: {"text": text.normalize_utf8(text_, "NFC")}, {"text_": spec(tf.string)}
    )
    told = describe(write(tmp_path / "m", {"serving_default": signature}))
    assert "It needs operations of tensorflow-text: NormalizeUTF8. TensorFlow Serving" in told
    assert "so 2.20 is the least" in told


def test_a_rank_that_is_not_known_is_any(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.float32, "x")])
    def cut(x):
        return {"y": tf.reshape(x, tf.shape(x)[: tf.cast(x[0, 0], tf.int32)])}

    tf.saved_model.save(tf.Module(), str(tmp_path), {"serving_default": cut})
    assert "| output | `y` | float32 | any |" in describe(tmp_path)


def test_a_folder_without_a_model_is_told(tmp_path):
    with pytest.raises(ExportError, match="expected a SavedModel. Received: no saved_model.pb"):
        describe(tmp_path)
