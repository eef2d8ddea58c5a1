"""How the learning rate moves and weights are averaged, so that a resumed run agrees."""

from __future__ import annotations

import math
from collections.abc import Callable


def cosine(learning_rate: float, epochs: int, lowest: float = 0.02) -> Callable[[int], float]:
    """Falls from `learning_rate` to `lowest` times that, over `epochs`, along half a cosine.

    Reference: Loshchilov & Hutter, 2016, SGDR, https://arxiv.org/abs/1608.03983 (eq. 5).
    """

    def at(epoch: int, _: float = 0.0) -> float:
        fraction = min(epoch / max(epochs - 1, 1), 1.0)
        return learning_rate * (
            lowest + (1.0 - lowest) * 0.5 * (1.0 + math.cos(math.pi * fraction))
        )

    return at


def adam(learning_rate: float, average: float, **options):
    """Adam, with the moving average of the weights that `callbacks` has evaluated.

    Args:
        learning_rate: At its highest.
        average: Momentum of the average; 0: none is kept.
        **options: More of `keras.optimizers.Adam`.
    """
    import keras

    averaging = {"use_ema": True, "ema_momentum": average} if average else {}
    return keras.optimizers.Adam(learning_rate, **averaging, **options)


def callbacks(learning_rate: float, epochs: int, average: float) -> list:
    """Those of the cosine, and, unless `average` is 0, of evaluation with averaged weights.

    One callback swaps the weights for all that looks at them: validation, what comes after it at an
    epoch's end, and the end of training. A second would swap them back.
    """
    import keras

    schedule = keras.callbacks.LearningRateScheduler(cosine(learning_rate, epochs))
    if average == 0.0:
        return [schedule]
    return [schedule, keras.callbacks.SwapEMAWeights(swap_on_epoch=True)]


def growing(find: Callable, first: float, last: float, epochs: int):
    """A callback that sets a variable of the model before each epoch, from first to last in a line.

    Args:
        find: From the model to the variable.
        first: Its value in the first epoch.
        last: Its value in the last one.
        epochs: How many there are.
    """
    import keras

    class Growing(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            share = min(epoch / max(epochs - 1, 1), 1.0)
            find(self.model).assign(first + share * (last - first))

    return Growing()
