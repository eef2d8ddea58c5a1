"""Searches in which every row goes its own way: greedy search and sampling.

Shapes: B sentences, n rows each, N = B * n rows, V tokens, T = max_length, Tv values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention.loop import new_tape, read, write
from keras_attention.search.draw import Draw
from keras_attention.search.step import (
    NEVER,
    Hypotheses,
    Limits,
    Step,
    ban_end,
    check_integer,
    pick,
    repeat_state,
    shaped_like,
    take_step,
    top_k,
)


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

    def choose(time, log_probs):
        return top_k(log_probs, 1)[1][:, 0]

    return _roll_out(step, state, memory, choose, 1, limits)


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
        (max_length, batch_size * num_hypotheses), dtype="float32", seed=seed
    )

    def choose(time, log_probs):
        return draw(log_probs, ops.take(chance, time, axis=0))

    return _roll_out(step, state, memory, choose, num_hypotheses, limits)


class _Rows(NamedTuple):
    """Rows on their way."""

    time: Any  # steps taken
    ids: Any  # (N,) the last tokens
    state: Any  # (N, …)
    has_ended: Any  # (N,)
    lengths: Any  # (N,) tokens without the end token
    log_probs: Any  # (N,) sums
    tokens: Any  # (T, N)
    weights: Any  # (T, N, Tv)


def _roll_out(step: Step, state, memory, choose, num_hypotheses: int, limits: Limits) -> Hypotheses:
    """Rows of tokens (N,) = choose(time, log_probs (N, V)), until all have ended.

    The first step stands by itself, since it tells the number of values.
    """

    def advance(rows: _Rows) -> tuple[_Rows]:
        stepped = take_step(step, rows.ids, rows.state, limits, memory)
        return (_grow(rows, *stepped, choose, limits),)

    def is_open(rows: _Rows):
        return ops.logical_and(rows.time < limits.max_length, ops.any(~rows.has_ended))

    ids = ops.full((limits.batch_size * num_hypotheses,), limits.start_id, "int32")
    first = take_step(step, ids, repeat_state(state, num_hypotheses), limits, memory)
    rows = _grow(_seed(ids, first, limits), *first, choose, limits)
    (rows,) = ops.while_loop(is_open, advance, (rows,))
    rows = rows._replace(tokens=read(rows.tokens), weights=read(rows.weights))
    return _unroll(rows, num_hypotheses, limits)


def _seed(ids, first, limits: Limits) -> _Rows:
    _, state, weights = first
    return _Rows(
        time=ops.zeros((), "int32"),
        ids=ids,
        state=state,
        has_ended=ops.zeros_like(ids, "bool"),
        lengths=ops.zeros_like(ids),
        log_probs=ops.zeros_like(ids, "float32"),
        tokens=new_tape(limits.max_length, ids),
        weights=new_tape(limits.max_length, weights),
    )


def _grow(rows: _Rows, log_probs, state, weights, choose, limits: Limits) -> _Rows:
    """The rows after one more step, from what that step gave. What has ended is frozen."""
    log_probs = ban_end(log_probs, rows.time, limits)
    ids = ops.cast(choose(rows.time, log_probs), "int32")
    chosen = ops.cast(pick(log_probs, ids[:, None])[:, 0], "float32")
    ends = ids == limits.end_id
    goes_on = ~(rows.has_ended | ends)
    tokens = ops.where(rows.has_ended, limits.pad_id, ids)
    weights = ops.where(rows.has_ended[:, None], 0.0, weights)
    return _Rows(
        time=rows.time + 1,
        ids=ids,
        state=shaped_like(state, rows.state),
        has_ended=rows.has_ended | ends,
        lengths=rows.lengths + ops.cast(goes_on, "int32"),
        log_probs=rows.log_probs + ops.where(rows.has_ended, 0.0, chosen),
        tokens=write(rows.tokens, rows.time, tokens),
        weights=write(rows.weights, rows.time, weights),
    )


def _unroll(rows: _Rows, num_hypotheses: int, limits: Limits) -> Hypotheses:
    possible = rows.log_probs > NEVER  # (N,)
    pad = ops.cast(limits.pad_id, "int32")
    taken = ops.arange(ops.shape(rows.tokens)[0], dtype="int32") < rows.time  # (T,)
    real = ops.logical_and(possible[:, None], taken)
    tokens = ops.where(real, ops.transpose(rows.tokens), pad)
    weights = ops.transpose(rows.weights, (1, 0, 2))
    weights = ops.where(possible[:, None, None], weights, 0.0)
    lengths = ops.where(possible, rows.lengths, 0)

    def by_sentence(tensor):
        shape = (limits.batch_size, num_hypotheses, *ops.shape(tensor)[1:])
        return ops.reshape(tensor, shape)

    log_probs = by_sentence(rows.log_probs)
    return Hypotheses(
        by_sentence(tokens), by_sentence(lengths), log_probs, log_probs, by_sentence(weights)
    )
