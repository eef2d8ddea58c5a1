"""Every head is shown, all to one scale, and none hides another."""

from __future__ import annotations

import re

import numpy as np
import pytest

from keras_attention.visualization import (
    Alignment,
    MultiHeadAlignment,
    alignment_page,
    head_heatmaps,
    save,
)
from tests.keras_attention.visualization import examples
from tests.keras_attention.visualization.examples import HOSTILE, SOURCE, TARGET
from tests.keras_attention.visualization.test_page import Reader


class ChoiceReader(Reader):
    EMPTY = (*Reader.EMPTY, "input")


def random_heads(num_heads, num_rows, num_columns):
    draw = np.random.default_rng(7)
    return draw.dirichlet(np.ones(num_columns) / 2, size=(num_heads, num_rows))


def example(**changes) -> MultiHeadAlignment:
    heads = MultiHeadAlignment(SOURCE, TARGET, random_heads(7, 3, 5))
    return heads._replace(**changes)


def test_every_head_has_its_map_and_its_name():
    alignment = example(caption="a caption")
    figure = head_heatmaps(alignment)
    assert [axes.get_xlabel() for axes in figure.axes] == [f"head {h}" for h in range(1, 8)]
    for axes, weights in zip(figure.axes, alignment.weights, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), weights)
        assert axes.images[0].get_clim() == (0.0, 1.0)
    assert [text.get_text() for text in figure.texts] == ["a caption"]


def test_tokens_stand_at_the_outer_maps_only():
    figure = head_heatmaps(example())
    figure.draw_without_rendering()
    boxes = [axes.get_position() for axes in figure.axes]
    for axes, box in zip(figure.axes, boxes, strict=True):
        labelled = axes.xaxis.get_tick_params()["labeltop"]
        assert labelled == (box.y1 == max(other.y1 for other in boxes))
        labelled = axes.yaxis.get_tick_params()["labelleft"]
        assert labelled == (box.x0 == min(other.x0 for other in boxes))
    labels = figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()
    assert [[each.get_text() for each in side] for side in labels] == [SOURCE, TARGET]


@pytest.mark.parametrize(
    ("num_heads", "num_rows", "num_columns"),
    [(1, 1, 1), (2, 1, 1), (5, 3, 19), (8, 11, 13), (12, 61, 59), (3, 90, 7)],
)
def test_no_label_is_cut_off_and_no_map_covers_another(num_heads, num_rows, num_columns):
    figure = head_heatmaps(
        MultiHeadAlignment(
            [f"Quelle{j}" for j in range(num_columns)],
            [f"target-{i}" for i in range(num_rows)],
            random_heads(num_heads, num_rows, num_columns),
            [f"layer 2, head {h}" for h in range(num_heads)],
            "a caption of many words " * 3,
        )
    )
    figure.draw_without_rendering()
    extent, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert extent.x0 >= 0 and extent.y0 >= 0 and extent.x1 <= width and extent.y1 <= height
    assert width <= 30 and height <= 30  # inches
    maps = [axes.get_window_extent() for axes in figure.axes]
    names = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
    for boxes in (maps, names):
        for index, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:index])
    assert not any(name.overlaps(box) for name in names for box in maps)
    labels = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(upper.y0 > lower.y1 - 1 for upper, lower in zip(labels, labels[1:], strict=False))
    assert figure.texts[0].get_window_extent().y0 > figure.axes[0].get_tightbbox().y1


def test_heads_fill_their_rows():
    for num_heads in (4, 6, 8, 12, 16):
        square = example(target_tokens=SOURCE, weights=random_heads(num_heads, 5, 5))
        figure = head_heatmaps(square)
        rows: dict[float, list] = {}
        for axes in figure.axes:
            rows.setdefault(round(axes.get_position().y0, 6), []).append(axes)
        assert len({len(row) for row in rows.values()}) == 1, num_heads


def test_names_are_text_and_not_formulas(tmp_path):
    figure = head_heatmaps(example(weights=random_heads(6, 3, 5), names=HOSTILE))
    assert [axes.get_xlabel() for axes in figure.axes] == HOSTILE
    save(tmp_path / "heads.png", figure)


# The page


def test_the_page_holds_every_head_and_their_mean():
    alignment = example(caption="heads")
    reader = ChoiceReader(alignment_page([examples.example(), alignment]))
    plain, found = reader.data()
    assert "heads" not in plain
    np.testing.assert_allclose(found["heads"], alignment.weights, atol=0.0005001)
    np.testing.assert_allclose(found["weights"], alignment.weights.mean(axis=0), atol=0.0005001)
    assert reader.texts["li"] == (SOURCE + TARGET) * 2
    inputs = [attributes for tag, attributes in reader.tags if tag == "input"]
    assert [each["value"] for each in inputs] == ["mean", *"0123456"]
    assert ["checked" in each for each in inputs] == [True] + [False] * 7
    assert {each["name"] for each in inputs} == {"head-2"}
    assert reader.texts["label"] == ["mean", *(f"head {h}" for h in range(1, 8))]


def test_nothing_in_a_name_becomes_markup():
    heads = random_heads(6, 3, 5)
    plain = ChoiceReader(alignment_page([example(weights=heads)]))
    reader = ChoiceReader(alignment_page([example(weights=heads, names=HOSTILE)]))
    assert reader.tags == plain.tags
    assert reader.texts["label"] == ["mean", *HOSTILE]


def test_a_page_of_one_head_has_its_weights_as_the_mean():
    weights = random_heads(1, 3, 5)
    found = ChoiceReader(alignment_page([example(weights=weights)])).data()[0]
    assert found["weights"] == found["heads"][0]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (
            {"weights": random_heads(7, 3, 5)[0]},
            ValueError,
            "`alignment.weights` must have shape (heads, target tokens, source tokens). "
            "Received: weights.shape=(3, 5).",
        ),
        ({"weights": np.ones((0, 3, 5))}, ValueError, "Received: weights.shape=(0, 3, 5)."),
        (
            {"weights": random_heads(7, 5, 3)},
            ValueError,
            "`alignment.weights` must have a row for each target token and a column for each "
            "source token. Received: weights.shape=(5, 3), 3 target tokens, 5 source tokens.",
        ),
        (
            {"weights": random_heads(7, 3, 5) * 9.0},
            ValueError,
            "`alignment.weights` must be between 0 and 1: weights, not the scores",
        ),
        (
            {"names": ["one", "two"]},
            ValueError,
            "`alignment.names` must be one name a head. Received: 2 names, 7 heads.",
        ),
        (
            {"source_tokens": [], "weights": np.ones((7, 3, 0))},
            ValueError,
            "at least one token on each side. Received: 3 target tokens, 0 source tokens.",
        ),
    ],
)
def test_heads_that_do_not_fit_are_refused(changes, error, words):
    with pytest.raises(error, match=re.escape(words)):
        head_heatmaps(example(**changes))


def test_what_is_no_heads_is_refused():
    with pytest.raises(
        TypeError, match="`alignment` must be a `MultiHeadAlignment`. Received: Alignment."
    ):
        head_heatmaps(Alignment(SOURCE, TARGET, random_heads(1, 3, 5)[0]))
    with pytest.raises(TypeError, match="sequence.*Received: a single `MultiHeadAlignment`"):
        alignment_page(example())
    with pytest.raises(ValueError, match=re.escape("`alignments[1].names` must be one name")):
        alignment_page([example(), example(names=["one"])])
