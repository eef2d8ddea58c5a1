"""Hard attention: a query reads one value, drawn from the weights.

Shapes: B batch, Tq queries, Tv values, Dq, Dk and Dv widths; R = B * Tq rows of state.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_attention import losses, normalizers, replicas, score_function
from keras_attention.attention import Attended, BaseAttention

register = keras.saving.register_keras_serializable(package="keras_attention")

TINY = 1e-30  # Below it a weight counts as 0: no such value is ever drawn.
LOWEST = -1e30  # stands for its logarithm, with room for noise and temperatures.


class HardState(NamedTuple):
    """What `HardAttention` keeps of its last look."""

    log_prob: Any  # (R,), the log-probability of what was drawn, 0 where nothing was
    entropy: Any  # (R,), of the weights
    query: Any  # (R, Dq), what asked
    coin: Any  # (R,), 1 where all looks read the soft mean, 0 where they draw, -1 before the first
    code: Any  # (R,), see `score_function.Estimator.codes`


@register
class HardAttention(BaseAttention):
    """Reads one value of all, drawn with the weights as probabilities.

    `weights = normalizer(score(query, key))`, `i ~ weights`, `context = value_i`

    No gradient goes through a draw, so the score learns nothing under a plain `keras.Model`, and a
    warning says so. Any model with such layers is trained by one line more:

        trainer = score_function.ScoreFunctionModel(model, score_function.LearnedBaseline())

    Args:
        score: A `Score`, such as `AdditiveScore(256)`.
        inference: What is read where nothing is trained: the "mode", which is the value with the
            largest weight, the soft "mean", or a "sample".
        semi_sampling: How probable it is that all looks of a batch in training read the soft mean
            instead of a draw: one coin a batch. The paper has 0.5.
        normalizer: A function `(scores, mask) -> weights`, whose rows sum to 1.
        seed: Seed of the draws.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq), what asks.
        value: Tensor of shape (B, Tv, Dv), what is read.
        key: Tensor of shape (B, Tv, Dk), what is compared; `value` unless given.
        training: Whether to draw.
        Masks and flags: those of every attention layer, see `BaseAttention`.

    Returns:
        The context, of shape (B, Tq, Dv); with `return_attention_scores=True`, a tuple of the
        context and the weights, which are the probabilities, of shape (B, Tq, Tv).

    State: a `HardState` comes before the score's own state. A score that looks back sees what was
    read before, not its probability.

    Masking: what is masked is never drawn. A query with nothing to look at draws nothing.

    Example:

    >>> layer = HardAttention(DotScore(scale=9.0), inference="mode")
    >>> value = keras.ops.array([[[1.0, 0.0], [0.0, 1.0], [0.6, 0.6]]])
    >>> layer(keras.ops.array([[[0.1, 0.9]]]), value).numpy().tolist()
    [[[0.0, 1.0]]]

    Reference: Xu et al., 2015, Show, Attend and Tell: Neural Image Caption Generation with Visual
    Attention, https://arxiv.org/abs/1502.03044 (section 4.1, eqs. 8 to 12).
    """

    def __init__(
        self,
        score,
        inference="mode",
        semi_sampling=0.0,
        normalizer=normalizers.softmax,
        seed=None,
        **kwargs,
    ):
        super().__init__(score, normalizer, 0.0, seed, **kwargs)
        if inference not in ("mode", "mean", "sample"):
            raise ValueError(
                f'`inference` must be "mode", "mean" or "sample". Received: {inference=!r}.'
            )
        if not 0.0 <= semi_sampling < 1.0:
            raise ValueError(
                f"`semi_sampling` must be in [0, 1). Received: semi_sampling={semi_sampling!r}."
            )
        self.inference = inference
        self.semi_sampling = semi_sampling
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        self.query_width = query_shape[-1]

    def initial_state(self, memory):
        return self._state_before(memory, num_queries=1)

    def attend(self, query, memory, state=(), training=False):
        before, *back = state
        query = ops.cast(query, self.compute_dtype)
        # log(weights) and its gradient need float32 all the way from the scores.
        scores = ops.cast(self.score.score(query, memory.keys, *back), self._precise_dtype())
        weights = self.normalizer(scores, memory.mask)
        if training or self.inference == "sample":
            read, log_prob, coin, code = self._draw(weights, before, training)
        else:
            read, log_prob = self._infer(weights), ops.zeros_like(weights[:, :, 0])
            coin, code = before.coin, before.code
        context = ops.matmul(ops.cast(read, self.compute_dtype), memory.values)
        rows = ops.reshape(query, (-1, query.shape[-1]))
        log_prob, entropy = (ops.reshape(e, (-1,)) for e in (log_prob, losses.entropy(weights)))
        state = HardState(log_prob, entropy, rows, coin, code)
        weights, read = (ops.cast(each, self.compute_dtype) for each in (weights, read))
        return Attended(context, weights, (state, *self.score.next_state(read, *back)))

    def attend_in_turn(self, query, memory, training=False):
        if self.score.initial_state(memory.keys) != ():
            return super().attend_in_turn(query, memory, training)
        # No look depends on another, so all queries look at once.
        num_queries = ops.shape(query)[1]
        state = self._state_before(memory, num_queries)
        attended = self.attend(query, memory, state, training)

        def by_query(rows):
            return ops.reshape(rows, (-1, num_queries, *rows.shape[1:]))

        traces = keras.tree.map_structure(by_query, attended.state[0])
        self.record(self.trace((traces,)), in_time=False)
        last = keras.tree.map_structure(lambda each: each[:, -1], traces)
        return attended._replace(state=(last,))

    def trace(self, state):
        if score_function.active() is None:
            return ()
        return state[0].log_prob, state[0].entropy, state[0].query

    def record(self, trace, in_time):
        if trace != ():
            score_function.record(*trace, in_time=in_time)

    def _state_before(self, memory, num_queries):
        """The state before the first look of each of so many queries."""
        batch_size = ops.shape(memory.values)[0]
        collector = score_function.active()
        if collector is None:
            code = ops.zeros((batch_size, num_queries), "int32")
        else:
            code = collector.estimator.codes(batch_size, num_queries)
        code = ops.reshape(code, (-1,))
        nothing = ops.zeros(ops.shape(code), self._precise_dtype())
        coin = nothing - 1.0 if self.semi_sampling > 0.0 else nothing
        query = ops.zeros((batch_size * num_queries, self.query_width), self.compute_dtype)
        state = HardState(nothing, nothing, query, coin, code)
        return (state, *super().initial_state(memory))

    def _draw(self, weights, before, training):
        """One value for each query: what is read, (B, Tq, Tv), its log-probability, (B, Tq), and
        the coin and the code after that."""
        estimator = self._estimator() if training else None
        log_weights = ops.log(ops.maximum(weights, TINY))
        possible = weights > TINY
        noise = ops.cast(self._gumbel(ops.shape(weights)), log_weights.dtype)
        perturbed = ops.where(possible, log_weights + noise, LOWEST)
        code = ops.reshape(before.code, ops.shape(weights)[:2])
        choose = score_function.choose if estimator is None else estimator.choose
        chosen, code = choose(weights, perturbed, code)
        chosen = ops.where(ops.any(possible, axis=-1, keepdims=True), chosen, 0.0)
        log_prob = ops.sum(chosen * log_weights, axis=-1)
        read = chosen if estimator is None else estimator.relax(chosen, weights, perturbed)
        coin = before.coin
        if training and self.semi_sampling > 0.0:
            coin = ops.where(coin < 0.0, self._toss(coin.dtype), coin)
            soft = ops.reshape(coin, ops.shape(weights)[:2]) > 0.5
            log_prob = ops.where(soft, 0.0, log_prob)
            read = ops.where(soft[:, :, None], weights, read)
        return read, log_prob, coin, ops.reshape(code, (-1,))

    def _infer(self, weights):
        if self.inference == "mean":
            return weights
        mode = ops.one_hot(
            ops.argmax(weights, axis=-1), ops.shape(weights)[-1], dtype=weights.dtype
        )
        return ops.where(weights > 0.0, mode, 0.0)

    def _estimator(self):
        collector = score_function.active()
        if collector is not None:
            return collector.estimator
        warnings.warn(
            f"`{self.name}` draws in training, and no gradient reaches its score: train with "
            "`score_function.ScoreFunctionModel(model, estimator)`.",
            stacklevel=2,
        )
        return None

    def _toss(self, dtype):
        toss = keras.random.uniform((), dtype="float32", seed=self.seed_generator)
        return ops.cast(toss < self.semi_sampling, dtype)

    def _gumbel(self, shape):
        """-log(-log(u)), for u uniform in (0, 1)."""
        uniform = replicas.rows(
            lambda shape: keras.random.uniform(shape, dtype="float32", seed=self.seed_generator),
            shape,
        )
        return -ops.log(ops.maximum(-ops.log1p(-uniform), TINY))

    def get_config(self):
        config = super().get_config()
        del config["dropout"]  # What is drawn is not dropped.
        return {
            **config,
            "score": keras.saving.serialize_keras_object(self.score),
            "inference": self.inference,
            "semi_sampling": self.semi_sampling,
        }
