"""How a choice made deep inside a model gets to the loss: a layer records, the step collects.

No tensor is kept on a layer. What is recorded while a training step runs, or is traced, goes to
the collector that this step opened, in the thread that it runs in: each replica of a strategy has
its own.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

from keras import ops

from keras_attention import precision


class Choice(NamedTuple):
    """T random choices of each example."""

    log_prob: Any  # (B * S, T), the log-probability of what was chosen, 0 where nothing was
    entropy: Any  # (B * S, T), of the distribution that was chosen from
    features: Any  # (B * S, T, F), what was known when choosing; no gradient goes through it
    in_time: bool  # whether choice t can influence nothing before step t of the loss


class Collector:
    """The choices of one training step, and the estimator that it trains with."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.choices: list[Choice] = []


_active: contextvars.ContextVar[Collector | None] = contextvars.ContextVar("active", default=None)


@contextlib.contextmanager
def collecting(estimator) -> Iterator[Collector]:
    """Collects the choices that are recorded inside, and has an estimator make them.

    Args:
        estimator: An `Estimator`.

    Example: two choices of one example, as a layer of your own would record them.

    >>> with collecting(score_function.Reinforce()) as collector:
    ...     record(ops.log([[0.25, 0.5]]), entropy=ops.ones((1, 2)), features=ops.ones((1, 2, 3)))
    >>> len(collector.choices)
    1
    """
    collector = Collector(estimator)
    token = _active.set(collector)
    try:
        yield collector
    finally:
        _active.reset(token)


def active() -> Collector | None:
    """The collector of the training step that runs now, or `None`."""
    return _active.get()


def record(log_prob, entropy, features, in_time=False):
    """Tells the training step that runs now of random choices; without one, does nothing.

    A layer calls it whether it trains or not: the first call of a model, which is none in training,
    shows an estimator what choices there are.

    Args:
        log_prob: Tensor of shape (B, T), the log-probability of what was chosen.
        entropy: Tensor of shape (B, T), of the distribution that was chosen from.
        features: Tensor of shape (B, T, F), what was known when choosing: not the choice itself.
        in_time: Whether choice t can influence nothing before step t of a loss over steps, as in a
            decoder. Such a choice is credited with the cost from step t on, and any other with all
            of it.
    """
    collector = active()
    if collector is None:
        return
    if len(log_prob.shape) != 2 or len(entropy.shape) != 2 or len(features.shape) != 3:
        raise ValueError(
            "`log_prob` and `entropy` of a choice must have shape (batch, choices), and `features` "
            f"(batch, choices, width). Received: log_prob.shape={tuple(log_prob.shape)}, "
            f"entropy.shape={tuple(entropy.shape)}, features.shape={tuple(features.shape)}."
        )
    log_prob, entropy, features = (
        ops.cast(e, precision.of_losses()) for e in (log_prob, entropy, features)
    )
    collector.choices.append(Choice(log_prob, entropy, ops.stop_gradient(features), in_time))
