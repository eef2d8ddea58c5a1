"""The family between softmax and sparsemax, and beyond: alpha-entmax, by bisection."""

from __future__ import annotations

import math
import numbers

import keras
from keras import ops

from keras_attention import precision
from keras_attention.normalizers.layer import Normalizer
from keras_attention.normalizers.rows import at_least_float32, below_zero, finish

register = keras.saving.register_keras_serializable(package="keras_attention")

BISECTIONS = {"float32": 30, "float64": 60}  # Each gives one bit, of about as many as there are.
LEAST_RATE = 1e-6  # alpha - 1 where a learned alpha is no longer to be told from 1


@register
def alpha_entmax(scores, mask=None, alpha=1.5):
    """The alpha-entmax: the greater alpha, the sparser.

    `weights_j = max(0, (alpha - 1) scores_j - tau)^(1 / (alpha - 1))`, with the `tau` at which the
    weights sum to 1. It tends to `softmax` as alpha tends to 1, and is `entmax15` at 1.5 and
    `sparsemax` at 2, where those are faster.

    Args:
        scores: Tensor of shape (..., n).
        mask: Boolean tensor that broadcasts to `scores`, or `None`.
        alpha: A number above 1; or a tensor of such numbers that broadcasts to (..., 1), one a row
            if need be, to which gradients flow.

    Returns:
        Weights of shape (..., n), some of them exactly 0.

    Example:

    >>> scores = keras.ops.array([[1.0, 0.6, -1.0]])
    >>> alpha_entmax(scores, alpha=2.0).numpy().round(3).tolist()
    [[0.699999988079071, 0.30000001192092896, 0.0]]
    >>> alpha_entmax(scores, alpha=1.2).numpy().round(3).tolist()
    [[0.5950000286102295, 0.37400001287460327, 0.03200000151991844]]

    Reference: Peters, Niculae & Martins, 2019, Sparse Sequence-to-Sequence Models,
    https://arxiv.org/abs/1905.05702 (eq. 10, algorithm 1; gradient: proposition 2); Correia,
    Niculae & Martins, 2019, Adaptively Sparse Transformers, https://arxiv.org/abs/1909.00015
    (gradient of alpha: proposition 1).
    """
    if isinstance(alpha, numbers.Number):
        _check_above_one(alpha)
    return _normalize(scores, mask, alpha - 1.0)


@register
class AlphaEntmax(Normalizer):
    """The alpha-entmax with a learned alpha: each layer finds how sparse it wants to be.

    `weights_j = max(0, (alpha - 1) scores_j - tau)^(1 / (alpha - 1))`,
    `alpha = 1 + log(1 + exp(r))`, with the `tau` at which the weights sum to 1, and a weight `r`.

    So alpha may become any number above 1. (The paper's `1 + sigmoid(r)` stays below 2.) With
    `trainable=False` it stays what it is.

    Args:
        alpha: Where alpha begins: a number above 1, 1.5 for `entmax15`, 2 for `sparsemax`.

    Call arguments:
        scores: Tensor of shape (..., n).
        mask: Boolean tensor that broadcasts to `scores`, or `None`.

    Returns:
        Weights of shape (..., n), some of them exactly 0.

    Masking: masked weights are exactly 0, and so is a row with nothing real.

    Example:

    >>> layer = SoftAttention(BilinearScore(), normalizer=AlphaEntmax(alpha=1.3))
    >>> layer(keras.ops.ones((2, 3, 4)), keras.ops.ones((2, 5, 6))).shape
    TensorShape([2, 3, 6])
    >>> round(float(layer.normalizer.learned_alpha()), 3)
    1.3

    Reference: Correia, Niculae & Martins, 2019, Adaptively Sparse Transformers,
    https://arxiv.org/abs/1909.00015 (proposition 1).
    """

    def __init__(self, alpha=1.5, **kwargs):
        # Without autocast, scores keep their dtype, and alpha its precision.
        super().__init__(autocast=False, **kwargs)
        _check_above_one(alpha)
        self.alpha = alpha
        rate = alpha - 1.0
        self.raw_alpha = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(rate + math.log(-math.expm1(-rate))),
            dtype=precision.float32_or_wider(self.variable_dtype),
            autocast=False,
            name="raw_alpha",
        )

    def learned_alpha(self):
        """What alpha is by now, a scalar tensor."""
        return 1.0 + self._rate()

    def call(self, scores, mask=True):
        return _normalize(scores, mask, self._rate())

    def _rate(self):
        """alpha - 1, without the detour by 1, in which float32 would lose most of it."""
        return ops.maximum(ops.softplus(self.raw_alpha), LEAST_RATE)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}


def _check_above_one(alpha):
    if not isinstance(alpha, numbers.Real) or not 1.0 < alpha < math.inf:
        raise ValueError(f"`alpha` must be a number above 1. Received: alpha={alpha!r}.")


def _normalize(scores, mask, rate):
    """The alpha-entmax at a `rate` of alpha - 1.

    With `theta = (tau + 1) / rate` the weights are `power(scores_j - theta)`, in which no number is
    raised to the power of 1 / rate, and nothing lost, as alpha tends to 1.
    """
    z = at_least_float32(scores)
    rate = _in_dtype(rate, z.dtype)
    z = below_zero(z, mask, ops.stop_gradient(-2.0 / rate))
    shifted = z - _theta(ops.stop_gradient(z), ops.stop_gradient(rate))
    weights = _power(shifted, rate)
    # All but theta is differentiated by itself. What theta moves is written out: it moves weight j
    # by slope_j, so that all together make up for what the scores, or alpha, do to their sum.
    slope = weights / ops.where(weights > 0.0, 1.0 + rate * shifted, 1.0)
    share = ops.stop_gradient(slope / ops.sum(slope, axis=-1, keepdims=True))
    total = ops.sum(weights, axis=-1, keepdims=True)
    constant = ops.stop_gradient(total)  # 1 but for rounding
    weights = (weights - share * (total - constant)) / constant
    return finish(weights, mask, scores.dtype)


def _in_dtype(rate, dtype):
    """In a dtype, without the detour by float32 that `ops.cast` makes of a Python number."""
    return ops.cast(rate, dtype) if ops.is_tensor(rate) else ops.convert_to_tensor(rate, dtype)


def _power(x, rate):
    """`max(0, 1 + rate x)^(1 / rate)`, which tends to `exp(x)` as `rate` tends to 0."""
    grown = rate * x
    inside = grown > -1.0
    logarithm = ops.log1p(ops.where(inside, grown, 0.0)) / rate
    return ops.where(inside, ops.exp(logarithm), 0.0)


def _theta(z, rate):
    """Bisects for the theta at which the weights sum to 1, for rows whose largest entry is 0.

    At 0 the largest weight is 1. At the other bound it is 1 / n, of n entries that can have any.
    """
    count = ops.sum(ops.cast(z > -1.0 / rate, z.dtype), axis=-1, keepdims=True)
    high = -ops.expm1(-rate * ops.log(count)) / rate

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2.0
        is_low = ops.sum(_power(z - middle, rate), axis=-1, keepdims=True) > 1.0
        return ops.where(is_low, middle, low), ops.where(is_low, high, middle)

    iterations = BISECTIONS[keras.backend.standardize_dtype(z.dtype)]
    low, _ = ops.fori_loop(0, iterations, halve, (ops.zeros_like(high), high))
    return ops.stop_gradient(low)
