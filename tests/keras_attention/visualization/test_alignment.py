"""What does not fit is refused at the door, and what has no shape is given one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from keras_attention import visualization
from keras_attention.visualization import Alignment, alignment_page, heatmap, save
from keras_attention.visualization.alignment import check
from tests.keras_attention.visualization.examples import example, random_weights


def test_every_character_of_a_token_can_be_seen(tmp_path):
    tokens = [" ", "  ", "a b", "\n", "\ud83d", "\x00\x7f", ""]
    seen = ["␣", "␣␣", "a b", "␊", "\ufffd", "␀␡", ""]
    alignment = Alignment(tokens, ["x"], random_weights(1, 7), caption="two\nlines \udcff")
    checked = check(alignment, "alignment")
    assert checked.source_tokens == seen
    assert checked.caption == "two lines \ufffd"
    labels = heatmap(alignment).axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == seen
    save(tmp_path / "page.html", alignment_page([alignment]))  # it can be encoded


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (
            {"weights": np.ones((5, 3)) / 3},
            ValueError,
            "`alignment.weights` must have a row for each target token and a column for each "
            "source token. Received: weights.shape=(5, 3), 3 target tokens, 5 source tokens.",
        ),
        (
            {"weights": []},
            ValueError,
            "Received: weights.shape=(0,), 3 target tokens, 5 source tokens.",
        ),
        (
            {"weights": np.linspace(-2, 3, 15).reshape(3, 5)},
            ValueError,
            "`alignment.weights` must be between 0 and 1: weights, not the scores before they "
            "are normalised. Received: minimum -2, maximum 3.",
        ),
        (
            {"weights": np.full((3, 5), np.nan)},
            ValueError,
            "`alignment.weights` must be between 0 and 1",
        ),
        (
            {"truth": np.ones((3, 4), bool)},
            ValueError,
            "`alignment.truth` must have the shape of the weights. "
            "Received: truth.shape=(3, 4), weights.shape=(3, 5).",
        ),
        (
            {"target_tokens": ["the", b"black", "cat"]},
            TypeError,
            "`alignment.target_tokens` must be strings. Received: b'black' (bytes) at position 1.",
        ),
    ],
)
def test_an_alignment_that_does_not_fit_is_refused(changes, error, words):
    with pytest.raises(error, match=re.escape(words)):
        heatmap(example(**changes))


def test_weights_that_bfloat16_rounded_above_one_are_one():
    weights = np.zeros((3, 5))
    weights[0, 0] = 1.0039
    assert heatmap(example(weights=weights)).axes[0].images[0].get_array().max() == 1.0


def test_importing_the_package_does_not_import_matplotlib():
    for file in Path(visualization.__file__).parent.glob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in getattr(node, "names", [])]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(name.startswith("matplotlib") for name in names), file
