"""What all searches do: hypotheses grow by a token a step, until all sentences are done.

Of a batch that is searched until its longest sentence ends, most are done long before. Where only
the graph knows how many sentences there are, as in a SavedModel, a search goes on with fewer.

Shapes: B sentences, A of them still searched, R hypotheses of each, N = A * R rows, V tokens,
T = max_length, Tv values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention.loop import new_tape, read, write
from keras_attention.search.step import (
    Hypotheses,
    Limits,
    Step,
    ban_end,
    by_sentence,
    check_rows,
    repeat,
    shaped_like,
    take_step,
)

# Sentences are left out when no more than this share of those still searched is open. Each time
# takes a copy of their states and memories, which a step of the search is far longer than.
SHARE = 0.75


class Progress(NamedTuple):
    """The hypotheses of A sentences, and the way that led to them, on tapes of T rows.

    A is B, or fewer where those that are done have been left out.
    """

    time: Any  # steps taken
    sentences: Any  # (A,) which of all they are
    is_open: Any  # (A,) whether another step may change what is found
    ids: Any  # (A, R) the last tokens
    state: Any  # (N, …)
    own: Any  # (A, …) what else the search keeps of each sentence
    choices: Any  # (T, B, R) of each step
    weights: Any  # (T, B, R, Tv) of each step, by hypothesis before it


class Grown(NamedTuple):
    """What becomes of the hypotheses of A sentences in one step."""

    choices: Any  # (A, R) what is written down, for `unroll` to follow
    ids: Any  # (A, R) the tokens that came in
    state: Any  # (N, …)
    is_open: Any  # (A,)
    own: Any  # (A, …)


@dataclass(frozen=True, kw_only=True)
class Search(ABC):
    """One way to search; see `beam_search`, `greedy_search` and `sample_search`."""

    step: Step
    limits: Limits
    hypotheses: int  # R
    narrows: bool = False  # whether sentences that are done are left out

    @abstractmethod
    def first(self, ids, weights) -> Any:
        """`Progress.own` before the first step: for ids (B, R), and the weights (N, Tv) to come."""

    @abstractmethod
    def grow(self, before: Progress, log_probs, state, weights) -> Grown:
        """One step, from what `step` gave."""

    @abstractmethod
    def found(self, progress: Progress) -> Any:
        """A tree of tensors (A, …): what is found if the search of these sentences is over."""

    @abstractmethod
    def unroll(self, found, choices, weights, time, size: int) -> Hypotheses:
        """The hypotheses that were found after `time` steps, with a vocabulary of `size`."""

    def run(self, state, memory) -> Hypotheses:
        """The first step by itself, since it tells the number of values; then the others."""
        check_rows("state", state)
        given = self.begin(state, memory)
        before = self._before(*given)
        narrows = memory is not None and can_narrow(given, memory, before.own)
        search = replace(self, narrows=narrows)
        progress = search._grow(before, *given)
        if narrows:
            progress, found, _ = ops.while_loop(
                lambda progress, *_: ops.any(progress.is_open),
                search._narrow,
                (progress, search.found(progress), memory),
            )
        else:
            progress = search._go_on(progress, memory, 0)
            found = search.found(progress)
        tapes = read(progress.choices), read(progress.weights)
        return self.unroll(found, *tapes, progress.time, given[0].shape[-1])

    def begin(self, state, memory) -> tuple[Any, Any, Any]:
        """What `step` gives for hypotheses of no tokens, the state being one row a sentence."""
        return self._take_first(repeat(state, self.hypotheses), memory, self.hypotheses)

    def _take_first(self, state, memory, rows: int) -> tuple[Any, Any, Any]:
        ids = ops.full((self.limits.batch_size * rows,), self.limits.start_id, "int32")
        return take_step(self.step, ids, state, self.limits, memory)

    def _before(self, log_probs, state, weights) -> Progress:
        """What there is before the first step, which gives this."""
        sentences = ops.arange(self.limits.batch_size, dtype="int32")
        ids = ops.zeros((self.limits.batch_size, self.hypotheses), "int32")
        return Progress(
            time=ops.zeros((), "int32"),
            sentences=sentences,
            is_open=ops.ones_like(sentences, "bool"),
            ids=ids,
            state=state,
            own=self.first(ids, weights),
            choices=new_tape(self.limits.max_length, ids),
            weights=new_tape(self.limits.max_length, by_sentence(weights, ids)),
        )

    def _go_on(self, progress: Progress, memory, few) -> Progress:
        """Goes on until no more than a few sentences are open."""

        def advance(progress):
            ids = ops.reshape(progress.ids, (-1,))
            given = take_step(self.step, ids, progress.state, self.limits, memory)
            return (self._grow(progress, *given),)

        (progress,) = ops.while_loop(
            lambda progress: ops.sum(ops.cast(progress.is_open, "int32")) > few,
            advance,
            (progress,),
        )
        return progress

    def _grow(self, before: Progress, log_probs, state, weights) -> Progress:
        log_probs = ban_end(log_probs, before.time, self.limits)
        grown = self.grow(before, log_probs, state, weights)
        return Progress(
            time=before.time + 1,
            sentences=before.sentences,
            is_open=ops.logical_and(before.is_open, grown.is_open),
            ids=grown.ids,
            state=shaped_like(grown.state, before.state),
            own=grown.own,
            choices=self._write(before.choices, before, grown.choices),
            weights=self._write(before.weights, before, by_sentence(weights, before.ids)),
        )

    def _write(self, tape, before: Progress, values):
        """Writes the values (A, …) of one step, and 0 for sentences that have been left out."""
        if self.narrows:
            shape = self.limits.batch_size, *ops.shape(values)[1:]
            values = ops.scatter(before.sentences[:, None], values, shape)
        return write(tape, before.time, values)

    def _narrow(self, progress: Progress, found, memory):
        """Goes on with the sentences that are open, until too few of them are."""
        places = ops.cast(ops.nonzero(progress.is_open)[0], "int32")
        names = ("sentences", "is_open", "ids", "own")
        kept = {name: keep(getattr(progress, name), places) for name in names}
        progress = progress._replace(state=keep(progress.state, places, self.hypotheses), **kept)
        memory = keep(memory, places)
        few = ops.cast(SHARE * ops.cast(ops.shape(places)[0], "float32"), "int32")
        progress = self._go_on(progress, memory, few)
        found = keras.tree.map_structure(
            lambda every, some: ops.scatter_update(every, progress.sentences[:, None], some),
            found,
            self.found(progress),
        )
        return progress, found, memory


def can_narrow(*trees) -> bool:
    """Whether all leading axes are of sizes that are unknown while tracing, and may change."""
    leaves = keras.tree.flatten(trees)
    return keras.backend.backend() == "tensorflow" and all(leaf.shape[0] is None for leaf in leaves)


def keep(tree, places, rows: int = 1):
    """What belongs to the sentences at some places: each leaf (A * R, …) to (A' * R, …)."""
    places = ops.reshape(places[:, None] * rows + ops.arange(rows, dtype="int32"), (-1,))
    return keras.tree.map_structure(lambda leaf: ops.take(leaf, places, axis=0), tree)
