"""A decoder that cannot count what it has written."""

from __future__ import annotations

import keras
from keras import layers, ops

from keras_attention import replicas


@keras.saving.register_keras_serializable(package="keras_attention_applications")
class ForgetfulGRUCell(layers.GRUCell):
    """A GRU cell whose state is now and then replaced in training.

        s_{t-1} <- u, uniform in [-1, 1), where a coin so falls; else as it is
        s_t     =  GRU(x_t, s_{t-1})

    What such a decoder may rely on is what it has just written and what it has just listened to,
    as nothing else lasts. One that is never disturbed learns how many tokens the transcripts of
    training have, and ends those of longer recordings after as many. Within an `AttentionCell` that
    looks first, it is the update that forgets; where to listen is asked with the state as it was.

    Args:
        units: Width of the state.
        forgetting: How probable the state of a row is to be replaced before each step, in training.
    """

    def __init__(self, units, forgetting=0.0, **kwargs):
        super().__init__(units, **kwargs)
        self.forgetting = forgetting
        self.forgetting_seed = keras.random.SeedGenerator()

    def call(self, inputs, states, training=False):
        if training and self.forgetting > 0.0:
            states = [self._forget(state) for state in states]
        return super().call(inputs, states, training=training)

    def _forget(self, state):
        def draw(shape):  # The first number of a row is its coin.
            return keras.random.uniform(shape, dtype="float32", seed=self.forgetting_seed)

        rows, width = ops.shape(state)
        drawn = replicas.rows(draw, (rows, width + 1))
        other = ops.cast(2.0 * drawn[:, 1:] - 1.0, state.dtype)
        return ops.where(drawn[:, :1] < self.forgetting, other, state)

    def get_config(self):
        return {**super().get_config(), "forgetting": self.forgetting}
