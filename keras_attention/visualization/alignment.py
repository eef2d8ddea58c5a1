"""What is drawn: tokens, the weights between them, and a check of both at the door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# Characters with no shape: control codes get their Unicode pictures, half surrogate pairs U+FFFD.
VISIBLE = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}
VISIBLE |= dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)


class Alignment(NamedTuple):
    """Which source tokens each target token was made from, as the attention weights tell it.

    Fields:
        source_tokens: Tv strings, the values that were read.
        target_tokens: Tq strings, one for each query.
        weights: array (Tq, Tv) in [0, 1]: target token i read source token j by `weights[i, j]`.
            Cut padding off first.
        truth: the known alignment, boolean (Tq, Tv), or `None`; it is drawn as an outline.
        caption: a line above the drawing, or `None`.
    """

    source_tokens: Sequence[str]
    target_tokens: Sequence[str]
    weights: Any
    truth: Any = None
    caption: str | None = None


def check(alignment: Alignment, name: str) -> Alignment:
    """The alignment with visible labels and arrays (Tq, Tv), or an error that calls it `name`."""
    if not isinstance(alignment, Alignment):
        raise TypeError(f"`{name}` must be an `Alignment`. Received: {type(alignment).__name__}.")
    source_tokens = labels(alignment.source_tokens, f"{name}.source_tokens")
    target_tokens = labels(alignment.target_tokens, f"{name}.target_tokens")
    shape = len(target_tokens), len(source_tokens)
    weights = _matrix(alignment.weights, np.float64, shape)
    if weights.shape != shape:
        raise ValueError(
            f"`{name}.weights` must have a row for each target token and a column for each source "
            f"token. Received: weights.shape={weights.shape}, {shape[0]} target tokens, "
            f"{shape[1]} source tokens."
        )
    weights = check_range(weights, f"{name}.weights")
    truth = None if alignment.truth is None else _matrix(alignment.truth, np.bool_, shape)
    if truth is not None and truth.shape != shape:
        raise ValueError(
            f"`{name}.truth` must have the shape of the weights. "
            f"Received: truth.shape={truth.shape}, weights.shape={shape}."
        )
    return Alignment(source_tokens, target_tokens, weights, truth, caption_of(alignment.caption))


def check_range(weights: np.ndarray, name: str) -> np.ndarray:
    """The weights within [0, 1], or an error that calls them `name`."""
    low, high = weights.min(initial=0.0), weights.max(initial=0.0)
    if not (low >= -0.01 and high <= 1.01):  # bfloat16 rounds by up to 2^-8; NaN fails as well
        raise ValueError(
            f"`{name}` must be between 0 and 1: weights, not the scores before they are "
            f"normalised. Received: minimum {low:.4g}, maximum {high:.4g}."
        )
    return weights.clip(0, 1)


def caption_of(caption: str | None) -> str | None:
    """The caption on one line, every character visible."""
    return " ".join((caption or "").split()).translate(VISIBLE) or None


def _matrix(values: Any, dtype: Any, shape: tuple[int, int]) -> np.ndarray:
    array = np.asarray(values, dtype=dtype)
    # `[]` for a translation without tokens has lost its second axis.
    return array.reshape(shape) if array.size == 0 == shape[0] * shape[1] else array


def labels(tokens: Sequence[str], name: str) -> list[str]:
    """The tokens with every character visible: a blank token becomes ␣, a line feed ␊."""
    for index, token in enumerate(tokens):
        if not isinstance(token, str):
            raise TypeError(
                f"`{name}` must be strings. Received: {token!r} ({type(token).__name__}) "
                f"at position {index}."
            )
    return [token.translate(VISIBLE) if token.strip(" ") else "␣" * len(token) for token in tokens]
