"""What was read is drawn over the passage."""

import dataclasses

import numpy as np

from applications.reading import figures, model
from applications.reading.answering import Answer
from applications.reading.cloze import Cloze
from applications.reading.config import PRESETS
from applications.reading.data import Facts
from keras_attention import visualization

FACTS = Facts(("@placeholder", "met", "."), 3, 20, "@A met @B .", "@placeholder met @B .")
TOLD = [
    Cloze("@A met @B .", "@placeholder met @B .", "@A"),
    Cloze("@C met @D in the <b>park</b> . @D slept .", "@C met @placeholder .", "@D"),
]


def test_words_are_set_in_lines():
    assert figures.set_in_lines([3, 4, 2, 20, 1, 1], 10) == [
        *((0, 0), (0, 4), (1, 0), (2, 0), (3, 0), (3, 2)),
    ]


def test_passages_are_drawn_with_query_and_answer(tmp_path):
    config = dataclasses.replace(PRESETS["generated"], embedding_units=3, units=2)
    answer = Answer(model.build(config, FACTS), FACTS)
    drawn = figures.alignments(answer, TOLD)
    first, second = drawn
    assert first.source_tokens == ["@A", "met", "@B", "."]
    assert first.truth.tolist() == [[True, False, False, False]] and second.truth.sum() == 2
    np.testing.assert_allclose(first.weights.sum(), 1.0, rtol=1e-5)
    told = answer.run(*([part] for part in TOLD[0][:2]))
    best = told["answers"].numpy()[0, 0].decode()
    assert first.target_tokens == [best]
    right = "right" if best == "@A" else "is: @A"
    assert first.caption == f"@placeholder met @B . {best} ({right})"
    figures.draw(answer, TOLD, tmp_path)
    page = (tmp_path / "passages.html").read_text(encoding="utf-8")
    assert "<li>@A</li>" in page and "&lt;" in page and "<li><</li>" not in page
    assert {each.name for each in tmp_path.iterdir()} == {
        "passages.html",
        "passage_1.png",
        "passage_2.png",
    }


def test_the_darkest_word_is_the_one_that_was_read_most():
    tokens = ["@A", "met", "@B", "x" * 200]
    weights = np.array([[0.05, 0.1, 0.8, 0.05]])
    truth = np.array([[True, False, False, False]])
    picture = figures.shaded(visualization.Alignment(tokens, ["@B"], weights, truth, "who?"))
    patches = picture.axes[0].patches
    lightness = [sum(patch.get_facecolor()[:3]) for patch in patches]
    assert np.argmin(lightness) == 2
    outlined = [patch.get_edgecolor()[3] > 0 for patch in patches]
    assert outlined == [True, False, False, False]
    assert [text.get_text() for text in picture.axes[0].texts][:3] == tokens[:3]
