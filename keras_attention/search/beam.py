"""Beam search.

Shapes: B sentences, K alive hypotheses each, N = B * K rows, C candidates, n hypotheses returned,
V tokens, T = max_length, Tv values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention.loop import new_tape, pick, read, write
from keras_attention.search.narrowing import (
    can_narrow,
    count,
    keep,
    put,
    spread,
    too_few,
    where_open,
)
from keras_attention.search.ranking import Ranking
from keras_attention.search.step import (
    NEVER,
    Hypotheses,
    Limits,
    Step,
    ban_end,
    by_sentence,
    check_integer,
    end_to_end,
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
            (N, Tv), for N = batch_size * beam_width, or less: see `keras_attention.search`.
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
    ranking = Ranking(length_penalty, coverage_penalty, value_mask)
    search = _BeamSearch(step, limits, beam_width, num_hypotheses, ranking, early_stopping)
    return search.run(state, memory)


class _Ended(NamedTuple):
    """Frozen hypotheses, (B, n), best first; score -inf where there is none yet."""

    scores: Any
    log_probs: Any
    lengths: Any  # the step at which they ended
    slots: Any  # where in the beam they were before that step


class _Beam(NamedTuple):
    """The hypotheses alive of A sentences, and the way that led to them, on tapes of T rows.

    A is B, or fewer where those that are done have been left out; A * K hypotheses are N here.
    """

    time: Any  # steps taken
    sentences: Any  # (A,) which of all they are
    is_open: Any  # (A,) whether a hypothesis alive may still beat the worst that has ended
    ids: Any  # (A, K) the last tokens
    log_probs: Any  # (A, K) best first; -inf where there is no hypothesis
    state: Any  # (N, …)
    coverage: Any  # (A, K, Tv) sums of weights; () where nothing asks for them
    ended: _Ended  # of A sentences
    choices: Any  # (T, B, K) slot * V + token: which token came in, after which hypothesis
    weights: Any  # (T, B, K, Tv) of each step, by hypothesis before it


class _Found(NamedTuple):
    """What a sentence's search ended with, best first."""

    hypotheses: _Ended
    is_ended: Any  # (B, n); those alive at the end have no end token


@dataclass(frozen=True)
class _BeamSearch:
    step: Step
    limits: Limits
    beam_width: int
    num_hypotheses: int
    ranking: Ranking
    early_stopping: bool
    narrows: bool = False  # whether sentences that are done are left out

    def run(self, state, memory) -> Hypotheses:
        """The first step by itself, since it tells the number of values; then the others."""
        ids = ops.full((self.limits.batch_size * self.beam_width,), self.limits.start_id, "int32")
        state = repeat_state(state, self.beam_width)
        first = take_step(self.step, ids, state, self.limits, memory)
        self.ranking.check_values(first[2])
        covered = ()
        if self.ranking.coverage_penalty:
            covered = ops.convert_to_tensor(self.ranking.value_mask)
        narrows = memory is not None and can_narrow(ids, first, memory, covered)
        search = replace(self, narrows=narrows)
        beam = search._grow(search._seed(first), *first)
        if narrows:
            found = search._ranked(beam)
            beam, found, *_ = ops.while_loop(
                lambda beam, *_: ops.any(beam.is_open),
                search._narrow,
                (beam, found, memory, covered),
            )
        else:
            beam = search._go_on(beam, memory, lambda beam: ops.any(beam.is_open))
            found = search._ranked(beam)
        beam = beam._replace(choices=read(beam.choices), weights=read(beam.weights))
        return _unroll(beam, found, first[0].shape[-1], self.limits)

    def _seed(self, first) -> _Beam:
        """One hypothesis a sentence, of no tokens: with more, each would be there K times."""
        _, state, weights = first
        sentences = ops.arange(self.limits.batch_size, dtype="int32")
        ids = ops.zeros((self.limits.batch_size, self.beam_width), "int32")
        nothing = ops.zeros((self.limits.batch_size, self.num_hypotheses), "int32")
        never = ops.full_like(nothing, NEVER, "float32")
        coverage = ops.zeros((*ops.shape(ids), ops.shape(weights)[-1]))
        return _Beam(
            time=ops.zeros((), "int32"),
            sentences=sentences,
            is_open=ops.ones_like(sentences, "bool"),
            ids=ids,
            log_probs=ops.where(ops.arange(self.beam_width) == 0, ops.cast(ids, "float32"), NEVER),
            state=state,
            coverage=coverage if self.ranking.coverage_penalty else (),
            ended=_Ended(never, never, nothing, nothing),
            choices=new_tape(self.limits.max_length, ids),
            weights=new_tape(self.limits.max_length, by_sentence(weights, ids)),
        )

    def _narrow(self, beam: _Beam, found: _Found, memory, covered):
        """Goes on with the sentences that are open, until too few of them are."""
        places = where_open(beam.is_open)
        memory, covered = keep((memory, covered), places)
        names = ("sentences", "is_open", "ids", "log_probs", "coverage", "ended")
        kept = {name: keep(getattr(beam, name), places) for name in names}
        beam = beam._replace(state=keep(beam.state, places, self.beam_width), **kept)
        search = replace(self, ranking=replace(self.ranking, value_mask=covered))
        few = too_few(places)
        beam = search._go_on(beam, memory, lambda beam: count(beam.is_open) > few)
        return beam, put(found, beam.sentences, search._ranked(beam)), memory, covered

    def _go_on(self, beam: _Beam, memory, condition) -> _Beam:
        def advance(beam):
            ids = ops.reshape(beam.ids, (-1,))
            return (self._grow(beam, *take_step(self.step, ids, beam.state, self.limits, memory)),)

        (beam,) = ops.while_loop(condition, advance, (beam,))
        return beam

    def _is_open(self, time, log_probs, ended: _Ended):
        """Whether a hypothesis alive may still beat the worst that has ended: (A,).

        A longer one has no greater log-probability, a coverage penalty no greater than 0, and is
        divided by the length penalty of `max_length` at most.
        """
        length = time + 1 if self.early_stopping else self.limits.max_length
        bound = self.ranking.by_length(log_probs[:, 0], length)
        return ops.logical_and(time < self.limits.max_length, bound > ended.scores[:, -1])

    def _grow(self, beam: _Beam, log_probs, state, weights) -> _Beam:
        """The beam after one more step, from what that step gave."""
        coverage = self._cover(beam.coverage, weights)
        log_probs = ban_end(log_probs, beam.time, self.limits)
        size = log_probs.shape[-1]
        totals, choices = self._candidates(beam, log_probs)  # (A, C) each
        has_ended = choices % size == self.limits.end_id
        alive, places = ops.top_k(ops.where(has_ended, NEVER, totals), self.beam_width)
        chosen = pick(choices, places)  # (A, K)
        survivors = chosen // size
        rows = ops.reshape(end_to_end(survivors, self.beam_width), ops.shape(log_probs)[:1])
        state = keras.tree.map_structure(lambda leaf: ops.take(leaf, rows, axis=0), state)
        ended = self._end(beam, ops.where(has_ended, totals, NEVER), choices // size, coverage)
        is_open = self._is_open(beam.time + 1, alive, ended)
        return _Beam(
            time=beam.time + 1,
            sentences=beam.sentences,
            is_open=ops.logical_and(beam.is_open, is_open),
            ids=chosen % size,
            log_probs=alive,
            state=shaped_like(state, beam.state),
            coverage=pick(coverage, survivors) if self.ranking.coverage_penalty else (),
            ended=ended,
            choices=self._write(beam.choices, beam, chosen),
            weights=self._write(beam.weights, beam, by_sentence(weights, chosen)),
        )

    def _write(self, tape, beam: _Beam, values):
        if self.narrows:
            values = spread(values, beam.sentences, self.limits.batch_size)
        return write(tape, beam.time, values)

    def _candidates(self, beam: _Beam, log_probs):
        """The 2K best continuations of each sentence: log-probabilities, and slot * V + token.

        At most one in K continuations of a hypothesis ends it, so K of them go on.
        """
        size = log_probs.shape[-1]
        count = min(2 * self.beam_width, self.beam_width * size)
        return top_k(log_probs, count, beam.log_probs)

    def _cover(self, coverage, weights):
        if not self.ranking.coverage_penalty:
            return ()
        return coverage + ops.reshape(weights, ops.shape(coverage))

    def _end(self, beam: _Beam, log_probs, slots, coverage) -> _Ended:
        """The best of what had ended and what ends now, with these `log_probs` (A, C).

        Nothing ends any more in a sentence that is done, whether it has been left out or not.
        """
        log_probs = ops.where(beam.is_open[:, None], log_probs, NEVER)
        now = _Ended(
            self.ranking.scores(log_probs, beam.time + 1, coverage, slots),
            log_probs,
            ops.zeros_like(slots) + beam.time,
            slots,
        )
        both = [ops.concatenate(pair, axis=1) for pair in zip(beam.ended, now, strict=True)]
        scores, places = ops.top_k(both[0], self.num_hypotheses)
        return _Ended(scores, *(pick(each, places) for each in both[1:]))

    def _ranked(self, beam: _Beam) -> _Found:
        """What has ended, then the best alive in the places left."""
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
        hypotheses = _Ended(*(pick(ops.concatenate(pair, axis=1), order) for pair in pairs))
        return _Found(hypotheses, is_ended)


def _unroll(beam: _Beam, found: _Found, size: int, limits: Limits) -> Hypotheses:
    """Follows the choices that led to the hypotheses found back to the first step."""
    hypotheses, is_ended = found
    max_length, batch_size, beam_width, num_values = ops.shape(beam.weights)

    def back(time, slots, ids, path):
        time = time - 1
        inside = time < hypotheses.lengths  # (B, n)
        choice = pick(ops.take(beam.choices, time, axis=0), slots)
        slots = ops.where(inside, choice // size, slots)
        ids = write(ids, time, ops.where(inside, choice % size, limits.end_id))
        return time, slots, ids, write(path, time, end_to_end(slots, beam_width))

    slots = hypotheses.slots
    tapes = (new_tape(max_length, slots), new_tape(max_length, slots))
    _, _, ids, path = ops.while_loop(lambda time, *_: time > 0, back, (beam.time, slots, *tapes))
    num_steps = hypotheses.lengths + ops.cast(is_ended, "int32")  # (B, n), the end token included
    real = ops.arange(max_length, dtype="int32") < num_steps[:, :, None]  # (B, n, T)
    ids = ops.where(real, ops.transpose(read(ids), (1, 2, 0)), limits.pad_id)
    weights = ops.reshape(beam.weights, (max_length, batch_size * beam_width, num_values))
    rows = ops.reshape(read(path), (max_length, batch_size * slots.shape[1]))
    weights = ops.reshape(pick(weights, rows), (max_length, *ops.shape(slots), num_values))
    weights = ops.where(real[..., None], ops.transpose(weights, (1, 2, 0, 3)), 0.0)
    return Hypotheses(ids, hypotheses.lengths, hypotheses.scores, hypotheses.log_probs, weights)
