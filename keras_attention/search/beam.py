"""Beam search.

Shapes: B sentences, A of them still searched, K hypotheses alive of each, N = A * K rows, C
candidates, n hypotheses returned, V tokens, T = max_length, Tv values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from keras import ops, tree

from keras_attention.loop import end_to_end, new_tape, pick, read, write
from keras_attention.search.ranking import Ranking
from keras_attention.search.search import Grown, Progress, Search
from keras_attention.search.step import (
    NEVER,
    Hypotheses,
    Limits,
    Step,
    check_integer,
    repeat,
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
    memory=None,
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

    in which |Y| counts the end token, and j runs over the real values. The search of a sentence
    stops as soon as nothing alive can become better than what has ended, which changes no result.

    Args:
        step: A function of ids (N,) and a state to log_probs (N, V), the next state, and weights
            (N, Tv), for N = batch_size at first, then batch_size * beam_width, or less: see
            `keras_attention.search`.
        state: A tree of tensors (batch_size, …), the state before the first step; () if none.
        batch_size: Number of sentences; an integer or a scalar tensor.
        beam_width: Hypotheses alive in each sentence.
        start_id: The token before the first.
        end_id: The token after the last.
        max_length: Most tokens of a hypothesis, the end token included; an integer or a scalar
            tensor.
        memory: A tree of tensors (batch_size, …) that `step` is given as its third argument: see
            `keras_attention.search`.
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
    search = _BeamSearch(
        step=step,
        limits=limits,
        hypotheses=beam_width,
        returned=num_hypotheses,
        ranking=Ranking(length_penalty, coverage_penalty, value_mask),
        early_stopping=early_stopping,
    )
    return search.run(state, memory)


class _Ended(NamedTuple):
    """Frozen hypotheses, (A, n), best first; score -inf where there is none yet."""

    scores: Any
    log_probs: Any
    lengths: Any  # the step at which they ended
    slots: Any  # where in the beam they were before that step


class _Beam(NamedTuple):
    """What a beam search keeps of A sentences."""

    log_probs: Any  # (A, K) of those alive, best first; -inf where there is none
    coverage: Any  # (A, K, Tv) sums of weights, and
    covered: Any  # (A, Tv) what is to be covered; both () where nothing asks for them
    ended: _Ended


class _Found(NamedTuple):
    """What a sentence's search ended with, best first."""

    hypotheses: _Ended
    is_ended: Any  # (A, n); those alive at the end have no end token


@dataclass(frozen=True, kw_only=True)
class _BeamSearch(Search):
    """Choices are slot * V + token: which token came in, after which hypothesis."""

    returned: int  # n
    ranking: Ranking
    early_stopping: bool

    def first(self, ids, weights) -> _Beam:
        """One hypothesis a sentence, of no tokens: with more, each would be there K times."""
        self.ranking.check_values(weights)
        nothing = ops.zeros((self.limits.batch_size, self.returned), "int32")
        never = ops.full_like(nothing, NEVER, "float32")
        coverage, covered = (), ()
        if self.ranking.coverage_penalty:
            coverage = ops.zeros((*ops.shape(ids), ops.shape(weights)[-1]))
            covered = ops.cast(self.ranking.value_mask, "bool")
        return _Beam(
            log_probs=ops.where(ops.arange(self.hypotheses) == 0, ops.cast(ids, "float32"), NEVER),
            coverage=coverage,
            covered=covered,
            ended=_Ended(never, never, nothing, nothing),
        )

    def begin(self, state, memory):
        """From one row a sentence: all hypotheses of no tokens would be given the same."""
        return repeat(self._take_first(state, memory, rows=1), self.hypotheses)

    def grow(self, before, log_probs, state, weights) -> Grown:
        beam, size = before.own, log_probs.shape[-1]
        if self.ranking.coverage_penalty:
            coverage = beam.coverage + ops.reshape(weights, ops.shape(beam.coverage))
            beam = beam._replace(coverage=coverage)
        totals, choices = self._candidates(beam, log_probs)  # (A, C) each
        has_ended = choices % size == self.limits.end_id
        alive, places = ops.top_k(ops.where(has_ended, NEVER, totals), self.hypotheses)
        chosen = pick(choices, places)  # (A, K)
        survivors = chosen // size
        rows = ops.reshape(end_to_end(survivors, self.hypotheses), ops.shape(log_probs)[:1])
        # Nothing ends any more in a sentence that is done, whether it has been left out or not.
        ending = ops.where(ops.logical_and(has_ended, before.is_open[:, None]), totals, NEVER)
        ended = self._end(beam, before.time, ending, choices // size)
        if self.ranking.coverage_penalty:
            beam = beam._replace(coverage=pick(beam.coverage, survivors))
        return Grown(
            choices=chosen,
            ids=chosen % size,
            state=tree.map_structure(lambda leaf: ops.take(leaf, rows, axis=0), state),
            is_open=self._is_open(before.time + 1, alive, ended),
            own=beam._replace(log_probs=alive, ended=ended),
        )

    def _candidates(self, beam: _Beam, log_probs):
        """The 2K best continuations of each sentence: log-probabilities, and slot * V + token.

        At most one in K continuations of a hypothesis ends it, so K of them go on.
        """
        most = min(2, log_probs.shape[-1]) * self.hypotheses
        return top_k(log_probs, most, beam.log_probs)

    def _is_open(self, time, log_probs, ended: _Ended):
        """Whether a hypothesis alive may still beat the worst that has ended: (A,).

        A longer one has no greater log-probability, a coverage penalty no greater than 0, and is
        divided by the length penalty of `max_length` at most.
        """
        length = time + 1 if self.early_stopping else self.limits.max_length
        bound = self.ranking.by_length(log_probs[:, 0], length)
        return ops.logical_and(time < self.limits.max_length, bound > ended.scores[:, -1])

    def _end(self, beam: _Beam, time, log_probs, slots) -> _Ended:
        """The best of what had ended and what ends now, with these `log_probs` (A, C)."""
        now = _Ended(
            self._scores(beam, log_probs, time + 1, slots),
            log_probs,
            ops.zeros_like(slots) + time,
            slots,
        )
        both = [ops.concatenate(pair, axis=1) for pair in zip(beam.ended, now, strict=True)]
        scores, places = ops.top_k(both[0], self.returned)
        return _Ended(scores, *(pick(each, places) for each in both[1:]))

    def _scores(self, beam: _Beam, log_probs, length, slots):
        return self.ranking.scores(log_probs, length, beam.coverage, beam.covered, slots)

    def found(self, progress: Progress) -> _Found:
        """What has ended, then the best alive in the places left."""
        beam, time = progress.own, progress.time
        slots = ops.zeros_like(progress.ids) + ops.arange(self.hypotheses, dtype="int32")
        scores = self._scores(beam, beam.log_probs, time, slots)
        scores, slots = ops.top_k(scores, self.returned)
        # Nobody is alive where the search has stopped early with places left: their length is 0.
        lengths = ops.where(scores > NEVER, time, 0)
        alive = _Ended(scores, pick(beam.log_probs, slots), lengths, slots)
        place = ops.arange(self.returned, dtype="int32")  # (n,)
        is_ended = beam.ended.scores > NEVER  # (A, n), all that have ended before all others
        ended = ops.sum(ops.cast(is_ended, "int32"), axis=1, keepdims=True)
        order = ops.where(place < ended, place, place - ended + self.returned)
        pairs = zip(beam.ended, alive, strict=True)
        hypotheses = _Ended(*(pick(ops.concatenate(pair, axis=1), order) for pair in pairs))
        return _Found(hypotheses, is_ended)

    def unroll(self, found: _Found, choices, weights, time, size: int) -> Hypotheses:
        """Follows the choices that led to the hypotheses found back to the first step."""
        hypotheses, is_ended = found
        max_length, batch_size, beam_width, num_values = ops.shape(weights)

        def back(time, slots, ids, path):
            time = time - 1
            inside = time < hypotheses.lengths  # (B, n)
            choice = pick(ops.take(choices, time, axis=0), slots)
            slots = ops.where(inside, choice // size, slots)
            ids = write(ids, time, ops.where(inside, choice % size, self.limits.end_id))
            return time, slots, ids, write(path, time, end_to_end(slots, beam_width))

        slots = hypotheses.slots
        tapes = (new_tape(max_length, slots), new_tape(max_length, slots))
        _, _, ids, path = ops.while_loop(lambda time, *_: time > 0, back, (time, slots, *tapes))
        num_steps = hypotheses.lengths + ops.cast(is_ended, "int32")  # (B, n), end token included
        real = ops.arange(max_length, dtype="int32") < num_steps[:, :, None]  # (B, n, T)
        ids = ops.where(real, ops.transpose(read(ids), (1, 2, 0)), self.limits.pad_id)
        weights = ops.reshape(weights, (max_length, batch_size * beam_width, num_values))
        rows = ops.reshape(read(path), (max_length, batch_size * slots.shape[1]))
        weights = ops.reshape(pick(weights, rows), (max_length, *ops.shape(slots), num_values))
        weights = ops.where(real[..., None], ops.transpose(weights, (1, 2, 0, 3)), 0.0)
        return Hypotheses(ids, hypotheses.lengths, hypotheses.scores, hypotheses.log_probs, weights)
