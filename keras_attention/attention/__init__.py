"""Soft attention: score, mask, normalise, and read the weighted mean.

`call` is `prepare` and then `attend`, so that a whole sequence of queries and one step of a decoder
run the same code; where attention depends on where it was before, query by query. Shapes: B batch,
Tq queries, Tv values, Dq, Dk and Dv widths.
"""

from keras_attention.attention.base import Attended, AttentionMemory, BaseAttention
from keras_attention.attention.soft import AdditiveSoftAttention, DotAttention, SoftAttention

__all__ = [
    "AdditiveSoftAttention",
    "Attended",
    "AttentionMemory",
    "BaseAttention",
    "DotAttention",
    "SoftAttention",
]
