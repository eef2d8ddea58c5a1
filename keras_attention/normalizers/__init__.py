"""Normalisers: from scores to weights over the last axis.

A normaliser is a pure function `(scores, mask=None) -> weights`, or a layer that is called so.
`mask` is boolean, broadcasts to `scores`, and `True` marks what is real. Masked weights are exactly
0; a row with nothing real has weights 0 and gradient 0; every other row sums to 1, except under
`sigmoid`. All compute in at least float32 and return the dtype of `scores`.
"""

from keras_attention.normalizers.alpha_entmax import AlphaEntmax, alpha_entmax
from keras_attention.normalizers.dense import Sharpened, sigmoid, smoothed, softmax
from keras_attention.normalizers.sparse import entmax15, sparsemax

__all__ = [
    "AlphaEntmax",
    "Sharpened",
    "alpha_entmax",
    "entmax15",
    "sigmoid",
    "smoothed",
    "softmax",
    "sparsemax",
]
