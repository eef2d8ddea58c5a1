"""Local attention: a query looks at a window of the values only.

Shapes: B batch, Tq queries, Tv values, Dq, Dk and Dv widths; R = B * Tq rows of state.
"""

from __future__ import annotations

import functools

import keras
from keras import ops

from keras_attention import masking, normalizers
from keras_attention.attention import Attended, BaseAttention
from keras_attention.scores.base import multiply

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class LocalAttention(BaseAttention):
    """Luong's local attention: reads the values that stand near one position of the sequence.

    With `s` the position of a value, 0 for the first, `S` the number of values, and `D = window`,
    a query looks at the values with `|s - p_t| <= D` and at no other. Where `p_t` is, `alignment`
    says:

    "monotonic" (local-m): `p_t = t`, the number of looks before this one;
    `weights_s = normalizer(score)_s`

    "predictive" (local-p): `p_t = S sigmoid(v . tanh(W query_t))`;
    `weights_s = normalizer(score)_s exp(-(s - p_t)^2 / (2 sigma^2))`, with `sigma = D / 2`

    "previous" (Chorowski et al., windowing): `p_t` is the median of the weights of the look before,
    the first position up to which at least half of them lie; 0 before the first look;
    `weights_s = normalizer(score)_s`

    `context = sum_s weights_s value_s`

    The normaliser sees the window only. What the Gaussian then takes from the weights is not given
    back: as in the paper, they sum to less than 1. All scores are computed, and those outside the
    window thrown away: what this saves is the attention, not the work.

    Args:
        score: A `Score`, such as `BilinearScore()`.
        window: `D`, how far from `p_t` a query looks to either side. The paper has 10.
        alignment: "monotonic", for sequences that run side by side, "predictive", or "previous",
            for sequences in the same order at any speed.
        units: Width of `tanh(W query_t)` in a predictive alignment; the query's unless given, as in
            the paper.
        normalizer: A function `(scores, mask) -> weights`.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout.

    Call arguments:
        query: Tensor of shape (B, Tq, Dq), what asks.
        value: Tensor of shape (B, Tv, Dv), what is read.
        key: Tensor of shape (B, Tv, Dk), what is compared; `value` unless given.
        Masks and flags: those of every attention layer, see `BaseAttention`.

    Returns:
        The context, of shape (B, Tq, Dv); with `return_attention_scores=True`, a tuple of the
        context and the weights before dropout, of shape (B, Tq, Tv).

    State: before the score's own state comes an int32 tensor of shape (R,), unless the alignment is
    predictive. It is `t` of each query where it is monotonic, and `call` gives its queries the
    times 0 … Tq - 1. It is `p_t` where it follows the previous weights, and stays as it is where a
    query read nothing.

    Masking: what a query may not look at is not there for it: it has no position, and is not among
    the `S`. A window with nothing real in it has weights 0 and context 0.

    Example:

    >>> layer = LocalAttention(DotScore(), window=1, alignment="monotonic")
    >>> query, value = keras.ops.zeros((1, 3, 2)), keras.ops.ones((1, 4, 2))
    >>> _, weights = layer(query, value, return_attention_scores=True)
    >>> (weights.numpy()[0] > 0.0).astype(int).tolist()
    [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1]]

    Reference: Luong, Pham & Manning, 2015, Effective Approaches to Attention-based Neural Machine
    Translation, https://arxiv.org/abs/1508.04025 (section 3.2, eqs. 9 and 10); Chorowski et al.,
    2015, Attention-Based Models for Speech Recognition, https://arxiv.org/abs/1506.07503 (section
    2.3, "windowing").
    """

    def __init__(
        self,
        score,
        window,
        alignment="predictive",
        units=None,
        normalizer=normalizers.softmax,
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(score, normalizer, dropout, seed, **kwargs)
        if alignment not in ("monotonic", "predictive", "previous"):
            raise ValueError(
                '`alignment` must be "monotonic", "predictive" or "previous". '
                f"Received: {alignment=!r}."
            )
        if not isinstance(window, int) or window <= 0:
            raise ValueError(f"`window` must be a positive integer. Received: window={window!r}.")
        if units is not None and (not isinstance(units, int) or units <= 0):
            raise ValueError(
                f"`units` must be a positive integer or `None`. Received: units={units!r}."
            )
        if alignment != "predictive" and units is not None:
            raise ValueError(
                "`units` are of the network that predicts the position, which only a predictive "
                f"alignment has. Received: {alignment=!r}, {units=!r}."
            )
        self.window = window
        self.alignment = alignment
        self.units = units

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        if self.alignment == "predictive":
            units = query_shape[-1] if self.units is None else self.units
            self.position_kernel = self.add_weight(
                shape=(query_shape[-1], units), name="position_kernel"
            )
            self.v = self.add_weight(shape=(units,), name="v")

    def initial_state(self, memory):
        state = super().initial_state(memory)
        if self.alignment == "predictive":
            return state
        return (ops.zeros(ops.shape(memory.values)[:1], "int32"), *state)

    def _attend(self, score, query, memory, state, training):
        query = ops.cast(query, self.compute_dtype)
        places, state = ((), state) if self.alignment == "predictive" else (state[:1], state[1:])
        scores = score(query, memory.keys, *state)
        positions, number = self._positions(memory)
        center = self._predict(query, number) if places == () else self._at(places[0], query)
        inside = masking.window_mask(positions, center, self.window)
        weights = self.normalizer(scores, masking.combine(memory.mask, inside))
        if self.alignment == "predictive":
            nearness = ops.exp(-0.5 * ops.square((positions - center) / (self.window / 2.0)))
            weights = weights * ops.cast(nearness, weights.dtype)
        context = self._read(weights, memory.values, training)
        if self.alignment == "monotonic":
            places = (places[0] + 1,)
        elif self.alignment == "previous":
            places = (self._median(weights, memory, places[0]),)
        return Attended(context, weights, (*places, *self.score.next_state(weights, *state)))

    def attend_in_turn(self, query, memory, training=False):
        looks_back = self.score.initial_state(memory.keys) != ()
        if self.alignment != "monotonic" or looks_back:
            return super().attend_in_turn(query, memory, training)
        # The times are known beforehand, so all queries look at once.
        batch_size, num_queries = ops.shape(query)[:2]
        times = ops.tile(ops.arange(num_queries, dtype="int32"), (batch_size,))
        score = functools.partial(self.score.score_sequence, training=training)
        attended = self._attend(score, query, memory, (times,), training)
        return attended._replace(state=(ops.full((batch_size,), num_queries, "int32"),))

    def _positions(self, memory):
        """Where each value stands, (…, 1, Tv) or (…, Tq, Tv), and of how many, (…, 1)."""
        count = ops.cumsum(ops.cast(self._real(memory), self._precise_dtype()), axis=-1)
        return count - 1.0, count[..., -1:]

    def _real(self, memory):
        everywhere = ops.ones((1, 1, ops.shape(memory.values)[1]), "bool")
        return masking.combine(memory.mask, everywhere)  # A mask over queries has no Tv.

    def _median(self, weights, memory, before):
        """Up to where half of the weights lie, (B, Tq, Tv) -> (R,)."""
        weights = ops.cast(weights, self._precise_dtype())
        so_far = ops.cumsum(weights, axis=-1)
        less = ops.logical_and(self._real(memory), so_far < 0.5 * so_far[..., -1:])
        median = ops.reshape(ops.sum(ops.cast(less, "int32"), axis=-1), (-1,))
        has_looked = ops.reshape(ops.any(weights > 0.0, axis=-1), (-1,))
        return ops.where(has_looked, median, before)

    def _predict(self, query, number):
        """p_t = S sigmoid(v . tanh(W query_t)): (B, Tq, Dq) -> (B, Tq, 1)."""
        kernel, v = (ops.cast(each, self.compute_dtype) for each in (self.position_kernel, self.v))
        place = multiply(ops.tanh(multiply(query, kernel)), v[:, None])
        return number * ops.sigmoid(ops.cast(place, self._precise_dtype()))

    def _at(self, times, query):
        """p_t = t: (R,) -> (B, Tq, 1)."""
        times = ops.reshape(times, (*ops.shape(query)[:2], 1))
        return ops.cast(times, self._precise_dtype())

    def get_config(self):
        return {
            **super().get_config(),
            "score": keras.saving.serialize_keras_object(self.score),
            "window": self.window,
            "alignment": self.alignment,
            "units": self.units,
        }
