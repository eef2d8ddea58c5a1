"""Monotonic attention: a reader that only moves forward.

Shapes: B batch, Tq queries, Tv values, Dq, Dk and Dv widths; R = B * Tq rows of state.
"""

from __future__ import annotations

import math

import keras
from keras import ops

from keras_attention import normalizers, recurrences, replicas
from keras_attention.attention import Attended, AttentionMemory, BaseAttention
from keras_attention.scores import Score

LOG_HALF = math.log(0.5)

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class MonotonicAttention(BaseAttention):
    """Goes on from where the last query stopped, value by value, until it stops again.

    With `j` the position of a value, the query `i` stops at `j`, once there, with the probability

    `p_ij = sigmoid(score(query_i, key_j) + r)`

    and begins where the query before stopped. So it stops at `j` with the probability

    `a_ij = p_ij sum_{k <= j} a_{i-1,k} prod_{k <= l < j} (1 - p_il)`, with `a_0j = 1` for `j = 0`.

    What it reads then, `chunk_size` says, with `u_ij = chunk_score(query_i, key_j)`:

    1: the value where it stopped (Raffel et al.); `weights_ij = a_ij`

    w: the softmax of `u` over the last w values up to there (MoChA);
    `weights_ij = sum_{k = j}^{j + w - 1} a_ik exp(u_ij) / sum_{l = k - w + 1}^k exp(u_il)`

    `None`: the same over all values up to there (MILk);
    `weights_ij = sum_{k >= j} a_ik exp(u_ij) / sum_{l <= k} exp(u_il)`

    `context_i = sum_j weights_ij value_j`

    Training reads this mean over all ways to stop, with noise added to the scores, which teaches
    them to be far from 0, so that there is one way only. The more noise, the farther; but too much
    from the start, and nothing is learned. So a callback may let it grow, by assigning to
    `noise_level`. The mean is computed for all positions at once, and without the divisions by
    small products that make other implementations lose it on long sequences.

    Inference goes one way. Begun at `k`, where the last query stopped, it stops

    "mode": where `p_ij > 0.5`, as in the papers;
    "median": where `prod_{k <= l <= j} (1 - p_il) < 0.5`, as soon as it is more likely to have
    stopped than not.

    They are the same where each `p_ij` is near 0 or 1. Where several values in a row are as good as
    each other, as the frames of a word are, training need not choose one of them, and each may get
    a third: the mode passes them all. Either compares a query with no value before the last stop
    and none after its own: with `chunk_size=1`, the queries of a sequence take Tq + Tv scores
    together, not Tq * Tv. A query that finds nowhere to stop reads 0, and so do all after it.

    Args:
        score: A `Score` that does not look back, such as `AdditiveScore(256, normalize=True)`.
        chunk_size: How many values are read, up to the one where it stopped; `None` for all.
        chunk_score: The `Score` of the values within a chunk; `None` if and only if `chunk_size=1`.
        inference: What is read where nothing is trained: at the "mode" or the "median", as above,
            or the "mean" as in training, without the noise.
        initial_bias: Where `r` begins. Below 0, queries at first look far ahead; the longer the
            sequences, the lower it has to be. The papers have -1 to -4.
        noise: Standard deviation of what is added to scores in training, with which `noise_level`
            begins.
        dropout: Share of the weights dropped in training.
        seed: Seed of noise and dropout.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq), what asks.
        value: Tensor of shape (B, Tv, Dv), what is read.
        key: Tensor of shape (B, Tv, Dk), what is compared; `value` unless given.
        training: Whether to read the mean, with noise and dropout.
        Masks and flags: those of every attention layer, see `BaseAttention`.

    Returns:
        The context, of shape (B, Tq, Dv); with `return_attention_scores=True`, a tuple of the
        context and the weights before dropout, of shape (B, Tq, Tv). Rows sum to 1, less the
        probability that there was nowhere to stop.

    State: a tuple of one tensor (R, Tv), the `a` of the query before.

    Masking: it never stops at what is masked, and passes it. A query that may look at nothing
    leaves the state as it was.

    Example:

    >>> layer = MonotonicAttention(DotScore(), initial_bias=0.0)
    >>> value = keras.ops.array([[[-9.0, 0.0], [0.0, 9.0], [9.0, 0.0], [0.0, 9.0]]])
    >>> query = keras.ops.array([[[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]])
    >>> _, weights = layer(query, value, return_attention_scores=True)
    >>> weights.numpy().astype(int).tolist()
    [[[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]]

    Reference: Raffel, Luong, Liu, Weiss & Eck, 2017, Online and Linear-Time Attention by Enforcing
    Monotonic Alignments, https://arxiv.org/abs/1704.00784 (eqs. 8 to 11, algorithm 1); Chiu &
    Raffel, 2018, Monotonic Chunkwise Attention, https://arxiv.org/abs/1712.05382; Arivazhagan et
    al., 2019, Monotonic Infinite Lookback Attention for Simultaneous Machine Translation,
    https://arxiv.org/abs/1906.05218.
    """

    def __init__(
        self,
        score,
        chunk_size=1,
        chunk_score=None,
        inference="mode",
        initial_bias=-1.0,
        noise=1.0,
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(score, normalizers.sigmoid, dropout, seed, **kwargs)
        if chunk_size is not None and (not isinstance(chunk_size, int) or chunk_size <= 0):
            raise ValueError(
                f"`chunk_size` must be a positive integer or `None`. Received: {chunk_size=!r}."
            )
        if (chunk_size == 1) != (chunk_score is None):
            raise ValueError(
                "`chunk_score` weighs the values of a chunk: it is needed unless `chunk_size=1`, "
                f"and then has nothing to do. Received: {chunk_size=!r}, {chunk_score=!r}."
            )
        for name, part in (("score", score), ("chunk_score", chunk_score)):
            if part is not None and type(part).initial_state is not Score.initial_state:
                raise ValueError(
                    f"`{name}` must not look back: where the last query looked is where this one "
                    f"begins. Received: {name}={part!r}."
                )
        if inference not in ("mode", "median", "mean"):
            raise ValueError(
                f'`inference` must be "mode", "median" or "mean". Received: {inference=!r}.'
            )
        if noise < 0.0:
            raise ValueError(f"`noise` must be at least 0. Received: noise={noise!r}.")
        self.chunk_size = chunk_size
        self.chunk_score = chunk_score
        self.inference = inference
        self.initial_bias = initial_bias
        self.noise = noise
        if noise > 0.0:
            if dropout == 0.0:
                self.seed_generator = keras.random.SeedGenerator(seed)
            self.noise_level = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(noise),
                trainable=False,
                autocast=False,
                name="noise_level",
            )

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        if self.chunk_score is not None and not self.chunk_score.built:
            self.chunk_score.build(query_shape, value_shape if key_shape is None else key_shape)
        self.bias = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(self.initial_bias), name="bias"
        )

    def prepare(self, value, key=None, mask=None):
        memory = super().prepare(value, key, mask)
        if self.chunk_score is None:
            return memory
        key = ops.cast(value if key is None else key, self.compute_dtype)
        return memory._replace(keys=(memory.keys, self.chunk_score.project_key(key)))

    def initial_state(self, memory):
        batch_size, num_values = ops.shape(memory.values)[:2]
        first = ops.cast(ops.arange(num_values, dtype="int32") == 0, self._precise_dtype())
        return (ops.broadcast_to(first, (batch_size, num_values)),)

    def attend(self, query, memory, state=(), training=False):
        query = ops.cast(query, self.compute_dtype)
        mask = self._mask(query, memory)
        if training or self.inference == "mean":
            stops, weights = self._mean(query, memory, mask, *state, training)
            context = self._read(weights, memory.values, training)
        else:
            stops, weights, context = self._one_way(query, memory, mask, *state)
        may_look = ops.reshape(ops.any(mask, axis=-1), (-1, 1))
        stops = ops.where(may_look, ops.reshape(stops, ops.shape(state[0])), state[0])
        return Attended(context, weights, (stops,))

    def _mask(self, query, memory):
        """Which pairs are real: (B, Tq, Tv)."""
        shape = (*ops.shape(query)[:2], ops.shape(memory.values)[1])
        mask = ops.ones((1, 1, 1), "bool") if memory.mask is None else memory.mask
        return ops.broadcast_to(mask, shape)

    # The mean over all ways to stop.

    def _mean(self, query, memory, mask, before, training):
        """How probably each query stops where, and the weights: each (B, Tq, Tv)."""
        keys, chunk_keys = self._keys(memory)
        energy = self._energy(self.score.score(query, keys))
        if training and self.noise > 0.0:
            noise = replicas.rows(self._normal, ops.shape(energy))
            energy = energy + ops.cast(self.noise_level, energy.dtype) * noise
        rows = (-1, ops.shape(energy)[-1])
        energy, real = (ops.reshape(each, rows) for each in (energy, mask))
        log_pass = ops.where(real, ops.log_sigmoid(-energy), 0.0)
        log_pass = ops.pad(log_pass, [[0, 0], [1, 0]])[:, :-1]  # the value before
        arrives = recurrences.fading_sum(before, log_pass)
        stops = ops.where(real, ops.sigmoid(energy) * arrives, 0.0)
        if self.chunk_score is None:
            weights = stops
        else:
            chosen = ops.cast(self.chunk_score.score(query, chunk_keys), self._precise_dtype())
            chosen = ops.where(real, ops.reshape(chosen, rows), recurrences.LOWEST)
            spread = _spread_over_all if self.chunk_size is None else self._spread_over_chunks
            weights = ops.where(real, spread(stops, chosen), 0.0)
        shape = ops.shape(mask)
        stops, weights = (ops.reshape(each, shape) for each in (stops, weights))
        return stops, ops.cast(weights, self.compute_dtype)

    def _spread_over_chunks(self, stops, chosen):
        """Each stop's probability, over the chunk that ends there."""
        back = range(self.chunk_size)
        chunks = ops.stack([_earlier(chosen, by, recurrences.LOWEST) for by in back], axis=-1)
        within = ops.expand_dims(stops, -1) * ops.softmax(chunks)
        return sum(_later(within[..., by], by) for by in back)

    def _normal(self, shape):
        dtype = self._precise_dtype()
        return keras.random.normal(shape, dtype=dtype, seed=self.seed_generator)

    # The one way that inference takes.

    def _one_way(self, query, memory, mask, before):
        """Where each query stops, the weights, each (B, Tq, Tv), and what it reads."""
        keys, chunk_keys = self._keys(memory)
        num_queries, num_values = ops.shape(mask)[1:]
        each = ops.reshape(query, (-1, 1, query.shape[-1]))  # (R, 1, Dq)
        real = ops.reshape(mask, (-1, num_values))
        batch = ops.arange(ops.shape(each)[0], dtype="int32") // num_queries
        place = self._walk(each, keys, real, batch, before)
        found = place < num_values
        stops = ops.one_hot(ops.where(found, place, -1), num_values, dtype=self._precise_dtype())
        if self.chunk_size is None:
            far = ops.arange(num_values, dtype="int32") <= ops.expand_dims(place, -1)
            seen = ops.logical_and(real, ops.logical_and(far, ops.expand_dims(found, -1)))
            scores = self.chunk_score.score(query, chunk_keys)
            weights = normalizers.softmax(scores, ops.reshape(seen, ops.shape(mask)))
            return stops, weights, ops.matmul(weights, memory.values)
        near = ops.expand_dims(place, -1) - ops.arange(self.chunk_size, dtype="int32")  # (R, w)
        inside = ops.logical_and(ops.expand_dims(found, -1), near >= 0)
        near = ops.clip(near, 0, num_values - 1)
        seen = ops.logical_and(inside, ops.take_along_axis(real, near, axis=-1))
        if self.chunk_score is None:
            within = ops.cast(seen, self.compute_dtype)
        else:
            scores = self.chunk_score.score(each, _gathered(chunk_keys, batch, near))
            within = normalizers.softmax(ops.squeeze(scores, 1), seen)
        context = ops.matmul(ops.expand_dims(within, 1), _gathered(memory.values, batch, near))
        places = ops.one_hot(near, num_values, dtype=self.compute_dtype)
        weights = ops.matmul(ops.expand_dims(within, 1), places)
        weights, context = (
            ops.reshape(rows, (-1, num_queries, ops.shape(rows)[-1])) for rows in (weights, context)
        )
        return stops, weights, context

    def _walk(self, query, keys, real, batch, before):
        """The position where each row stops, Tv if there is none, by no more scores than it must
        take: query (R, 1, Dq) and real (R, Tv) -> (R,)."""
        num_values = ops.shape(real)[-1]
        begin = ops.cast(ops.argmax(before, axis=-1), "int32")
        place = ops.where(ops.any(before > 0.0, axis=-1), begin, num_values)
        shape = ops.shape(place)  # of what the loop carries: even what is known of it must not vary
        stopped = ops.logical_or(place >= num_values, ops.logical_not(ops.any(real, axis=-1)))
        log_passed = ops.zeros(shape, self._precise_dtype())  # that it went past all since `before`

        def step(place, stopped, log_passed):
            at = ops.expand_dims(ops.minimum(place, num_values - 1), -1)
            energy = self._energy(self.score.score(query, _gathered(keys, batch, at)))
            here = ops.take_along_axis(real, at, axis=-1)
            log_pass = ops.reshape(ops.where(here, ops.log_sigmoid(-energy[:, 0]), 0.0), shape)
            log_passed = log_pass + (log_passed if self.inference == "median" else 0.0)
            stopped = ops.logical_or(stopped, log_passed < LOG_HALF)
            place = ops.where(stopped, place, place + 1)
            return place, ops.logical_or(stopped, place >= num_values), log_passed

        place, *_ = ops.while_loop(
            lambda place, stopped, log_passed: ops.logical_not(ops.all(stopped)),
            step,
            (place, ops.reshape(stopped, shape), log_passed),
        )
        # Where nothing may be looked at, the walk did not begin, and nothing is read.
        return ops.where(ops.any(real, axis=-1), place, num_values)

    def _keys(self, memory: AttentionMemory):
        return memory.keys if self.chunk_score is not None else (memory.keys, None)

    def _energy(self, scores):
        dtype = self._precise_dtype()
        return ops.cast(scores, dtype) + ops.cast(self.bias, dtype)

    def get_config(self):
        config = super().get_config()
        del config["normalizer"]  # It is the sigmoid that makes probabilities of scores.
        return {
            **config,
            "score": keras.saving.serialize_keras_object(self.score),
            "chunk_size": self.chunk_size,
            "chunk_score": keras.saving.serialize_keras_object(self.chunk_score),
            "inference": self.inference,
            "initial_bias": self.initial_bias,
            "noise": self.noise,
        }

    @classmethod
    def from_config(cls, config):
        chunk_score = keras.saving.deserialize_keras_object(config["chunk_score"])
        return super().from_config({**config, "chunk_score": chunk_score})


def _spread_over_all(stops, chosen):
    """Each stop's probability, over all values up to there: both (R, Tv)."""
    total = recurrences.cumulative_logsumexp(chosen)
    log_keep = total - ops.concatenate([total[:, 1:], total[:, -1:]], axis=-1)  # at most 0
    back = recurrences.fading_sum(ops.flip(stops, axis=-1), ops.flip(log_keep, axis=-1))
    return ops.exp(chosen - total) * ops.flip(back, axis=-1)


def _earlier(rows, by, fill):
    """Each place of (R, Tv) has what stands so many places before it."""
    if by == 0:
        return rows
    length = ops.shape(rows)[-1]
    return ops.pad(rows, [[0, 0], [by, 0]], constant_values=fill)[:, :length]


def _later(rows, by):
    """Each place of (R, Tv) has what stands so many places after it, and 0 if nothing does."""
    return rows if by == 0 else ops.pad(rows, [[0, 0], [0, by]])[:, by:]


def _gathered(values, batch, places):
    """What stands at places (R, w) in the values (B, Tv, D) of each row's sequence: (R, w, D)."""
    _, length, width = ops.shape(values)
    flat = ops.expand_dims(batch, -1) * length + places
    return ops.take(ops.reshape(values, (-1, width)), flat, axis=0)
