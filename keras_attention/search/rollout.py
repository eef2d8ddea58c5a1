"""Searches in which every row goes its own way: greedy search and sampling.

Shapes: B sentences, A of them still searched, n rows each, N = A * n rows, V tokens,
T = max_length, Tv values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention.loop import pick
from keras_attention.search.draw import Draw
from keras_attention.search.search import Grown, Progress, Search
from keras_attention.search.step import NEVER, Hypotheses, Limits, Step, check_integer, top_k


def greedy_search(
    step: Step,
    state,
    *,
    batch_size,
    start_id: int,
    end_id: int,
    max_length,
    memory=None,
    min_length: int = 0,
    pad_id: int = 0,
) -> Hypotheses:
    """Takes the most probable token at every step.

    It differs from `beam_search` with a beam of 1 where ending is the second best: a beam looks at
    two continuations, keeps the one that ends, and returns it if nothing better ends later.

    Args:
        step: A function of ids (B,) and a state to log_probs (B, V), the next state, and weights
            (B, Tv): see `keras_attention.search`.
        state: A tree of tensors (batch_size, …), the state before the first step; () if none.
        batch_size: Number of sentences; an integer or a scalar tensor.
        start_id: The token before the first.
        end_id: The token after the last.
        max_length: Most tokens of a hypothesis, the end token included; an integer or a scalar
            tensor.
        memory: A tree of tensors (batch_size, …) that `step` is given as its third argument: see
            `keras_attention.search`.
        min_length: Fewest tokens of a hypothesis, without the end token.
        pad_id: What fills `ids` behind the end token.

    Returns:
        `Hypotheses`, one of each sentence; the score is the log-probability.

    Example:

    >>> log_probs = keras.ops.log([[0.0, 0.6, 0.4], [0.9, 0.0, 0.1], [0.3, 0.3, 0.4]])
    >>> def step(ids, state):  # a chain over the tokens 0, 1 and 2, of which 0 is the end
    ...     return keras.ops.take(log_probs, ids, axis=0), state, keras.ops.zeros((len(ids), 0))
    >>> found = greedy_search(step, (), batch_size=1, start_id=0, end_id=0, max_length=4)
    >>> found.ids.numpy().tolist()
    [[[1, 0, 0, 0]]]
    """
    limits = Limits(batch_size, start_id, end_id, max_length, min_length, pad_id)

    def choose(log_probs, time, sentences):
        return top_k(log_probs, 1)[1]

    search = _RollOut(step=step, limits=limits, hypotheses=1, choose=choose)
    return search.run(state, memory)


def sample_search(
    step: Step,
    state,
    *,
    batch_size,
    start_id: int,
    end_id: int,
    max_length,
    seed: int | keras.random.SeedGenerator,
    memory=None,
    num_hypotheses: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_length: int = 0,
    pad_id: int = 0,
) -> Hypotheses:
    """Draws every token at random, from the distribution that `step` gives.

    Tokens are drawn with a probability in proportion to exp(log_probs / temperature), of the
    `top_k` most probable tokens only, and of these, of the fewest that have together at least the
    share `top_p` of the probability.

    Args:
        step: A function of ids (N,) and a state to log_probs (N, V), the next state, and weights
            (N, Tv), for N = batch_size * num_hypotheses: see `keras_attention.search`.
        state: A tree of tensors (batch_size, …), the state before the first step; () if none.
        batch_size: Number of sentences; an integer or a scalar tensor.
        start_id: The token before the first.
        end_id: The token after the last.
        max_length: Most tokens of a hypothesis, the end token included; an integer or a scalar
            tensor.
        seed: A `keras.random.SeedGenerator`, for other samples at every call; or an integer, for
            always the same. XLA draws other numbers from it than TensorFlow otherwise does.
        memory: A tree of tensors (batch_size, …) that `step` is given as its third argument: see
            `keras_attention.search`.
        num_hypotheses: Independent samples drawn of each sentence.
        temperature: Below 1 the probable becomes more so, above 1 less.
        top_k: Number of tokens to draw from; all unless given.
        top_p: Share of the probability to draw from; all of it unless given. Needs the tokens in
            order, which takes far longer for all than for `top_k` of them.
        min_length: Fewest tokens of a hypothesis, without the end token.
        pad_id: What fills `ids` behind the end token.

    Returns:
        `Hypotheses` in the order drawn, not best first, so that each is a fair sample. Scores are
        the log-probabilities, which `step` gives: without temperature, `top_k` and `top_p`.

    Example:

    >>> log_probs = keras.ops.log([[0.0, 0.6, 0.4], [0.9, 0.0, 0.1], [0.3, 0.3, 0.4]])
    >>> def step(ids, state):  # a chain over the tokens 0, 1 and 2, of which 0 is the end
    ...     return keras.ops.take(log_probs, ids, axis=0), state, keras.ops.zeros((len(ids), 0))
    >>> found = sample_search(
    ...     step, (), batch_size=1, start_id=0, end_id=0, max_length=4, seed=7, num_hypotheses=5
    ... )
    >>> found.ids.shape
    TensorShape([1, 5, 4])

    Reference: Holtzman et al., 2020, https://arxiv.org/abs/1904.09751 (section 3.1, `top_p`).
    """
    limits = Limits(batch_size, start_id, end_id, max_length, min_length, pad_id)
    check_integer("num_hypotheses", num_hypotheses, least=1)
    draw = Draw(temperature, top_k, top_p)
    # All chance is drawn at once, since an integer seed gives the same numbers at every step.
    if not isinstance(seed, (int, keras.random.SeedGenerator)):
        raise ValueError(
            f"`seed` must be an integer or a `keras.random.SeedGenerator`. Received: seed={seed!r}."
        )
    chance = keras.random.uniform(
        (max_length, batch_size, num_hypotheses), dtype="float32", seed=seed
    )

    def choose(log_probs, time, sentences):
        now = ops.take(ops.take(chance, time, axis=0), sentences, axis=0)
        return draw(log_probs, ops.reshape(now, (-1,)))

    search = _RollOut(step=step, limits=limits, hypotheses=num_hypotheses, choose=choose)
    return search.run(state, memory)


class _Rows(NamedTuple):
    """What the rows of A sentences are, so far."""

    has_ended: Any  # (A, n)
    lengths: Any  # (A, n) tokens without the end token
    log_probs: Any  # (A, n) sums


@dataclass(frozen=True, kw_only=True)
class _RollOut(Search):
    """Tokens choose(log_probs (N, V), time, sentences (A,)) of each row, until all have ended."""

    choose: Callable[..., Any]

    def first(self, ids, weights) -> _Rows:
        return _Rows(ops.zeros_like(ids, "bool"), ids, ops.zeros_like(ids, "float32"))

    def grow(self, before, log_probs, state, weights) -> Grown:
        """What has ended is frozen."""
        rows = before.own
        places = ops.cast(self.choose(log_probs, before.time, before.sentences), "int32")
        places = ops.reshape(places, (-1, 1))
        ids = ops.reshape(places, ops.shape(before.ids))
        chosen = ops.reshape(ops.cast(pick(log_probs, places), "float32"), ops.shape(ids))
        has_ended = ops.logical_or(rows.has_ended, ids == self.limits.end_id)
        goes_on = before.time + 1 < self.limits.max_length
        return Grown(
            choices=ids,
            ids=ids,
            state=state,
            is_open=ops.logical_and(goes_on, ops.any(~has_ended, axis=1)),
            own=_Rows(
                has_ended,
                rows.lengths + ops.cast(~has_ended, "int32"),
                rows.log_probs + ops.where(rows.has_ended, 0.0, chosen),
            ),
        )

    def found(self, progress: Progress) -> _Rows:
        return progress.own

    def unroll(self, found: _Rows, choices, weights, time, size: int) -> Hypotheses:
        possible = found.log_probs > NEVER  # (B, n)
        taken = ops.arange(ops.shape(choices)[0], dtype="int32")  # (T,)
        # An end token comes after a row's length, and nothing after the last step.
        real = ops.logical_and(taken <= found.lengths[..., None], taken < time)
        real = ops.logical_and(possible[..., None], real)  # (B, n, T)
        pad = ops.cast(self.limits.pad_id, "int32")
        ids = ops.where(real, ops.transpose(choices, (1, 2, 0)), pad)
        weights = ops.where(real[..., None], ops.transpose(weights, (1, 2, 0, 3)), 0.0)
        lengths = ops.where(possible, found.lengths, 0)
        return Hypotheses(ids, lengths, found.log_probs, found.log_probs, weights)
