"""The whole road on small data: train, look, export, serve, ask, and mistakes on the way."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from applications import cli
from applications.training import run, text
from applications.translation.config import TranslationExport
from applications.translation.data import Facts
from applications.translation.served import _examples
from applications.translation.train import TASK
from applications.translation.translate import Translate
from export import Client, DevServer, ServingError, check_parity
from export.warmup import read_warmup

AWKWARD = [
    b"",
    b"   ",
    b"\xff\xfe\x80",
    b"3. November 2026",
    "\u0416\u0436 \U0001f600 3".encode(),
    b"7 " * 500,
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder, made by the command line."""
    folder = tmp_path_factory.mktemp("translation") / "run"
    status = cli.main(
        ["train", "translation", "--run-dir", str(folder), "--epochs", "1"]
        + ["--num-examples", "640", "--batch-size", "64", "--units", "16"]
        + ["--embedding-units", "8", "--average", "0.9"]
    )
    assert status == 0
    return folder


@pytest.fixture(scope="module")
def exported(trained):
    """The folder of exported models."""
    exports = trained.parent / "exports"
    arguments = ["--to", str(exports), "--max-length", "20", "--num-translations", "2"]
    assert cli.main(["export", str(trained), *arguments]) == 0
    return exports


@pytest.fixture(scope="module")
def server(exported):
    with DevServer(exported, grpc_port=0, rest_port=0) as running:
        yield running


def translate(folder, **options):
    loaded = run.load(TASK, folder)
    return Translate(loaded.model, loaded.facts, TranslationExport(**options))


def test_a_run_leaves_all_it_should(trained):
    metrics = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))
    assert {"bleu", "bleu_signature", "chrf", "exact_match"} <= set(metrics["metrics"])
    assert metrics["config"]["data"] == "dates"
    for name in ("config.json", "model.keras", "history.csv", "figures/alignments.html"):
        assert (trained / name).is_file(), name


def ask(server, signature, **inputs):
    with Client(f"127.0.0.1:{server.grpc_port}", "translation", timeout=120.0) as client:
        return client.predict(inputs, signature=signature)


SENTENCES = ["3 November 2026", "", "Donnerstag, 1. Mai 1990"]


def test_tokens_are_translated_as_their_sentences_are_whatever_stands_behind_them(trained, server):
    facts = run.load(TASK, trained).facts
    ids = facts.source.encode(tf.constant(SENTENCES))[:, :20]
    padded = ids.to_tensor(7, shape=(None, 30)).numpy()  # more than there is, of a real token
    found = ask(server, "tokens", ids=padded, lengths=ids.row_lengths().numpy())
    expected = ask(server, None, sentences=SENTENCES)
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=1e-5)
    np.testing.assert_array_equal(found["lengths"], expected["target_lengths"])
    np.testing.assert_allclose(found["weights"], expected["weights"], atol=1e-6)


@pytest.mark.parametrize(
    ("ids", "lengths", "words"),
    [
        ([[5]], [2], "Expected lengths within ids"),
        ([[5]], [-1], "Expected lengths of at least 0"),
        ([[-5]], [1], "Expected ids of at least 0"),
        ([[10**6]], [1], "Expected ids below"),
    ],
)
def test_tokens_that_cannot_be_are_refused(server, ids, lengths, words):
    with pytest.raises(ServingError, match=words) as caught:
        ask(server, "tokens", ids=ids, lengths=lengths)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_translation_is_scored_as_the_search_scored_it(trained, exported, tmp_path):
    """Without a length penalty, of translations that ended by themselves."""
    arguments = ["--to", str(tmp_path), "--length-penalty", "0", "--max-length", "40"]
    assert cli.main(["export", str(trained), *arguments]) == 0
    with DevServer(tmp_path, grpc_port=0, rest_port=0) as server:
        sentences = ["3 November 2026", "Donnerstag, 1. Mai 1990", "12/3/99"]
        found = ask(server, None, sentences=sentences)
        ended = found["target_lengths"][:, 0] < 40
        best = found["translations"][:, 0]
        scored = ask(server, "score", sentences=sentences, translations=best)
    assert ended.any()
    np.testing.assert_allclose(scored["scores"][ended], found["scores"][ended, 0], rtol=1e-4)
    np.testing.assert_allclose(scored["scores"], scored["log_probabilities"].sum(axis=1), rtol=1e-5)
    assert (scored["target_lengths"][ended] == found["target_lengths"][ended, 0] + 1).all()


def test_annotations_do_not_depend_on_the_sentences_beside(server):
    together = ask(server, "encode", sentences=SENTENCES)
    for row, sentence in enumerate(SENTENCES):
        alone = ask(server, "encode", sentences=[sentence])
        length = alone["source_lengths"][0]
        np.testing.assert_allclose(
            together["annotations"][row, :length], alone["annotations"][0], atol=1e-5
        )
        assert not together["annotations"][row, length:].any()


def test_the_served_model_answers_as_the_keras_model_does(trained, server):
    sentences = [pair.source for pair in run.load_datasets(run.load(TASK, trained)).examples.test]
    ours = translate(trained, max_length=20, num_translations=2).run(tf.constant(sentences[:100]))
    with Client(f"127.0.0.1:{server.grpc_port}", "translation") as client:
        theirs = client.predict({"sentences": sentences[:100]})
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        if value.dtype == tf.string or value.dtype.is_integer:
            np.testing.assert_array_equal(theirs[name], value.numpy(), err_msg=name)
        else:
            np.testing.assert_allclose(theirs[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_export_and_keras_agree_on_the_warm_up_requests(trained, exported):
    loaded = run.load(TASK, trained)
    options = TranslationExport(max_length=20, num_translations=2)
    signatures = TASK.signatures(loaded.model, loaded.facts, loaded.config, options).signatures
    check_parity(exported / "translation" / "1", signatures)


def test_warm_up_covers_lengths_and_batches(trained, exported):
    requests = [log.predict_log.request for log in read_warmup(exported / "translation" / "1")]
    asked = [
        tf.make_ndarray(request.inputs["sentences"])
        for request in requests
        if request.model_spec.signature_name == "serving_default"
    ]
    source = run.load(TASK, trained).facts.source
    shapes = [
        (len(rows), int(source.encode(tf.constant(rows)).row_lengths()[0]))
        for rows in asked
        if len(set(rows)) == 1
    ]
    lengths, sizes = (1, 2, 4, 8, 16, 20), (1, 2, 4, 8, 16, 32)
    assert shapes == [*((size, length) for length in lengths for size in sizes), (2, 0)]
    assert len(asked) == 38 and sorted(map(len, asked[-1])) == [0, 5, 10, 20]


@pytest.mark.parametrize("kind", ["words", "subwords"])
def test_a_sentence_of_so_many_tokens_is_read_as_so_many(kind):
    if kind == "subwords":
        pytest.importorskip("tensorflow_text", reason="subwords need tensorflow-text")
    tokenizer = text.train(kind, ["(a dog, runs)", "two dogs", "the cat's"] * 9, 40, False)
    facts = Facts(tokenizer, tokenizer)
    *single, empty, mixed = _examples(facts, TranslationExport(max_length=60))
    read = [tokenizer.encode(tf.constant(each)).row_lengths().numpy().tolist() for each in single]
    assert read == [[1], [2], [4], [8], [16], [32], [60]]
    assert empty == ["", ""] and mixed[-1] == ""


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_awkward_sentences_are_answered(server, protocol):
    port = server.grpc_port if protocol == "grpc" else server.rest_port
    with Client(f"127.0.0.1:{port}", "translation", protocol=protocol) as client:
        answer = client.predict({"sentences": np.array(AWKWARD, object)})
        alone = [client.predict({"sentences": np.array([each], object)}) for each in AWKWARD]
    assert answer["translations"].shape == (6, 2)
    assert answer["translations"][:2].tolist() == [[b"", b""], [b"", b""]]
    assert answer["source_lengths"].tolist()[:2] == [1, 1]
    assert answer["source_lengths"][5] == 21  # cut at the limit, and the end token
    assert (answer["target_lengths"] <= 20).all()
    for row, single in enumerate(alone):
        assert single["translations"][0].tolist() == answer["translations"][row].tolist()
    for translation in answer["translations"].ravel():
        translation.decode("utf-8")


def test_a_batch_of_256_is_answered(server):
    with Client(f"127.0.0.1:{server.grpc_port}", "translation") as client:
        answer = client.predict({"sentences": ["3. November 2026"] * 256})
    assert answer["translations"].shape == (256, 2)
    assert len(set(answer["translations"][:, 0])) == 1


def test_weights_cover_source_and_target_tokens(server):
    with Client(f"127.0.0.1:{server.grpc_port}", "translation") as client:
        answer = client.predict({"sentences": ["3. November 2026", "4 de mayo de 1987"]})
    assert answer["weights"].shape == (
        *answer["target_tokens"].shape,
        *answer["source_tokens"].shape[1:],
    )
    for row in range(2):
        length = answer["target_lengths"][row, 0]
        np.testing.assert_allclose(answer["weights"][row, 0, :length].sum(-1), 1.0, atol=1e-4)
        assert not answer["weights"][row, 0, length:].any()


def test_predict_answers_line_by_line(trained):
    loaded = run.load(TASK, trained)
    answers = TASK.predict(loaded.model, loaded.facts, loaded.config, ["", "3. November 2026"])
    first, second = list(answers)
    assert first == "" and isinstance(second, str)


def test_without_attention_there_are_no_weights(tmp_path):
    folder, exports = tmp_path / "run", tmp_path / "exports"
    arguments = ["--run-dir", str(folder), "--epochs", "1", "--num-examples", "128"]
    small = ["--units", "8", "--embedding-units", "4", "--batch-size", "32"]
    status = cli.main(["train", "translation", *arguments, *small, "--attention", "none"])
    assert status == 0
    assert "alignment_error_rate" not in (folder / "metrics.json").read_text(encoding="utf-8")
    assert cli.main(["export", str(folder), "--to", str(exports)]) == 0
    with DevServer(exports, grpc_port=0, rest_port=0) as running:
        with Client(f"127.0.0.1:{running.grpc_port}", "translation") as client:
            assert "weights" not in client.predict({"sentences": ["3. November 2026"]})


def test_it_is_for_tensorflow_serving_only(trained, tmp_path, capfd):
    capfd.readouterr()
    assert cli.main(["export", str(trained), "--to", str(tmp_path), "--format", "onnx"]) == 2
    err = capfd.readouterr().err
    assert (
        "translation is exported for TensorFlow Serving only: tf2onnx does not convert the loop"
        in err
    )
    assert err.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_mistakes_are_one_line(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bad.tsv").write_text("a\tb\nno tab\n", encoding="utf-8")
    files = [f"--{part}-files=bad.tsv" for part in ("train", "validation", "test")]
    for arguments, words in (
        (["--data", "files", *files], "bad.tsv:2: expected 2 columns"),
        (["--preset", "multi30k", "--data-dir", "nowhere"], "nowhere: no such folder"),
        (["--beam-with", "3"], "--beam-with"),
        (["--attention", "hard"], "--attention"),
    ):
        capfd.readouterr()
        assert cli.main(["train", "translation", *arguments]) == 2
        err = capfd.readouterr().err
        assert words in err and err.count("\n") == 1
    assert not Path("runs/translation/config.json").exists()
