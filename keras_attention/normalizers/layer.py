"""What normalisers that are layers have in common."""

from __future__ import annotations

import keras


class Normalizer(keras.layers.Layer):
    """The base of normalisers with a variable, never used by itself.

    A member makes its variables in its constructor, as no layer that is handed a normaliser need
    know whether it is to be built, and defines `call(scores, mask=True)`.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def __call__(self, scores, mask=None, **kwargs):
        # Where there is no mask, Keras would fill in the one that rides on the scores, over rows.
        return super().__call__(scores, mask=True if mask is None else mask, **kwargs)

    def compute_mask(self, scores, mask=None):
        return None  # What is masked are weights, which are 0, and not outputs.
