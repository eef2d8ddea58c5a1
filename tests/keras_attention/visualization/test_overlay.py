"""The overlay glows where the weights are, over a picture that can still be seen."""

from __future__ import annotations

import base64
import io
import re
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from keras_attention.visualization import Overlay, image_overlay, overlay_page, save
from keras_attention.visualization.overlay import shrink
from tests.keras_attention.visualization.examples import HOSTILE
from tests.keras_attention.visualization.test_page import Reader


class PictureReader(Reader):
    EMPTY = (*Reader.EMPTY, "img")


H, W, h, w, WORDS = 44, 66, 4, 6, ["a", "small", "dog"]


def picture(dtype="uint8", channels=3):
    image = np.random.default_rng(0).integers(0, 256, (H, W, channels))
    return image.astype("uint8") if dtype == "uint8" else (image / 255).astype(dtype)


def place_weights(*places):
    weights = np.zeros((len(places), h, w))
    for token, (row, column) in enumerate(places):
        weights[token, row, column] = 0.5
    return weights


def example(**changes) -> Overlay:
    weights = np.random.default_rng(7).dirichlet(np.ones(h * w), len(WORDS)).reshape(-1, h, w)
    return Overlay(picture(), WORDS, weights)._replace(**changes)


def test_every_token_has_its_weights_over_the_picture():
    overlay = example(caption="a caption")
    first, *panels = image_overlay(overlay).axes
    np.testing.assert_allclose(first.images[0].get_array(), overlay.image / 255, atol=1e-6)
    assert [panel.get_title(loc="left") for panel in panels] == WORDS
    for panel, weights in zip(panels, overlay.weights, strict=True):
        under, over = panel.images
        assert under.get_array().shape == (H, W)
        np.testing.assert_array_equal(over.get_array(), weights)
        assert over.get_extent() == under.get_extent()
        assert over.get_clim() == (0.0, weights.max())
        assert panel.get_title(loc="right") == f"{weights.max():.2f}".removeprefix("0")


@pytest.mark.parametrize("background", [0, 255])
def test_the_glow_is_where_the_weight_is_whatever_the_picture(tmp_path, background):
    image = np.full((H, W, 3), background, np.uint8)
    figure = image_overlay(Overlay(image, ["x", "y"], place_weights((0, 5), (2, 1))))
    pixels = imread(save(tmp_path / "overlay.png", figure))[..., :3]
    height, width, _ = pixels.shape

    def colour(panel, row, column):
        box = figure.axes[panel].get_position()
        x = box.x0 + box.width * (column + 0.5) / w
        y = box.y1 - box.height * (row + 0.5) / h
        pixel = pixels[round((1 - y) * height), round(x * width)]
        return float(pixel[0] - pixel[2])  # red without blue: greys have none

    assert colour(1, 0, 5) > 0.5 and colour(2, 2, 1) > 0.5
    assert abs(colour(1, 2, 1)) < 0.02 and abs(colour(2, 0, 5)) < 0.02
    assert abs(colour(0, 0, 5)) < 0.02
    assert 0.1 < colour(2, 2, 0.5) < colour(2, 2, 1) - 0.1  # halfway to the next place


@pytest.mark.parametrize(
    "image",
    [picture("float32"), picture("float64"), picture(channels=1), picture(channels=1)[:, :, 0]],
    ids=["float32", "float64", "one channel", "no channel"],
)
def test_pictures_may_be_floats_or_grey(image):
    drawn = image_overlay(example(image=image)).axes[0].images[0].get_array()
    grey = image.ndim == 2 or image.shape[2] == 1
    expected = picture(channels=1 if grey else 3) / 255
    np.testing.assert_allclose(drawn, np.broadcast_to(expected, (H, W, 3)), atol=1e-6)


def test_weights_of_a_square_may_be_flat():
    weights = np.random.default_rng(7).dirichlet(np.ones(25), len(WORDS))
    panels = image_overlay(example(weights=weights)).axes[1:]
    for panel, row in zip(panels, weights, strict=True):
        np.testing.assert_array_equal(panel.images[1].get_array(), row.reshape(5, 5))


def test_a_token_that_reads_nothing_has_no_glow_and_no_warning():
    panel = image_overlay(example(weights=np.zeros((3, h, w)))).axes[1]
    assert panel.images[1].get_clim() == (0.0, 1.0)
    assert panel.get_title(loc="right") == ".0000"
    assert "reads" not in overlay_page([example(weights=np.zeros((3, h, w)))]).split("<script>")[0]


def test_large_pictures_are_made_as_small_as_they_are_shown():
    image = np.random.default_rng(1).integers(0, 256, (1001, 2003, 3)).astype("uint8")
    drawn = image_overlay(example(image=image)).axes[0].images[0].get_array()
    assert max(drawn.shape) <= 480
    assert len(overlay_page([example(image=image)])) < 600_000
    smaller = shrink(np.arange(5.0 * 3).reshape(5, 3, 1), 3)
    assert smaller[:, :, 0].tolist() == [[2.0, 3.5], [8.0, 9.5], [12.5, 14.0]]


@pytest.mark.parametrize(("num_tokens", "shape"), [(1, (40, 40)), (7, (20, 90)), (23, (90, 40))])
def test_no_panel_or_label_is_cut_off_or_covers_another(num_tokens, shape):
    tokens = [f"a-long-token-number-{t}" for t in range(num_tokens)]
    weights = np.full((num_tokens, 2, 3), 1 / 6)
    overlay = Overlay(np.zeros(shape, np.uint8), tokens, weights, caption="many words " * 9)
    figure = image_overlay(overlay)
    figure.draw_without_rendering()
    extent, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert extent.x0 >= 0 and extent.y0 >= 0 and extent.x1 <= width and extent.y1 <= height
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    boxes.append(figure.texts[0].get_window_extent())
    for index, box in enumerate(boxes):
        assert not any(box.padded(-1).overlaps(other) for other in boxes[:index])


def test_tokens_are_text_and_not_formulas_and_long_ones_are_cut():
    tokens = [*HOSTILE, "a" * 99]
    figure = image_overlay(Overlay(picture(), tokens, np.full((7, h, w), 1 / 24)))
    figure.draw_without_rendering()
    titles = [axes.get_title(loc="left") for axes in figure.axes[1:]]
    assert titles[5] == "$x$"
    assert all(t == e or e.startswith(t.rstrip("…")) for t, e in zip(titles, tokens, strict=True))
    assert titles[6].endswith("…")


def test_a_figure_belongs_to_no_pyplot_window():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = pyplot.get_fignums()
    image_overlay(example())
    assert pyplot.get_fignums() == before


def test_without_matplotlib_the_figure_says_what_to_install_and_the_page_is_written(monkeypatch):
    for name in ("matplotlib.figure", "matplotlib.colors", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=re.escape('pip install "keras-attention-layers[viz]"')):
        image_overlay(example())
    assert "<li>dog</li>" in overlay_page([example()])


# The page


def test_the_page_holds_every_word_the_picture_and_the_weights():
    overlay = example(caption="a caption")
    reader = PictureReader(overlay_page([overlay, example()], title="Two"))
    assert reader.texts["li"] == WORDS * 2
    assert reader.texts["title"] == reader.texts["h1"] == ["Two"]
    assert reader.texts["h2"] == ["a caption", "Picture 2"]
    (first, _) = reader.data()
    assert first["grid"] == [h, w]
    found = np.array(first["shares"]) * np.array(first["largest"])[:, None]
    np.testing.assert_allclose(found, overlay.weights.reshape(3, -1), atol=2e-4)
    source = next(attributes["src"] for tag, attributes in reader.tags if tag == "img")
    png = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    np.testing.assert_allclose(imread(io.BytesIO(png)), overlay.image / 255, atol=1e-6)


def test_the_page_loads_nothing():
    page = overlay_page([example()])
    assert not re.search(r"https?://|\burl\(|@import|\bfetch\(|\bimport\(", page)
    for tag, attributes in PictureReader(page).tags:
        assert tag not in ("link", "iframe", "base", "object") and "href" not in attributes
        assert attributes.get("src", "data:").startswith("data:")
    assert "default-src 'none'" in page and "{{" not in page


def test_nothing_in_a_word_caption_or_title_becomes_markup():
    plain = PictureReader(overlay_page([example(caption="plain")], title="plain"))
    evil = "</title><script>alert(1)</script>{{count}}"
    overlay = example(tokens=HOSTILE[:3], caption=evil)
    reader = PictureReader(overlay_page([overlay], title=evil))
    assert reader.tags == plain.tags
    assert reader.texts["li"] == HOSTILE[:3]
    assert reader.texts["h1"] == reader.texts["h2"] == reader.texts["title"] == [evil]


def test_the_page_can_be_read_aloud():
    tags = PictureReader(overlay_page([example(), example()])).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    sections = [attributes for tag, attributes in tags if tag == "section"]
    assert set(ids) >= {section["aria-labelledby"] for section in sections}
    assert sum(attributes.get("role") == "status" for _, attributes in tags) == 2
    assert sum(attributes.get("tabindex") == "0" for _, attributes in tags) == 2


def test_a_page_without_pictures_says_so():
    assert "0 pictures" in overlay_page([])


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (
            {"weights": np.ones((3, 5)) / 5},
            ValueError,
            "`overlay.weights` must have shape (tokens, h, w), or (tokens, h * w) of a square. "
            "Received: weights.shape=(3, 5), 3 tokens.",
        ),
        (
            {"weights": np.ones((2, h, w)) / 24},
            ValueError,
            "Received: weights.shape=(2, 4, 6), 3 tokens.",
        ),
        ({"weights": np.ones((3, 0, w))}, ValueError, "Received: weights.shape=(3, 0, 6)"),
        (
            {"weights": np.full((3, h, w), 1.5)},
            ValueError,
            "`overlay.weights` must be between 0 and 1: weights, not the scores before they are "
            "normalised. Received: minimum 0, maximum 1.5.",
        ),
        (
            {"image": np.zeros((H, W, 4), np.uint8)},
            ValueError,
            "`overlay.image` must have shape (height, width), (height, width, 1) or "
            "(height, width, 3). Received: image.shape=(44, 66, 4).",
        ),
        (
            {"image": np.full((H, W), 255.0)},
            ValueError,
            "`overlay.image` must hold integers between 0 and 255 or floats between 0 and 1. "
            "Received: float64 between 255 and 255.",
        ),
        (
            {"tokens": ["a", b"small", "dog"]},
            TypeError,
            "`overlay.tokens` must be strings. Received: b'small' (bytes) at position 1.",
        ),
    ],
)
def test_an_overlay_that_does_not_fit_is_refused(changes, error, words):
    with pytest.raises(error, match=re.escape(words)):
        image_overlay(example(**changes))


def test_an_error_names_the_picture_of_the_page():
    with pytest.raises(ValueError, match=re.escape("`overlays[1].weights` must have shape")):
        overlay_page([example(), example(weights=np.ones(3))])
    with pytest.raises(TypeError, match=re.escape("`overlays[0]` must be an `Overlay`. Received")):
        overlay_page([(picture(), WORDS)])
    with pytest.raises(TypeError, match="sequence of `Overlay`. Received: a single `Overlay`"):
        overlay_page(example())
