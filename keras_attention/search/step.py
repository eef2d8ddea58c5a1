"""What all searches share: their result, the step function's contract, and moves on its tensors.

Shapes: B sentences, n hypotheses each, N rows, V tokens, T = max_length, Tv values.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention.loop import pick
from keras_attention.shapes import differ

Step = Callable[..., tuple[Any, Any, Any]]

NEVER = float("-inf")  # the log-probability of what cannot be


class Hypotheses(NamedTuple):
    """What a search found: n hypotheses of each sentence.

    Where a sentence has fewer possible hypotheses than were asked for (its vocabulary small, or
    most of it banned), the rest have score and log-probability -inf, length 0 and only `pad_id`s.
    """

    ids: Any  # (B, n, T) int32: the tokens after the start token, the end token, then `pad_id`s
    lengths: Any  # (B, n) int32: the tokens before the end token; T where there is no end token
    scores: Any  # (B, n) float32: what they are ranked by
    log_probs: Any  # (B, n) float32: summed over the tokens, the end token included
    weights: Any  # (B, n, T, Tv) float32: row t belongs to ids[:, :, t]; 0 after the end token


@dataclass(frozen=True)
class Limits:
    """Where hypotheses begin and end: the arguments that all searches have."""

    batch_size: Any  # an integer or a scalar tensor
    start_id: int
    end_id: int
    max_length: Any  # an integer or a scalar tensor
    min_length: int
    pad_id: int

    def __post_init__(self):
        check_size("batch_size", self.batch_size)
        check_size("max_length", self.max_length)
        for name in ("min_length", "start_id", "end_id", "pad_id"):
            check_integer(name, getattr(self, name), least=0)
        if not ops.is_tensor(self.max_length) and self.min_length >= self.max_length:
            raise ValueError(
                "`min_length` must be less than `max_length`, which counts the end token. "
                f"Received: min_length={self.min_length}, max_length={self.max_length}."
            )


def take_step(step: Step, ids, state, limits: Limits, memory=None) -> tuple[Any, Any, Any]:
    """What `step` returns, checked: log_probs (N, V), state and weights (N, Tv)."""
    if memory is None:
        returned = step(ids, state)
    else:
        check_rows("memory", memory)
        returned = step(ids, state, memory)
    if not (isinstance(returned, tuple) and len(returned) == 3):
        raise ValueError(
            "`step` must return a tuple (log_probs, state, weights). "
            f"Received: step(ids, state)={returned!r}."
        )
    log_probs, new_state, weights = returned
    try:
        keras.tree.assert_same_structure(state, new_state)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`step` must return a state of the structure that it was given. "
            f"Received: {new_state!r}, given: {state!r}."
        ) from error
    for name, each in (("log_probs", log_probs), ("weights", weights)):
        if len(each.shape) != 2 or differ(each.shape[:1], ids.shape):
            raise ValueError(
                "`step` must return log_probs (rows, vocabulary) and weights (rows, values), with "
                "no values where there is no attention. "
                f"Received: {name}.shape={tuple(each.shape)}, for ids.shape={tuple(ids.shape)}."
            )
    if log_probs.shape[1] is None:
        raise ValueError(
            "`step` must return log_probs of a vocabulary whose size is known while tracing. "
            f"Received: log_probs.shape={tuple(log_probs.shape)}."
        )
    if limits.end_id >= log_probs.shape[-1]:
        raise ValueError(
            "`end_id` must be one of the tokens that `step` gives log-probabilities of. "
            f"Received: end_id={limits.end_id}, log_probs.shape={tuple(log_probs.shape)}."
        )
    return log_probs, new_state, ops.cast(weights, "float32")


def repeat(tree, times: int):
    """Each row as many times, side by side: (N, …) -> (N * times, …)."""
    return keras.tree.map_structure(lambda leaf: ops.repeat(leaf, times, axis=0), tree)


def shaped_like(state, previous):
    """`state` with the static shapes of `previous`, which a graph's loop insists on."""
    return keras.tree.map_structure(
        lambda leaf, old: ops.reshape(leaf, ops.shape(old)), state, previous
    )


def by_sentence(rows, like):
    """Rows (A * n, …) as (A, n, …), where something else is (A, n)."""
    return ops.reshape(rows, (*ops.shape(like), *ops.shape(rows)[1:]))


def ban_end(log_probs, time, limits: Limits):
    """`log_probs` (N, V) in which no hypothesis ends before it has `min_length` tokens."""
    if limits.min_length == 0:
        return log_probs
    is_end = ops.arange(log_probs.shape[-1], dtype="int32") == limits.end_id
    never = ops.cast(NEVER, log_probs.dtype)
    return ops.where(ops.logical_and(is_end, time < limits.min_length), never, log_probs)


def top_k(log_probs, k: int, so_far=None):
    """The `k` best of the sums `so_far[r, i] + log_probs[r * K + i, token]` of each row r.

    They are those of `ops.top_k`, ties and all, in a third of the time where V is large: the k best
    lie in the k blocks with the best maxima, so one pass finds those, and the rest of the work is
    done on k blocks only. V must be a multiple of some width for this, as a padded vocabulary is.

    Args:
        log_probs: Tensor of shape (R * K, V).
        k: How many, at most K * V.
        so_far: Tensor of shape (R, K), float32; zeros of shape (R, 1) unless given.

    Returns:
        The sums (R, k), best first, and their places `i * V + token`.
    """
    if so_far is None:
        so_far = ops.zeros((ops.shape(log_probs)[0], 1))
    rows, each = ops.shape(so_far)
    size = log_probs.shape[-1]
    width = block_width(size)
    of_each = size // width  # blocks
    sums = ops.cast(ops.reshape(log_probs, (rows, each, of_each, width)), so_far.dtype)
    so_far = so_far[:, :, None]
    if each * of_each < 2 * k:
        return ops.top_k(ops.reshape(so_far[..., None] + sums, (rows, each * size)), k)
    best = ops.reshape(so_far + ops.max(sums, axis=-1), (rows, each * of_each))
    _, chosen = ops.top_k(best, k)
    chosen = ops.sort(chosen, axis=-1)  # so that of equals, the first in the row wins
    blocks = pick(ops.reshape(sums, (rows, each * of_each, width)), chosen)  # (R, k, width)
    sums = pick(so_far, chosen // of_each) + blocks
    sums, places = ops.top_k(ops.reshape(sums, (rows, k * width)), k)
    return sums, pick(chosen, places // width) * width + places % width


def block_width(size: int) -> int:
    """The width of equal blocks that a vocabulary divides into; all of it, if it does not."""
    return next((width for width in range(64, 15, -1) if size % width == 0), size)


def check_rows(name: str, tree) -> None:
    """That all of a tree has a row for each sentence."""
    for leaf in keras.tree.flatten(tree):
        if len(ops.shape(leaf)) == 0:
            raise ValueError(
                f"Every tensor of `{name}` must have a leading axis, one row a sentence. "
                f"Received: {name}={tree!r}."
            )


def check_size(name: str, size) -> None:
    """A positive integer, or a scalar tensor whose value is not known yet."""
    if ops.is_tensor(size):
        if len(size.shape) != 0:
            raise ValueError(
                f"`{name}` must be an integer or a scalar tensor. "
                f"Received: a tensor of shape {tuple(size.shape)}."
            )
    else:
        check_integer(name, size, least=1)


def check_integer(name: str, value, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(
            f"`{name}` must be an integer, at least {least}. Received: {name}={value!r}."
        )
