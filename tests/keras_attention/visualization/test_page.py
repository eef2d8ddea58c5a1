"""The page holds what it was given, loads nothing, and no token can break it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from keras_attention.visualization import Alignment, alignment_page, heatmap
from tests.keras_attention.visualization.examples import (
    HOSTILE,
    SOURCE,
    TARGET,
    example,
    random_weights,
)


class Reader(HTMLParser):
    """Reads a page as a browser would, and fails on a tag closed out of turn."""

    EMPTY = ("meta", "link", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data

    def data(self) -> list[dict[str, list]]:
        scripts = [attributes for tag, attributes in self.tags if tag == "script"]
        return [
            json.loads(text)
            for attributes, text in zip(scripts, self.texts["script"], strict=True)
            if attributes.get("type") == "application/json"
        ]


def test_the_page_holds_every_token_and_the_weights_to_three_digits():
    second = Alignment(["a", "b"], ["c"], np.array([[0.12345, 0.87655]]), caption="second")
    reader = Reader(alignment_page([example(), second], title="Two"))
    assert reader.texts["li"] == [*SOURCE, *TARGET, "a", "b", "c"]
    assert reader.texts["title"] == ["Two"] and reader.texts["h1"] == ["Two"]
    assert reader.texts["h2"] == ["Alignment 1", "second"]
    first, other = reader.data()
    np.testing.assert_allclose(first["weights"], random_weights(3, 5), atol=0.0005001)
    assert other == {"weights": [[0.123, 0.877]], "truth": None}


def test_the_page_says_where_the_truth_lies_only_if_it_is_known():
    truth = np.zeros((3, 5), bool)
    truth[2, 1] = truth[1, 2] = True
    page = alignment_page([example(truth=truth)])
    assert Reader(page).data()[0]["truth"] == [[1, 2], [2, 1]]
    assert "true alignment</span>" in page
    assert "true alignment</span>" not in alignment_page([example()])


def test_nothing_in_a_token_caption_or_title_becomes_markup():
    plain = Reader(alignment_page([example(caption="plain")], title="plain"))
    evil = "</title><script>alert(1)</script>{{count}}"
    alignment = Alignment(HOSTILE[:5], HOSTILE[:3], random_weights(3, 5), caption=evil)
    reader = Reader(alignment_page([alignment], title=evil))
    assert reader.tags == plain.tags
    assert reader.texts["li"] == HOSTILE[:5] + HOSTILE[:3]
    assert reader.texts["h1"] == reader.texts["h2"] == reader.texts["title"] == [evil]


def test_the_page_loads_nothing():
    page = alignment_page([example()])
    assert not re.search(r"https?://|\burl\(|@import|\bfetch\(|\bimport\(", page)
    for tag, attributes in Reader(page).tags:
        assert tag not in ("link", "img", "iframe", "base", "object")
        assert not {"src", "href"} & set(attributes)
    assert "default-src 'none'" in page
    assert "{{" not in page


def test_the_page_can_be_read_aloud_and_in_the_dark():
    page = alignment_page([example(), example()])
    tags = Reader(page).tags
    assert tags[0] == ("html", {"lang": "en"})
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    sections = [attributes for tag, attributes in tags if tag == "section"]
    assert [section["aria-labelledby"] for section in sections] == ["caption-1", "caption-2"]
    assert set(ids) >= {section["aria-labelledby"] for section in sections}
    lines = [attributes["aria-label"] for tag, attributes in tags if tag == "ol"]
    assert lines == ["source tokens", "target tokens"] * 2
    assert sum(attributes.get("role") == "status" for _, attributes in tags) == 2
    assert "prefers-color-scheme: dark" in page and 'role: "grid"' in page


def test_a_translation_without_tokens_has_a_place_on_the_page_but_no_heat_map():
    nothing = Alignment(SOURCE, [], [], truth=[])
    reader = Reader(alignment_page([nothing]))
    assert reader.texts["li"] == SOURCE
    assert reader.data() == [{"weights": [], "truth": []}]
    with pytest.raises(ValueError, match="one token on each side.*0 target tokens, 5 source"):
        heatmap(nothing)


def test_hundreds_of_alignments_fit_on_a_page():
    sentence = Alignment(["word"] * 23, ["Wort"] * 19, random_weights(19, 23))
    page = alignment_page([sentence] * 300)
    assert len(page) < 1_500_000
    assert len(Reader(page).data()) == 300


def test_a_page_without_alignments_says_so():
    assert "0 alignments" in alignment_page([])


def test_an_error_names_the_alignment_of_the_page():
    with pytest.raises(ValueError, match=re.escape("`alignments[1].truth` must have the shape")):
        alignment_page([example(), example(truth=[[True]])])
    with pytest.raises(TypeError, match=re.escape("`alignments[0]` must be an `Alignment`. Rec")):
        alignment_page([(SOURCE, TARGET)])
    with pytest.raises(TypeError, match="sequence of `Alignment`. Received: a single `Alignment`"):
        alignment_page(example())
