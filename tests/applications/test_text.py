"""Tokenizers: what is encoded comes back, whatever bytes come in."""

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from applications.training import text

SENTENCES = [
    "Two dogs run, fast!",
    "A dog (brown) runs.",
    "the dog's well-known tail",
    "Zwei Hunde; Ärger über Ölflecken?",
    "日本語 と English",
] * 20

KINDS = ("words", "characters", "subwords")


def tokenizer(kind, lowercase=False, size=200):
    if kind == "subwords":
        pytest.importorskip("tensorflow_text", reason="subwords need tensorflow-text")
    return text.train(kind, SENTENCES, size, lowercase)


def round_trip(tokenizer, sentence):
    return (
        tokenizer.decode(tokenizer.encode(tf.constant([sentence])).to_tensor()).numpy()[0].decode()
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sentence", SENTENCES[:5])
def test_a_known_sentence_comes_back(kind, sentence):
    assert round_trip(tokenizer(kind), sentence) == sentence


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_encodes_alike(kind, tmp_path):
    before = tokenizer(kind, lowercase=True)
    before.save(tmp_path, "source")
    after = text.load(tmp_path, "source")
    assert after.size == before.size
    for sentence in SENTENCES[:5]:
        ids = [each.encode(tf.constant([sentence])).to_list() for each in (before, after)]
        assert ids[0] == ids[1]


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_repeatable_and_bounded(kind):
    first, second = tokenizer(kind, size=60), tokenizer(kind, size=60)
    assert first.size == second.size <= 60
    ids = tf.range(first.size)
    np.testing.assert_array_equal(first.tokens(ids), second.tokens(ids))


@pytest.mark.parametrize("kind", KINDS)
def test_special_ids_mean_the_same_in_all(kind):
    shown = tokenizer(kind).tokens(tf.constant([[text.PAD, text.START, text.END]])).numpy()
    assert shown.tolist() == [[b"", b"<s>", b"</s>"]]


@pytest.mark.parametrize("kind", KINDS)
def test_special_ids_are_not_decoded(kind):
    trained = tokenizer(kind)
    ids = trained.encode(tf.constant(["Two dogs run, fast!"])).to_tensor()
    around = tf.concat([[[text.START]], ids, [[text.END, text.PAD, text.PAD]]], axis=1)
    assert trained.decode(around).numpy()[0] == b"Two dogs run, fast!"


@pytest.mark.parametrize("kind", ("words", "characters"))
def test_unknown_tokens_become_the_unknown_id(kind):
    ids = tokenizer(kind).encode(tf.constant(["Ж"])).to_list()
    assert ids == [[text.UNKNOWN]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blank", ["", "   ", "\t\n"])
def test_nothing_encodes_to_nothing(kind, blank):
    assert tokenizer(kind).encode(tf.constant([blank])).to_list() == [[]]


@pytest.mark.parametrize("kind", KINDS)
def test_any_bytes_are_encoded_and_decoded_as_utf8(kind):
    trained = tokenizer(kind)

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=20))
    def check(data):
        decoded = trained.decode(trained.encode(tf.constant([data])).to_tensor()).numpy()[0]
        decoded.decode("utf-8")

    check()


def test_lower_case_is_unicode():
    assert text.clean(tf.constant(["  ÄRGER İ "]), lowercase=True).numpy()[0].decode() == "ärger i̇"


def test_a_vocabulary_holds_the_most_frequent_tokens_first():
    trained = text.VocabularyTokenizer.train("words", ["b b b a a c"], size=6, lowercase=False)
    assert trained.vocabulary == ["b", "a"]


def test_a_saved_vocabulary_is_readable(tmp_path):
    tokenizer("words").save(tmp_path, "target")
    document = json.loads((tmp_path / "target.json").read_text(encoding="utf-8"))
    assert document["kind"] == "words" and "dog" in document["vocabulary"]


def test_merges_fail_by_chance_and_the_chance_follows_from_the_seed():
    pytest.importorskip("sentencepiece")
    sentences = [f"a sentence of several words and number {i}" for i in range(50)]
    tokenizer = text.train("subwords", sentences, 120, lowercase=True)
    one, again, other = (tokenizer.sample(sentences, 0.3, seed) for seed in (1, 1, 2))
    assert one == again != other
    whole = tokenizer.encode(tf.constant(sentences)).to_list()
    assert tokenizer.sample(sentences, 0.0, 1) == whole
    assert sum(map(len, one)) > sum(map(len, whole))
    padded = tf.ragged.constant(one, dtype=tf.int32).to_tensor(text.PAD)
    assert [line.decode() for line in tokenizer.decode(padded).numpy()] == sentences
