"""Questions become batches, from wherever they come."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from applications.reading import books, data, news
from applications.reading.cloze import PLACEHOLDER, Cloze
from applications.reading.config import PRESETS, ReadingConfig, ReadingExport
from applications.reading.model import build
from applications.training.data import epoch_counter
from applications.training.errors import DataError, UserError
from tests.applications.reading import book_files

CONFIG = dataclasses.replace(
    PRESETS["generated"], num_questions=50, num_held_out=15, batch_size=8, max_entities=9
)


def batches(dataset):
    return [
        (inputs["passage"], inputs["query"], answers)
        for inputs, answers in dataset.as_numpy_iterator()
    ]


def shape_of(passage, query, answer, first):
    """A question with markers numbered as they appear, so that dealing them changes nothing."""
    numbers = {}
    words = [each for each in (*passage, 0, *query) if each or each == 0]
    renamed = [
        first + numbers.setdefault(word, len(numbers)) if word >= first else word for word in words
    ]
    return tuple(each for each in renamed if each), numbers[first + answer]


def test_batches_hold_the_questions_and_every_epoch_deals_markers_anew():
    epoch = epoch_counter()
    found = data.datasets(CONFIG, epoch)
    first = found.facts.encoder().first_entity
    train = data.read(CONFIG).train
    encoded, _ = data.encode(train, found.facts.encoder())
    known = {
        shape_of(passage, query, answer, first)
        for passage, query, answer in zip(*encoded, strict=True)
    }
    assert found.train.cardinality() == 50 // 8
    seen = []
    for at in (0, 1, 0):
        epoch.assign(at)
        now = batches(found.train)
        rows = [row for batch in now for row in zip(*batch, strict=True)]
        shapes = {shape_of(*row, first) for row in rows}
        assert len(rows) == len(shapes) == 48 and shapes <= known
        assert {int(row[2]) for row in rows} == set(range(9))
        seen.append([[each.tolist() for each in batch] for batch in now])
    assert seen[0] == seen[2] != seen[1]


def test_ordered_markers_are_those_of_the_test():
    found = data.datasets(dataclasses.replace(CONFIG, entities="ordered"), epoch_counter())
    first = found.facts.encoder().first_entity
    for dataset in (found.train, found.validation, found.test):
        for passages, _, answers in batches(dataset):
            for passage, answer in zip(passages, answers, strict=True):
                markers = passage[passage >= first] - first
                _, places = np.unique(markers, return_index=True)
                assert (np.diff(places) > 0).all() and answer in markers
    assert sum(len(answers) for _, _, answers in batches(found.test)) == 15
    assert len(found.examples.told) == 15


def test_no_passage_is_on_two_sides_and_the_held_out_are_the_same_for_every_seed():
    one, other = (data.read(dataclasses.replace(CONFIG, seed=seed)) for seed in (1, 2))
    assert one[1:] == other[1:] and one.train != other.train
    passages = [{each.passage for each in part} for part in one]
    assert not (passages[0] & passages[1] or passages[0] & passages[2] or passages[1] & passages[2])
    assert [len(part) for part in one] == [50, 15, 15]


def test_facts_are_written_and_read(tmp_path):
    facts = data.datasets(CONFIG, epoch_counter()).facts
    data.save_facts(facts, tmp_path)
    assert data.load_facts(tmp_path) == facts


@pytest.mark.parametrize("has_train", [True, False])
def test_books_are_on_one_side_each(has_train, tmp_path):
    folder = book_files.write(tmp_path, train=has_train)
    parts = books.read(folder, num_sentences=5)
    answers = [{each.answer for each in part} for part in parts]
    assert answers == [
        {"@Tom", "@Mr_Fox", "@Anna", "@Old_Bear"},
        {"@Ivan", "@Miss_Owl"},
        {"@Rosa", "@King_Frog"},
    ]
    # Of each sentence that five stand before, either entity is left out.
    assert [len(part) for part in parts] == [2 * 2 * 25, 2 * 25, 2 * 25]
    question = parts[2][0]
    assert question.passage.count("pond") == 5 and question.passage.count("@Rosa") == 5
    assert question.query == (
        f"The wind blew , and {PLACEHOLDER} saw that @King_Frog was at the pond 5 times ."
        if question.answer == "@Rosa"
        else f"The wind blew , and @Rosa saw that {PLACEHOLDER} was at the pond 5 times ."
    )


def test_few_questions_are_from_everywhere_and_always_the_same(tmp_path):
    folder = book_files.write(tmp_path)
    config = ReadingConfig(
        data="cbt", data_dir=folder, num_sentences=5, num_questions=20, num_held_out=7
    )
    splits = data.read(config)
    assert [len(part) for part in splits] == [20, 7, 7] and splits == data.read(config)
    assert len({each.answer for each in splits.train}) == 4
    with pytest.raises(DataError, match="found no sentence for train that names one of two"):
        data.read(dataclasses.replace(config, num_sentences=99))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("cbt_valid.txt", "Some words .\n", r"cbt_valid.txt:1: expected _BOOK_TITLE_ : and a"),
        ("cbt_valid.txt", "_BOOK_TITLE_ : A\nSome words .\n", "expected cbt_train.txt, or two"),
        ("cbt_test.txt", None, r"cbt_test.txt: cannot be read: No such file"),
    ],
)
def test_bad_books_are_named(name, text, words, tmp_path):
    folder = book_files.write(tmp_path / "books")
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        books.read(folder, 5)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        books.read(tmp_path / "nowhere", 5)


ARTICLE = (
    "LONDON — The minister Anna Smith met Mr. Brown on Monday. Brown said that Anna Smith, "
    "whom he likes, would win. But Smith's team was not so sure."
)
HIGHLIGHTS = "Anna Smith met Mr. Brown .\nNobody was told .\nBrown hopes on Monday ."


def test_a_highlight_asks_for_every_entity_that_the_article_names():
    asked = list(news.of_article(ARTICLE, HIGHLIGHTS))
    assert [(each.query, each.answer) for each in asked] == [
        (f"{PLACEHOLDER} met @Mr_Brown .", "@Anna_Smith"),
        (f"@Anna_Smith met {PLACEHOLDER} .", "@Mr_Brown"),
        (f"{PLACEHOLDER} hopes on @Monday .", "@Brown"),
        (f"@Brown hopes on {PLACEHOLDER} .", "@Monday"),
    ]
    assert asked[0].passage.startswith("LONDON — The minister @Anna_Smith met @Mr_Brown on @Monday")


def test_tfds_articles_become_questions(monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    articles = tf.data.Dataset.from_tensors({"article": ARTICLE, "highlights": HIGHLIGHTS})

    def load(name, split, data_dir):
        assert (name, data_dir) == ("cnn_dailymail", None)
        return [articles.repeat(3) for _ in split]

    monkeypatch.setattr(tfds, "load", load)
    config = dataclasses.replace(PRESETS["news"], num_questions=5, batch_size=2)
    assert [len(part) for part in data.read(config)] == [5, 12, 12]
    found = data.datasets(config, epoch_counter())
    assert found.train.cardinality() == 2 and found.facts.num_entities == 100
    inputs, _ = next(iter(found.train))
    assert build(config, found.facts)(inputs).shape == (2, 100)


def test_tfds_is_asked_for_what_it_has():
    tfds = pytest.importorskip("tensorflow_datasets")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TFDS warns of its own mock data
        with tfds.testing.mock_data(num_examples=2):
            assert len(news.read("cnn_dailymail", None)) == 3
            with pytest.raises(DataError, match="expected the features .*Found: pt, en"):
                news.read("ted_hrlr_translate/pt_to_en", None)
    with pytest.raises(DataError, match="tfds:no_such_set: expected the splits"):
        news.read("no_such_set", None)


def test_too_little_data_is_refused(monkeypatch):
    with pytest.raises(UserError, match="--batch-size 51 is more than the 50 questions"):
        data.datasets(dataclasses.replace(CONFIG, batch_size=51), epoch_counter())
    question = Cloze("Then @Tom saw @Ann .", f"{PLACEHOLDER} fled from @Ann .", "@Tom")
    monkeypatch.setattr(
        data, "read", lambda config: data.Splits([question], [question], [question])
    )
    with pytest.raises(UserError, match="generated: no question is left for train"):
        data.datasets(dataclasses.replace(CONFIG, max_length=1), epoch_counter())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "squad"}, "--data must be generated, cbt or tfds:NAME. Received: squad"),
        ({"data": "cbt"}, "--data cbt needs --data-dir"),
        ({"data_dir": "x"}, "--data-dir is for data that was not generated. Received: x"),
        ({"num_questions": 0}, "--num-questions must be at least 1 for --data generated"),
        ({"num_held_out": 0}, "--num-held-out must be at least 1 for --data generated"),
        ({"max_entities": 5}, "--max-entities must be at least 6 for --data generated"),
        ({"num_sentences": 5}, "--num-sentences is for --data cbt. Received: 5"),
        ({"num_questions": -1}, "--num-questions must be at least 0. Received: -1"),
        ({"max_entities": 1}, "--max-entities must be at least 2. Received: 1"),
        ({"units": 0}, "--units must be at least 1. Received: 0"),
        ({"dropout": 1.0}, r"--dropout must be in \[0, 1\). Received: 1.0"),
        ({"model": "bilinear", "attention": "uniform"}, "uniform needs --model attentive: a bil"),
    ],
)
def test_flags_that_cannot_be(changes, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(CONFIG, **changes)


def test_an_export_returns_an_answer_at_least():
    with pytest.raises(UserError, match="--num-answers must be at least 1. Received: 0"):
        ReadingExport(num_answers=0)
