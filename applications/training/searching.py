"""The search that a decoder of text is evaluated and served with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from applications.training import text
from keras_attention import search
from keras_attention.recurrent import CellMemory


def bias_of_what_may_come(vocabulary_size: int) -> np.ndarray:
    """-inf for the tokens that no text contains, 0 for all others: (vocabulary_size,)."""
    bias = np.zeros(vocabulary_size, np.float32)
    bias[[text.PAD, text.START, text.UNKNOWN]] = -np.inf
    return bias


def best(
    step: Callable,
    state,
    memory: CellMemory,
    *,
    batch_size: Any,
    max_length: Any,
    beam_width: int = 1,
    **of_beam: Any,
) -> search.Hypotheses:
    """The best texts: greedy where the beam is 1 wide, else by beam search.

    Args:
        step, state, batch_size, max_length: See `keras_attention.search`.
        memory: What a decoder prepared, and `step` is given as its third argument.
        beam_width: Hypotheses kept.
        of_beam: What else `search.beam_search` takes to rank them. A greedy search has one only.
    """
    of_sentences = {"keys": memory.keys, "values": memory.values}
    if memory.mask is not None:
        of_sentences["mask"] = memory.mask

    def look(ids, state, of_sentences):
        return step(ids, state, memory._replace(**of_sentences))

    shared: dict[str, Any] = {"start_id": text.START, "end_id": text.END, "pad_id": text.PAD}
    shared |= {"batch_size": batch_size, "max_length": max_length, "memory": of_sentences}
    if beam_width == 1:
        return search.greedy_search(look, state, **shared)
    return search.beam_search(look, state, beam_width=beam_width, **shared, **of_beam)
