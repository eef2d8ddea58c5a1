"""Sentence pairs become batches."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from applications.training import config as saved
from applications.training import text
from applications.training.data import epoch_counter
from applications.training.errors import DataError, UserError
from applications.translation import data
from applications.translation.config import PRESETS, SOURCES, TranslationConfig
from applications.translation.encoded import Most

WORDS = "one two three four five six seven".split()
PAIRS = [(" ".join(WORDS[: 1 + i % 7]), " ".join(reversed(WORDS[: 1 + i % 7]))) for i in range(53)]


@pytest.fixture
def files(tmp_path):
    """A TSV, and a config that reads it for everything."""
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    return TranslationConfig(
        data="files",
        train_files=(path,),
        validation_files=(path,),
        test_files=(path,),
        batch_size=5,
    )


def batches(dataset):
    return [(inputs["source"].numpy(), labels.numpy()) for inputs, labels, _ in dataset]


def test_a_batch_holds_what_it_should(files):
    read = data.datasets(files, epoch_counter())
    inputs, labels, weights = next(iter(read.validation))
    source, target = read.facts.source, read.facts.target
    assert source.tokens(inputs["source"][2]).numpy().tolist() == [
        b"one", b"two", b"three", b"</s>", b"", b""
    ]  # fmt: skip
    assert inputs["source_lengths"].numpy().tolist() == [2, 3, 4, 5, 6]
    assert target.tokens(inputs["target"][2, :4]).numpy().tolist() == [
        b"<s>", b"three", b"two", b"one"
    ]  # fmt: skip
    assert target.tokens(labels[2, :4]).numpy().tolist() == [b"three", b"two", b"one", b"</s>"]
    assert weights.numpy().sum(axis=1).tolist() == [2, 3, 4, 5, 6]
    np.testing.assert_array_equal(weights > 0, labels != text.PAD)


def test_validation_holds_every_pair_in_order(files):
    read = data.datasets(files, epoch_counter())
    lengths = np.concatenate([inputs["source_lengths"] for inputs, _, _ in read.validation])
    assert lengths.tolist() == [2 + i % 7 for i in range(53)]


def test_training_order_follows_from_seed_and_epoch_alone(files):
    epoch = epoch_counter()
    train = data.datasets(files, epoch).train
    again = data.datasets(files, other := epoch_counter()).train
    first = batches(train)
    epoch.assign(1)
    second = batches(train)
    other.assign(1)
    for ours, theirs in zip(second, batches(again), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
    pairs = zip(first, second, strict=True)
    assert not all(np.array_equal(a[0], b[0]) for a, b in pairs)


def test_training_batches_are_full_and_of_similar_length(files):
    train = data.datasets(files, epoch_counter()).train
    read = batches(train)
    assert len(read) == train.cardinality() == 53 // 5
    assert all(len(source) == 5 for source, _ in read)
    padding = np.mean([(labels == text.PAD).mean() for _, labels in read])
    assert padding < 0.15


def test_long_training_pairs_are_left_out_and_counted(files, capsys):
    train = data.datasets(dataclasses.replace(files, max_length=4), epoch_counter()).train
    assert max(source.shape[1] for source, _ in batches(train)) <= 4
    assert "53 training pairs, of which 29 longer than 4 tokens are left out" in (
        capsys.readouterr().out
    )


def test_vocabularies_come_from_the_training_side_only(files, tmp_path):
    other = tmp_path / "other.tsv"
    other.write_text("eleven\tzwölf\n", encoding="utf-8")
    config = dataclasses.replace(files, validation_files=(other,), test_files=(other,))
    facts = data.datasets(config, epoch_counter()).facts
    assert facts.source.encode(tf.constant(["eleven"])).to_list() == [[text.UNKNOWN]]


def test_two_aligned_files_are_read_like_a_tsv(files, tmp_path):
    sides = []
    for name, column in (("a.en", 0), ("a.de", 1)):
        path = tmp_path / name
        path.write_text("".join(f"{pair[column]}\n" for pair in PAIRS), encoding="utf-8")
        sides.append(path)
    aligned = dataclasses.replace(files, train_files=tuple(sides))
    assert data.read(aligned).train == data.read(files).train


def test_dates_know_their_alignment():
    config = dataclasses.replace(PRESETS["dates"], num_examples=31)
    splits = data.read(config)
    assert len(splits.train) == 31 and len(splits.test) == data.NUM_HELD_OUT_DATES
    assert all(pair.truth.target == pair.target for pair in splits.test)


def test_multi30k_is_read_from_its_folder(tmp_path):
    for split in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de"):
            (tmp_path / f"{split}.{language}").write_text(f"{split} {language}\n", encoding="utf-8")
    config = dataclasses.replace(PRESETS["multi30k"], data_dir=tmp_path)
    assert data.read(config).validation == [data.Pair("val en", "val de")]


def test_a_tfds_translation_set_is_read():
    tfds = pytest.importorskip("tensorflow_datasets")
    import warnings

    config = TranslationConfig(data="tfds:ted_hrlr_translate/pt_to_en", languages=("pt", "en"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TFDS warns of its own mock data
        with tfds.testing.mock_data(num_examples=3):
            splits = data.read(config)
            with pytest.raises(DataError, match="expected the languages pt, de. Found: pt, en"):
                data.read(dataclasses.replace(config, languages=("pt", "de")))
    assert len(splits.train) == 3 and isinstance(splits.train[0].source, str)


def test_wmt14_becomes_batches_of_a_model_of_its_preset():
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("tensorflow_text")
    pytest.importorskip("sentencepiece")
    import warnings

    from applications.translation.model import build

    config = dataclasses.replace(PRESETS["wmt14"], embedding_units=8, units=8, strategy="none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TFDS warns of its own mock data
        with tfds.testing.mock_data(num_examples=200):
            read = data.datasets(config, epoch_counter())
    model = build(config, read.facts)
    inputs, labels, _ = next(iter(read.train))
    assert len(labels) * max(inputs["source"].shape[1], labels.shape[1]) <= 8192
    assert model(inputs).shape[:2] == labels.shape


def test_an_unknown_tfds_set_is_named():
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(DataError, match="tfds:no_such_set"):
        data.read(TranslationConfig(data="tfds:no_such_set"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "files"}, "--data files needs --train-files"),
        ({"data": "multi30k"}, "--data multi30k needs --data-dir"),
        ({"data": "cmudict"}, "--data cmudict needs --data-dir, the folder of cmudict.dict"),
        ({"data": "tatoeba"}, "--data must be dates, multi30k, cmudict, files or tfds:NAME"),
        ({"dropout": 1.0}, r"--dropout must be in \[0, 1\)"),
        ({"chunk": 3}, "--chunk needs --attention mocha, not additive. Received: 3"),
        ({"attention": "milk", "chunk": 1}, "--chunk needs --attention mocha, not milk. Received"),
        ({"attention": "mocha", "chunk": 0}, "--chunk must be at least 1. Received: 0"),
        (
            {"attention": "none", "initial_bias": 0.0},
            "--initial-bias needs --attention monotonic or mocha or milk, not none. Received: 0.0",
        ),
        (
            {"pre_sigmoid_noise": (1.0, 1.0)},
            "--pre-sigmoid-noise needs --attention monotonic or mocha or milk, not additive",
        ),
        (
            {"attention": "monotonic", "pre_sigmoid_noise": (1.0, 0.0)},
            r"--pre-sigmoid-noise must be positive. Received: \(1.0, 0.0\)",
        ),
    ],
)
def test_flags_that_cannot_be(changes, words):
    with pytest.raises(UserError, match=words):
        saved.refuse_without_effect(TranslationConfig(**changes), TranslationConfig())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_kept_and_have_a_source(tmp_path, name):
    saved.save(tmp_path / "config.json", "translation", PRESETS[name])
    assert saved.load(tmp_path / "config.json", TranslationConfig) == PRESETS[name]
    assert PRESETS[name].data in SOURCES or PRESETS[name].data.startswith("tfds:")
    assert PRESETS[name].run_dir.name == name


def test_a_malformed_line_is_named(files, tmp_path):
    path = tmp_path / "bad.tsv"
    path.write_text("a\tb\nno tab here\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.tsv:2: expected 2 columns"):
        data.read(dataclasses.replace(files, train_files=(path,)))


def test_more_batch_than_data_is_refused(files):
    with pytest.raises(UserError, match="--batch-size 64 is more than the 53 training pairs"):
        data.datasets(dataclasses.replace(files, batch_size=64), epoch_counter())


def test_every_epoch_cuts_subwords_anew_and_a_resumed_one_alike(files):
    pytest.importorskip("sentencepiece")
    config = dataclasses.replace(
        files, tokens="subwords", vocabulary_size=40, subword_dropout=0.5, max_length=99
    )
    epoch = epoch_counter()
    read = data.datasets(config, epoch)

    def sentences(at):
        epoch.assign(at)
        return sorted(
            line
            for inputs, _, _ in read.train
            for line in read.facts.source.decode(inputs["source"]).numpy().tolist()
        ), [inputs["source"].numpy().tolist() for inputs, _, _ in read.train]

    (texts, first), (other_texts, second), (_, again) = sentences(0), sentences(1), sentences(0)
    assert first == again
    assert sum(map(len, first)) == sum(map(len, second)) and first != second
    assert set(texts) | set(other_texts) <= {source.encode() for source, _ in PAIRS}


def test_subword_dropout_needs_subwords(files):
    with pytest.raises(UserError, match="--subword-dropout needs --tokens subwords, not words"):
        dataclasses.replace(files, subword_dropout=0.1)
    with pytest.raises(UserError, match="--subword-dropout needs --target-tokens subwords, not ch"):
        dataclasses.replace(
            files, subword_dropout=0.1, tokens="subwords", target_tokens="characters"
        )


def token_counts(dataset):
    """Tokens of the longer side of each batch, with padding, and its pairs."""
    found = []
    for inputs, labels, _ in dataset:
        size = len(labels)
        found.append((size * max(inputs["source"].shape[1], labels.shape[1]), size))
    return found


def test_batches_of_so_many_tokens_lose_no_pair(files):
    config = dataclasses.replace(files, tokens_per_batch=24, batch_size=7, max_length=8)
    epoch = epoch_counter()
    read = data.datasets(config, epoch)
    orders = []
    for at in (0, 1, 1):
        epoch.assign(at)
        found = token_counts(read.train)
        assert len(found) == read.train.cardinality()
        assert sum(size for _, size in found) == 53
        assert max(tokens for tokens, _ in found) <= 24 and max(size for _, size in found) == 7
        orders.append(batches(read.train))
    for ours, theirs in zip(orders[1], orders[2], strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
    assert [len(each[0]) for each in orders[0]] != [len(each[0]) for each in orders[1]]
    assert max(tokens for tokens, _ in token_counts(read.validation)) <= 24
    assert sum(size for _, size in token_counts(read.validation)) == 53
    assert read.amounts == {"examples": 53, "tokens": sum(2 + i % 7 for i in range(53))}


def test_batches_of_tokens_are_shared_among_devices():
    pairs = data.Encoded([np.ones(1 + i % 7, np.int32) for i in range(53)], [np.ones(3)] * 53)
    train = pairs.shuffled(Most(9, 24, multiple=3), 1, epoch_counter())
    found = token_counts(train)
    assert all(size % 3 == 0 and tokens <= 24 for tokens, size in found)
    assert sum(size for _, size in found) == 51


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (60, "must be 0 or hold a sentence of --max-length and its end, 61 tokens. Received: 60"),
        (100, "for each of the 2 devices, 122 tokens. Received: 100"),
    ],
)
def test_too_few_tokens_for_a_sentence_are_refused(files, monkeypatch, tokens, message):
    monkeypatch.setattr(data.strategy, "replicas", lambda: 2)
    with pytest.raises(UserError, match=message):
        config = dataclasses.replace(files, tokens_per_batch=tokens)
        data.datasets(config, epoch_counter())


def test_batches_of_tokens_are_as_many_in_every_epoch_of_other_subwords(files):
    pytest.importorskip("tensorflow_text")
    pytest.importorskip("sentencepiece")
    config = dataclasses.replace(
        files,
        tokens="subwords",
        vocabulary_size=40,
        subword_dropout=0.5,
        max_length=40,
        tokens_per_batch=90,
        batch_size=20,
    )
    epoch = epoch_counter()
    train = data.datasets(config, epoch).train
    pairs = []
    for at in range(3):
        epoch.assign(at)
        found = token_counts(train)
        assert len(found) == train.cardinality()
        assert max(tokens for tokens, _ in found) <= 90
        pairs.append(sum(size for _, size in found))
    assert min(pairs) > 45 and max(pairs) <= 53
