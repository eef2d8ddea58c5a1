import errno
import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import ServingError, Signature, check_parity, write
from export import saved_model as saved_model_module
from export.dev_server.servable import Servable
from export.graph import op_names, read_meta_graph
from tests.export.conftest import half_plus_two, half_signature, spec, vocabulary, words_signatures


def children(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_versions_count_up_from_the_highest_number(tmp_path):
    base = tmp_path / "deep" / "model"
    signatures = {"serving_default": half_signature()}
    assert write(base, signatures) == base / "1"
    (base / "0041").mkdir()
    (base / "v99").mkdir()
    (base / "42").write_text("a file in the way")
    assert write(base, signatures) == base / "43"
    assert children(base) == ["0041", "1", "42", "43", "v99"]


def test_a_version_is_readable_by_others_and_holds_assets(tmp_path):
    card = tmp_path / "card.txt"
    card.write_text("half")
    version = write(
        tmp_path / "m",
        {"serving_default": half_signature()},
        assets={
            "card.txt": card,
            "facts/size.txt": b"2",
            "made.txt": lambda folder: str(sorted(read_meta_graph(folder).signature_def)).encode(),
        },
    )
    umask = os.umask(0)
    os.umask(umask)
    assert version.stat().st_mode & 0o777 == 0o777 & ~umask
    assert (version / "assets.extra/card.txt").read_text() == "half"
    assert (version / "assets.extra/facts/size.txt").read_bytes() == b"2"
    assert "serving_default" in (version / "assets.extra/made.txt").read_text()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", "tf_serving_warmup_requests"])
def test_an_asset_outside_its_folder_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="The name of an asset must be a relative path.*Received"):
        write(tmp_path / "m", {"serving_default": half_signature()}, assets={name: b""})
    assert children(tmp_path) == []


@pytest.mark.parametrize(
    ("signatures", "words"),
    [
        ({"translate": half_signature()}, r"must be named 'serving_default'.*\['translate'\]"),
        ({"serving_default": half_plus_two}, "`serving_default` must be a Signature. Received"),
        (
            {"serving_default": half_signature(), "B-2": half_signature()},
            "Signature names must match .*Received: 'B-2'",
        ),
    ],
)
def test_signatures_are_checked_before_anything_is_written(tmp_path, signatures, words):
    with pytest.raises(ValueError, match=words):
        write(tmp_path / "m", signatures)
    assert children(tmp_path) == []


def test_a_function_that_fails_leaves_nothing(tmp_path):
    def fails(x):
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        write(tmp_path / "m", {"serving_default": Signature(fails, {"x": spec(tf.float32)})})
    assert children(tmp_path) == []


def test_an_example_that_fails_leaves_nothing(tmp_path):
    picky = Signature(
        lambda x: {"y": tf.debugging.check_numerics(x, "not finite")},
        {"x": spec(tf.float32)},
        [{"x": [1.0]}, {"x": [np.nan]}],
    )
    with pytest.raises(ServingError, match="warm-up record 1: .*not finite") as caught:
        write(tmp_path / "m", {"serving_default": picky})
    assert caught.value.code == "INVALID_ARGUMENT"
    assert children(tmp_path) == []


@pytest.mark.parametrize("step", ["_save", "write_warmup", "_flush"])
def test_a_full_disk_leaves_the_older_version_alone(tmp_path, monkeypatch, step):
    signatures = {"serving_default": half_signature()}
    write(tmp_path / "m", signatures)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saved_model_module, step, full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "m", signatures)
    assert children(tmp_path / "m") == ["1"]


def test_the_name_appears_only_when_all_is_there(tmp_path, monkeypatch):
    seen = []
    flush = saved_model_module._flush
    monkeypatch.setattr(
        saved_model_module,
        "_flush",
        lambda folder: (seen.append(children(tmp_path / "m")), flush(folder)),
    )
    version = write(tmp_path / "m", {"serving_default": half_signature()})
    assert len(seen[0][0]) > 1 and not any(name.isdigit() for name in seen[0])
    assert children(tmp_path / "m") == [version.name]


@pytest.mark.parametrize("nested", [False, True])
def test_a_function_compiled_by_xla_is_refused(tmp_path, nested):
    compiled = tf.function(lambda x: x * 3.0, jit_compile=True)
    function = (
        (lambda x: {"y": tf.cond(x[0] > 0, lambda: compiled(x), lambda: x)})
        if nested
        else (lambda x: {"y": compiled(x)})
    )
    with pytest.raises(ValueError, match="jit_compile=True: .*XLA compilation disabled.*Received"):
        write(tmp_path / "m", {"serving_default": Signature(function, {"x": spec(tf.float32)})})
    assert children(tmp_path) == []


def test_a_compiled_keras_model_is_written_without_xla(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)])
    model.compile("sgd", "mse", jit_compile=True)
    model.fit(np.ones((2, 3)), np.ones((2, 5)), verbose=0)
    signatures = {
        "serving_default": Signature(
            lambda x: {"y": model(x)}, {"x": spec(tf.float32, 3)}, [{"x": [[1.0, 2.0, 5.0]]}]
        )
    }
    version = write(tmp_path / "m", signatures, resources=[model])
    check_parity(version, signatures)


def test_tables_travel_with_the_model(tmp_path):
    table = vocabulary()
    signatures = words_signatures(table)
    version = write(tmp_path / "m", signatures, resources=[table])
    check_parity(version, signatures)
    with Servable(version) as servable:
        words = np.array([["dog", "cow"]], object)
        assert servable.predict({"words": words})["ids"].tolist() == [[5, -1]]


def test_a_table_that_is_no_resource_is_named(tmp_path):
    signatures = words_signatures(vocabulary())
    with pytest.raises(ValueError, match="`resources` must list .*Received: .*StaticHashTable"):
        write(tmp_path / "m", signatures)
    assert children(tmp_path) == []


def test_vocabulary_files_travel_with_the_model(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("cat\ndog\n")
    layer = keras.layers.StringLookup(vocabulary=str(file))
    signatures = {
        "serving_default": Signature(
            lambda words: {"ids": layer(words)}, {"words": spec(tf.string)}, [{"words": ["dog"]}]
        )
    }
    version = write(tmp_path / "m", signatures, resources=[layer])
    file.unlink()
    check_parity(version, signatures)


def test_subword_tokenizers_travel_with_the_model(tmp_path):
    text = pytest.importorskip("tensorflow_text")
    sentencepiece = pytest.importorskip("sentencepiece")
    prefix = tmp_path / "pieces"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a dog sleeps", "two dogs run", "a cat runs"] * 5),
        model_prefix=str(prefix),
        vocab_size=30,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    tokenizer = text.SentencepieceTokenizer(prefix.with_suffix(".model").read_bytes())

    def roundtrip(text):
        ids = tokenizer.tokenize(text)
        return {"text": tokenizer.detokenize(ids), "length": ids.row_lengths()}

    signatures = {
        "serving_default": Signature(
            roundtrip, {"text": spec(tf.string)}, [{"text": ["a dog runs", ""]}]
        )
    }
    version = write(tmp_path / "m", signatures, resources=[tokenizer])
    check_parity(version, signatures)
    assert "SentencepieceOp" in op_names(read_meta_graph(version))
    with Servable(version) as servable:
        answer = servable.predict({"text": np.array([b"two dogs"], object)})
    assert answer["text"].tolist() == [b"two dogs"]


def test_parity_finds_a_difference(tmp_path):
    version = write(tmp_path / "m", {"serving_default": half_signature()})
    other = Signature(lambda x: {"y": x}, {"x": spec(tf.float32)}, [{"x": [2.0, 5.0]}])
    with pytest.raises(ValueError, match="`y` of signature `serving_default`, example 0: .*off by"):
        check_parity(version, {"serving_default": other})
    shorter = Signature(lambda x: {"y": x[:1]}, {"x": spec(tf.float32)}, [{"x": [2.0, 5.0]}])
    with pytest.raises(ValueError, match=r"expected the shape \(1,\). Received: \(2,\)"):
        check_parity(version, {"serving_default": shorter})
