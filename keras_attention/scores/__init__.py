"""Scores: how relevant each value is to a query, before any normalising.

Every score answers the same two questions, so that keys are projected once a sequence and compared
once a query: `project_key(key)` and `score(query, keys)`. Adding a score means overriding these. A
score that also looks at where attention was before carries that as its state, a tuple of tensors,
and answers three more: `initial_state(keys)`, `score(query, keys, *state)` and
`next_state(weights, *state)`.

Shapes: B batch, Tq queries, Tv values (as many as keys), Dq and Dk their widths. A state has one
row a query, (B * Tq, …): queries side by side, as the hypotheses of a beam search are.
"""

from keras_attention.scores.additive import AdditiveScore
from keras_attention.scores.base import Score
from keras_attention.scores.location import LocationAwareScore
from keras_attention.scores.network import NetworkScore
from keras_attention.scores.products import BilinearScore, CosineScore, DotScore

__all__ = [
    "AdditiveScore",
    "BilinearScore",
    "CosineScore",
    "DotScore",
    "LocationAwareScore",
    "NetworkScore",
    "Score",
]
