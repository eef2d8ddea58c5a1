"""The search that a decoder of text is evaluated and served with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from applications.training import text
from keras_attention import search


def bias_of_what_may_come(vocabulary_size: int) -> np.ndarray:
    """-inf for the tokens that no text contains, 0 for all others: (vocabulary_size,)."""
    bias = np.zeros(vocabulary_size, np.float32)
    bias[[text.PAD, text.START, text.UNKNOWN]] = -np.inf
    return bias


def best(step: Callable, state, *, beam_width: int = 1, **of_beam: Any) -> search.Hypotheses:
    """The best texts: greedy where the beam is 1 wide, else by beam search.

    Args:
        step, state: See `keras_attention.search`.
        beam_width: Hypotheses kept.
        of_beam: What else `search.beam_search` takes. A greedy search has use for `batch_size` and
            `max_length` alone, as there is nothing to rank.
    """
    tokens: dict[str, Any] = {"start_id": text.START, "end_id": text.END, "pad_id": text.PAD}
    if beam_width == 1:
        limits: dict[str, Any] = {name: of_beam[name] for name in ("batch_size", "max_length")}
        return search.greedy_search(step, state, **tokens, **limits)
    return search.beam_search(step, state, beam_width=beam_width, **tokens, **of_beam)
