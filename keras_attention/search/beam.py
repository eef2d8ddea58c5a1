"""Beam search.

Shapes: B sentences, K alive hypotheses each, N = B * K rows, C candidates, n hypotheses returned,
V tokens, T = max_length, Tv values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention.loop import new_tape, read, write
from keras_attention.search.ranking import Ranking
from keras_attention.search.step import (
    NEVER,
    Hypotheses,
    Limits,
    Step,
    ban_end,
    check_integer,
    end_to_end,
    pick,
    repeat_state,
    shaped_like,
    take_step,
    top_k,
)


def beam_search(
    step: Step,
    state,
    *,
    batch_size,
    beam_width: int,
    start_id: int,
    end_id: int,
    max_length,
    num_hypotheses: int = 1,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
    value_mask=None,
    min_length: int = 0,
    pad_id: int = 0,
    early_stopping: bool = False,
) -> Hypotheses:
    """Keeps the `beam_width` best beginnings of each sentence, and of those that end, the best.

    At each step, the 2 * beam_width best continuations of the hypotheses alive are looked at. Those
    that end leave the beam, and are frozen; the best `beam_width` of the others stay alive. What
    has ended is ranked by (Wu et al., eq. 14)

        score(Y) = log P(Y | X) / lp(Y) + cp(X; Y)
        lp(Y) = ((5 + |Y|) / 6) ^ length_penalty
        cp(X; Y) = coverage_penalty * sum_j log(min(sum_t weights[t, j], 1))

    in which |Y| counts the end token, and j runs over the real values. The search stops as soon as
    nothing alive can become better than what has ended, which changes no result.

    Args:
        step: A function of ids (N,) and a state to log_probs (N, V), the next state, and weights
            (N, Tv), for N = batch_size * beam_width: see `keras_attention.search`.
        state: A tree of tensors (batch_size, …), the state before the first step; () if none.
        batch_size: Number of sentences; an integer or a scalar tensor.
        beam_width: Hypotheses alive in each sentence.
        start_id: The token before the first.
        end_id: The token after the last.
        max_length: Most tokens of a hypothesis, the end token included; an integer or a scalar
            tensor.
        num_hypotheses: Hypotheses returned of each sentence, at most `beam_width`.
        length_penalty: 0 ranks by plain log-probability, which favours the short; 1 by about
            the mean log-probability of a token, which favours the long; 0.6 to 1 is usual.
        coverage_penalty: Weight of the coverage penalty, which favours translations that attend
            to all of the source; 0 to 0.4 is usual.
        value_mask: Boolean tensor (batch_size, Tv), `True` = real: the values that are to be
            covered. Needed, and looked at, only where there is a coverage penalty.
        min_length: Fewest tokens of a hypothesis, without the end token.
        pad_id: What fills `ids` behind the end token.
        early_stopping: Whether to stop as soon as nothing alive scores better than what has ended,
            each by the length it has. With a length penalty that is about half way, and misses
            only a hypothesis that would have caught up by growing longer.

    Returns:
        `Hypotheses`, best first. Where fewer than `num_hypotheses` have ended within `max_length`,
        the best of those still alive come after them, and have no end token.

    Example:

    >>> log_probs = keras.ops.log([[0.0, 0.6, 0.4], [0.9, 0.0, 0.1], [0.3, 0.3, 0.4]])
    >>> def step(ids, state):  # a chain over the tokens 0, 1 and 2, of which 0 is the end
    ...     return keras.ops.take(log_probs, ids, axis=0), state, keras.ops.zeros((len(ids), 0))
    >>> found = beam_search(
    ...     step, (), batch_size=1, beam_width=3, start_id=0, end_id=0, max_length=4
    ... )
    >>> found.ids[0, 0].numpy().tolist(), round(float(keras.ops.exp(found.scores[0, 0])), 3)
    ([1, 0, 0, 0], 0.54)

    Reference: Wu et al., 2016, https://arxiv.org/abs/1609.08144 (section 7, eq. 14).
    """
    limits = Limits(batch_size, start_id, end_id, max_length, min_length, pad_id)
    check_integer("beam_width", beam_width, least=1)
    check_integer("num_hypotheses", num_hypotheses, least=1)
    if num_hypotheses > beam_width:
        raise ValueError(
            "`num_hypotheses` must be at most `beam_width`. "
            f"Received: num_hypotheses={num_hypotheses}, beam_width={beam_width}."
        )
    ranking = Ranking(length_penalty, coverage_penalty, value_mask)
    search = _BeamSearch(step, limits, beam_width, num_hypotheses, ranking, early_stopping)
    beam = search.run(state)
    return _unroll(beam, *search.ranked(beam), limits)


class _Ended(NamedTuple):
    """Frozen hypotheses, (B, n), best first; score -inf where there is none yet."""

    scores: Any
    log_probs: Any
    lengths: Any  # the step at which they ended
    slots: Any  # where in the beam they were before that step


class _Beam(NamedTuple):
    """The hypotheses alive, and the way that led to them, on tapes of `max_length` rows."""

    time: Any  # steps taken
    ids: Any  # (B, K) the last tokens
    log_probs: Any  # (B, K) best first; -inf where there is no hypothesis
    state: Any  # (N, …)
    coverage: Any  # (B, K, Tv) sums of weights; () where nothing asks for them
    tokens: Any  # (T, B, K) what came in at each step
    parents: Any  # (T, B, K) and after which hypothesis of the step before
    weights: Any  # (T, N, Tv) of each step, by hypothesis before it
    ended: _Ended


@dataclass(frozen=True)
class _BeamSearch:
    step: Step
    limits: Limits
    beam_width: int
    num_hypotheses: int
    ranking: Ranking
    early_stopping: bool

    def run(self, state) -> _Beam:
        """The first step by itself, since it tells the number of values; then the others."""
        ids = ops.full((self.limits.batch_size * self.beam_width,), self.limits.start_id, "int32")
        state = repeat_state(state, self.beam_width)
        first = take_step(self.step, ids, state, self.limits)
        self.ranking.check_values(first[2])
        beam = self._grow(self._seed(first), *first)
        (beam,) = ops.while_loop(self._is_open, self._advance, (beam,))
        tapes = ("tokens", "parents", "weights")
        return beam._replace(**{name: read(getattr(beam, name)) for name in tapes})

    def _seed(self, first) -> _Beam:
        """One hypothesis a sentence, of no tokens: with more, each would be there K times."""
        _, state, weights = first
        ids = ops.zeros((self.limits.batch_size, self.beam_width), "int32")
        nothing = ops.zeros((self.limits.batch_size, self.num_hypotheses), "int32")
        never = ops.full_like(nothing, NEVER, "float32")
        coverage = ops.zeros((*ops.shape(ids), ops.shape(weights)[-1]))
        return _Beam(
            time=ops.zeros((), "int32"),
            ids=ids,
            log_probs=ops.where(ops.arange(self.beam_width) == 0, ops.cast(ids, "float32"), NEVER),
            state=state,
            coverage=coverage if self.ranking.coverage_penalty else (),
            tokens=new_tape(self.limits.max_length, ids),
            parents=new_tape(self.limits.max_length, ids),
            weights=new_tape(self.limits.max_length, weights),
            ended=_Ended(never, never, nothing, nothing),
        )

    def _is_open(self, beam: _Beam):
        """Whether a hypothesis alive may still beat the worst that has ended.

        A longer one has no greater log-probability, a coverage penalty no greater than 0, and is
        divided by the length penalty of `max_length` at most.
        """
        length = beam.time + 1 if self.early_stopping else self.limits.max_length
        bound = self.ranking.by_length(beam.log_probs[:, 0], length)
        is_open = ops.any(bound > beam.ended.scores[:, -1])
        return ops.logical_and(beam.time < self.limits.max_length, is_open)

    def _advance(self, beam: _Beam) -> tuple[_Beam]:
        ids = ops.reshape(beam.ids, (self.limits.batch_size * self.beam_width,))
        return (self._grow(beam, *take_step(self.step, ids, beam.state, self.limits)),)

    def _grow(self, beam: _Beam, log_probs, state, weights) -> _Beam:
        """The beam after one more step, from what that step gave."""
        coverage = self._cover(beam.coverage, weights)
        log_probs = ban_end(log_probs, beam.time, self.limits)
        totals, tokens, parents = self._candidates(beam, log_probs)  # (B, C) each
        has_ended = tokens == self.limits.end_id
        alive, places = ops.top_k(ops.where(has_ended, NEVER, totals), self.beam_width)
        ids, survivors = pick(tokens, places), pick(parents, places)  # (B, K)
        rows = ops.reshape(end_to_end(survivors, self.beam_width), ops.shape(log_probs)[:1])
        state = keras.tree.map_structure(lambda leaf: ops.take(leaf, rows, axis=0), state)
        newly_ended = ops.where(has_ended, totals, NEVER)
        return _Beam(
            time=beam.time + 1,
            ids=ids,
            log_probs=alive,
            state=shaped_like(state, beam.state),
            coverage=pick(coverage, survivors) if self.ranking.coverage_penalty else (),
            tokens=write(beam.tokens, beam.time, ids),
            parents=write(beam.parents, beam.time, survivors),
            weights=write(beam.weights, beam.time, weights),
            ended=self._end(beam, newly_ended, parents, coverage),
        )

    def _candidates(self, beam: _Beam, log_probs):
        """The 2K best continuations of each sentence: log-probabilities, tokens and parents.

        At most one in K continuations of a hypothesis ends it, so K of them go on.
        """
        size = log_probs.shape[-1]
        count = min(2 * self.beam_width, self.beam_width * size)
        totals, places = top_k(log_probs, count, beam.log_probs)
        return totals, places % size, places // size

    def _cover(self, coverage, weights):
        if not self.ranking.coverage_penalty:
            return ()
        return coverage + ops.reshape(weights, ops.shape(coverage))

    def _end(self, beam: _Beam, log_probs, slots, coverage) -> _Ended:
        """The best of what had ended and what ends now, with these `log_probs` (B, C)."""
        now = _Ended(
            self.ranking.scores(log_probs, beam.time + 1, coverage, slots),
            log_probs,
            ops.zeros_like(slots) + beam.time,
            slots,
        )
        both = [ops.concatenate(pair, axis=1) for pair in zip(beam.ended, now, strict=True)]
        scores, places = ops.top_k(both[0], self.num_hypotheses)
        return _Ended(scores, *(pick(each, places) for each in both[1:]))

    def ranked(self, beam: _Beam) -> tuple[_Ended, Any]:
        """What has ended, then the best alive in the places left; and (B, n) which have ended."""
        slots = ops.zeros_like(beam.ids) + ops.arange(self.beam_width, dtype="int32")
        scores = self.ranking.scores(beam.log_probs, beam.time, beam.coverage, slots)
        scores, slots = ops.top_k(scores, self.num_hypotheses)
        # Nobody is alive where the search has stopped early with places left: their length is 0.
        lengths = ops.where(scores > NEVER, beam.time, 0)
        alive = _Ended(scores, pick(beam.log_probs, slots), lengths, slots)
        place = ops.arange(self.num_hypotheses, dtype="int32")  # (n,)
        is_ended = beam.ended.scores > NEVER  # (B, n), all that have ended before all others
        count = ops.sum(ops.cast(is_ended, "int32"), axis=1, keepdims=True)
        order = ops.where(place < count, place, place - count + self.num_hypotheses)
        pairs = zip(beam.ended, alive, strict=True)
        return _Ended(*(pick(ops.concatenate(pair, axis=1), order) for pair in pairs)), is_ended


def _unroll(beam: _Beam, found: _Ended, is_ended, limits: Limits) -> Hypotheses:
    """Follows the parents of the hypotheses found back to the first step."""
    max_length, _, beam_width = ops.shape(beam.tokens)

    def back(time, slots, ids, path):
        time = time - 1
        inside = time < found.lengths  # (B, n)
        token = ops.where(inside, pick(ops.take(beam.tokens, time, axis=0), slots), limits.end_id)
        parent = pick(ops.take(beam.parents, time, axis=0), slots)
        slots = ops.where(inside, parent, slots)
        row = end_to_end(slots, beam_width)
        return time, slots, write(ids, time, token), write(path, time, row)

    tapes = (new_tape(max_length, found.slots), new_tape(max_length, found.slots))
    _, _, ids, path = ops.while_loop(
        lambda time, *_: time > 0, back, (beam.time, found.slots, *tapes)
    )
    num_steps = found.lengths + ops.cast(is_ended, "int32")  # (B, n), the end token included
    real = ops.arange(max_length, dtype="int32") < num_steps[:, :, None]  # (B, n, T)
    ids = ops.where(real, ops.transpose(read(ids), (1, 2, 0)), limits.pad_id)
    rows = ops.shape(found.slots)[0] * found.slots.shape[1]
    weights = pick(beam.weights, ops.reshape(read(path), (max_length, rows)))  # (T, B * n, Tv)
    weights = ops.reshape(weights, (max_length, *ops.shape(found.slots), ops.shape(weights)[-1]))
    weights = ops.where(real[..., None], ops.transpose(weights, (1, 2, 0, 3)), 0.0)
    return Hypotheses(ids, found.lengths, found.scores, found.log_probs, weights)
