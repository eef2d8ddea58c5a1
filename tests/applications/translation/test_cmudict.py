"""Letters to phones: the dictionary, what it becomes, and how answers are judged."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from applications.training.data import epoch_counter
from applications.training.errors import DataError
from applications.translation import cmudict, data
from applications.translation.cmudict import Word
from applications.translation.config import PRESETS, TranslationConfig
from applications.translation.evaluation import pronunciations
from applications.translation.translate import Translation
from tests.applications.translation import dictionary

SHARED = Path(__file__).parents[4] / "shared/data/cmudict"


def read(folder, text):
    (folder / "cmudict.dict").write_text(text, encoding="utf-8")
    return cmudict.read(folder)


def preset(folder, **changes):
    return dataclasses.replace(PRESETS["cmudict"], data_dir=folder, **changes)


def test_words_are_read_with_their_pronunciations(tmp_path):
    found = read(
        tmp_path,
        "'bout B AW1 T\na AH0\na(2) EY1\naachen AA1 K AH0 N\n"
        "aalborg AO1 L B AO0 R G # place, danish\naalborg(2) AA1 L B AO0 R G\n"
        "big-eyed B IH1 G AY1 D\nm3 EH1 M\ndéjà D EY1\nm3(2) EH2 M\n",
    )
    assert found.words == [
        Word("a", ("AH", "EY")),
        Word("aachen", ("AA K AH N",)),
        Word("aalborg", ("AO L B AO R G", "AA L B AO R G")),
    ]
    assert found.left_out == 4


def test_pronunciations_that_differ_by_stress_are_one(tmp_path):
    found = read(tmp_path, "the DH AH0\nthe(2) DH AH1\nthe(3) DH IY0\n")
    assert found.words == [Word("the", ("DH AH", "DH IY"))]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("zebra", "expected a word and its phones, such as `zebra Z IY1 B R AH0`, found `zebra`"),
        ("zebra z iy", "found `zebra z iy`"),
        ("zebra Z IY3 B", "found `zebra Z IY3 B`"),
        ("", "found ``"),
        ("# a comment alone", "found `# a comment alone`"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, words):
    with pytest.raises(DataError) as caught:
        read(tmp_path, f"a AH0\n{line}\nb B IY1\n")
    assert str(caught.value).startswith(f"{tmp_path / 'cmudict.dict'}:2: expected")
    assert words in str(caught.value)


def test_a_dictionary_that_is_not_there_or_of_no_use_is_named(tmp_path):
    with pytest.raises(DataError, match="expected cmudict.dict here, found none"):
        cmudict.read(tmp_path)
    with pytest.raises(DataError, match="expected words of the letters a to z, found none"):
        read(tmp_path, "a.m. EY2 EH1 M\n")


def test_a_word_is_in_one_part_that_it_alone_decides():
    rng = np.random.default_rng(5)
    words = [Word(f"{number:x}", ("AH",)) for number in rng.permutation(20_000)]
    parts = cmudict.split(words)
    train, validation, test = ({word.letters for word in part} for part in parts)
    assert len(train) + len(validation) + len(test) == len(train | validation | test) == 20_000
    assert len(validation) / 20_000 == pytest.approx(0.05, abs=0.005)
    assert len(test) / 20_000 == pytest.approx(0.10, abs=0.007)
    again = cmudict.split(words[::-7])
    for few, many in zip(again, parts, strict=True):
        assert set(few) <= set(many)


def test_the_parts_stay_what_they_were():
    """These are by `sha256sum`."""
    words = "away back goes orange stop tree yellow".split()
    found = cmudict.split([Word(word, ("AH",)) for word in words])
    train, validation, test = ([word.letters for word in part] for part in found)
    assert train == ["away", "goes", "stop"]
    assert validation == ["yellow"] and test == ["back", "orange", "tree"]


def test_training_sees_each_pronunciation_and_tests_know_all(tmp_path, capsys):
    config = preset(dictionary.write(tmp_path, 300), batch_size=16)
    found = data.datasets(config, epoch_counter())
    words, left_out = cmudict.read(tmp_path)
    train, validation, test = cmudict.split(words)
    assert "cmudict: 300 words of the letters a to z; 2 with other signs are left out" in (
        capsys.readouterr().out
    )
    assert sum(len(word.pronunciations) for word in words) == 360
    assert len(found.examples.train) == sum(len(word.pronunciations) for word in train)
    for pairs, part in ((found.examples.validation, validation), (found.examples.test, test)):
        assert [Word(pair.source, (pair.target, *pair.others)) for pair in pairs] == part
    assert any(pair.others for pair in found.examples.test)
    assert set(found.facts.source.vocabulary) == set("abcdegim")
    assert set(found.facts.target.vocabulary) == {*"BKDGM", "AE", "EH", "IH", "ER"}


def test_a_tsv_of_words_and_phones_is_cut_alike(tmp_path):
    path = tmp_path / "words.tsv"
    path.write_text("cat\tK AE T\ndog\tD AO G\n", encoding="utf-8")
    files = {f"{part}_files": (path,) for part in ("train", "validation", "test")}
    config = TranslationConfig(
        data="files", **files, tokens="characters", target_tokens="words", batch_size=2
    )
    facts = data.datasets(config, epoch_counter()).facts
    assert facts.source.split(tf.constant(["cat"])).to_list() == [[b"c", b"a", b"t"]]
    assert facts.target.split(tf.constant(["K AE T"])).to_list() == [[b"K", b"AE", b"T"]]


def judged(answers, pairs, **changes):
    """The results for these answers."""
    found = [Translation(answer, 0.0, [], answer.split(), np.zeros((0, 0))) for answer in answers]
    pairs = [data.Pair("", target, others=tuple(others)) for target, *others in pairs]
    return dict(pronunciations(found, pairs, preset(Path("."), **changes)))


def test_right_answers_have_no_error_whichever_they_are():
    pairs = [("K AE T",), ("T AH M EY T OW", "T AH M AA T OW")]
    for answer in pairs[1]:
        assert judged(["K AE T", answer], pairs) == {"word_accuracy": 1.0, "phone_error_rate": 0.0}


@pytest.mark.parametrize(
    ("answer", "answers", "errors", "phones"),
    [
        ("K AH T", ["K AE T"], 1, 3),  # another
        ("AE T", ["K AE T"], 1, 3),  # one too few
        ("K AE T S", ["K AE T"], 1, 3),  # one too many
        ("", ["K AE T"], 3, 3),
        ("AE K T S AE", ["K AE T"], 4, 3),
        ("T AH M EY D OW", ["T AH M AA T OW", "T AH M EY T OW"], 1, 6),  # the second is nearer
        ("R UW T", ["R AW T S", "R UW T S", "R UW T ER Z"], 1, 4),
        ("B AE", ["B AE T", "B AE T S"], 1, 3),
        ("B AE T", ["B AE", "B AE T S"], 1, 2),  # both as near: the first counts
    ],
)
def test_errors_are_those_of_the_nearest_pronunciation(answer, answers, errors, phones):
    found = judged(["AH B", answer], [("AH B",), answers])
    assert found["word_accuracy"] == 0.5
    assert found["phone_error_rate"] == pytest.approx(errors / (2 + phones))


def test_lower_cased_answers_are_judged_without_capitals():
    assert judged(["k ae t"], [("K AE T",)], lowercase=True)["word_accuracy"] == 1.0
    assert judged(["k ae t"], [("K AE T",)])["word_accuracy"] == 0.0


def test_the_dictionary_itself_is_read():
    if not SHARED.is_dir():
        pytest.skip(f"needs the CMU Pronouncing Dictionary in {SHARED}")
    words, left_out = cmudict.read(SHARED)
    train, validation, test = cmudict.split(words)
    phones = {phone for word in words for said in word.pronunciations for phone in said.split()}
    assert len(phones) == 39 and (len(words), left_out) == (117_493, 8_559)
    assert [len(part) for part in (train, validation, test)] == [99_856, 5_968, 11_669]
