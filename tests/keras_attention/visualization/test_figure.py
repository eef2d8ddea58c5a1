"""The heat map shows what it was given, whole, in any script."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from keras_attention.visualization import Alignment, heatmap, save
from tests.keras_attention.visualization.examples import (
    HOSTILE,
    SOURCE,
    TARGET,
    example,
    random_weights,
)


def tick_labels(figure) -> tuple[list[str], list[str]]:
    axes = figure.axes[0]
    return (
        [label.get_text() for label in axes.get_xticklabels()],
        [label.get_text() for label in axes.get_yticklabels()],
    )


def outline_of(figure) -> set[tuple[tuple[float, float], tuple[float, float]]]:
    (outline,) = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    return {tuple(map(tuple, segment.tolist())) for segment in outline.get_segments()}


def test_the_heat_map_shows_the_weights_under_their_tokens():
    alignment = example(caption="a caption")
    figure = heatmap(alignment)
    image = figure.axes[0].images[0]
    np.testing.assert_array_equal(image.get_array(), alignment.weights)
    assert tick_labels(figure) == (SOURCE, TARGET)
    label, box = figure.axes[0].get_xticklabels()[0], figure.axes[0].get_window_extent()
    assert label.get_window_extent().y0 >= box.y1  # the source stands above the map
    assert [text.get_text() for text in figure.texts] == ["a caption"]


def test_the_shades_span_zero_to_one_whatever_the_weights():
    image = heatmap(example(weights=np.full((3, 5), 0.2))).axes[0].images[0]
    assert image.get_clim() == (0.0, 1.0)
    lightness = image.cmap(np.linspace(0, 1, 11))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(lightness) < 0)


def test_every_cell_has_its_shade_and_row_zero_is_at_the_top(tmp_path):
    weights = np.zeros((2, 3))
    weights[0, 2] = 1.0
    figure = heatmap(Alignment(["a", "b", "c"], ["d", "e"], weights))
    pixels = imread(save(tmp_path / "map.png", figure))[..., :3]
    height, width, _ = pixels.shape
    box = figure.axes[0].get_position()
    for i in range(2):
        for j in range(3):
            x = box.x0 + box.width * (j + 0.5) / 3
            y = box.y1 - box.height * (i + 0.5) / 2
            pixel = pixels[round((1 - y) * height), round(x * width)]
            wanted = to_rgb("#0b3c7d") if (i, j) == (0, 2) else (1.0, 1.0, 1.0)
            np.testing.assert_allclose(pixel, wanted, atol=0.01)


def test_the_truth_is_outlined_as_one_block():
    truth = np.zeros((3, 5), bool)
    truth[0, 1:3] = True  # two neighbours share no line
    assert outline_of(heatmap(example(truth=truth))) == {
        ((0.5, -0.5), (1.5, -0.5)),
        ((1.5, -0.5), (2.5, -0.5)),
        ((0.5, 0.5), (1.5, 0.5)),
        ((1.5, 0.5), (2.5, 0.5)),
        ((0.5, -0.5), (0.5, 0.5)),
        ((2.5, -0.5), (2.5, 0.5)),
    }


@pytest.mark.parametrize(("num_rows", "num_columns"), [(1, 1), (3, 3), (2, 61), (59, 3), (53, 60)])
def test_no_label_is_cut_off_or_covers_its_neighbour(num_rows, num_columns):
    figure = heatmap(
        Alignment(
            [f"Quelle{j}" for j in range(num_columns)],
            [f"a-long-target-token-{i}" for i in range(num_rows)],
            random_weights(num_rows, num_columns),
            caption="a caption of many words " * 5,
        )
    )
    figure.draw_without_rendering()
    extent, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert extent.x0 >= 0 and extent.y0 >= 0 and extent.x1 <= width and extent.y1 <= height
    labels = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(upper.y0 > lower.y1 - 1 for upper, lower in zip(labels, labels[1:], strict=False))
    caption, map_top = figure.texts[0].get_window_extent(), figure.axes[0].get_tightbbox().y1
    assert caption.y0 > map_top


def test_tokens_are_text_and_not_formulas():
    figure = heatmap(Alignment(HOSTILE, ["$\\frac{$", "$5", "$6"], random_weights(3, 6)))
    figure.draw_without_rendering()
    assert tick_labels(figure) == (HOSTILE, ["$\\frac{$", "$5", "$6"])


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_a_script_without_a_font_is_drawn_all_the_same(tmp_path, suffix):
    tokens = ["Где", "أين", "哪里", "\U000f0000", "🐈"]  # the fourth is in no font
    alignment = Alignment(tokens, tokens[:3], random_weights(3, 5), caption="哪里 \U000f0000")
    figure = heatmap(alignment)
    assert tick_labels(figure) == (tokens, tokens[:3])
    assert save(tmp_path / f"map{suffix}", figure).stat().st_size > 1000


def test_a_figure_belongs_to_no_pyplot_window():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = pyplot.get_fignums()
    heatmap(example())
    assert pyplot.get_fignums() == before


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=re.escape('pip install "keras-attention-layers[viz]"')):
        heatmap(example())
