import keras
import numpy as np

from applications.training import averaging


class Switched(keras.layers.Layer):
    """A weight, and a switch, as `RemovableSoftmax` has one."""

    def __init__(self):
        super().__init__()
        self.kernel = self.add_weight(shape=(2,), initializer="zeros")
        self.switch = self.add_weight(shape=(), dtype="bool", initializer="zeros", trainable=False)

    def call(self, x):
        return x * self.kernel


def test_the_mean_is_of_the_last_epochs_and_a_switch_stays_as_it_was_last():
    layer = Switched()
    kept = averaging.LastEpochs(first=1)
    kept.set_model(keras.Sequential([keras.Input((2,)), layer]))
    kept.on_train_begin()
    for epoch, value in enumerate((9.0, 1.0, 2.0, 6.0)):
        layer.kernel.assign([value, -value])
        layer.switch.assign(epoch < 3)
        kept.on_epoch_end(epoch)
    layer.kernel.assign([0.0, 0.0])
    kept.on_train_end()
    np.testing.assert_allclose(layer.kernel, [3.0, -3.0])
    assert not layer.switch.numpy()


def test_nothing_is_kept_before_the_last_epochs():
    layer = Switched()
    kept = averaging.LastEpochs(first=3)
    kept.set_model(keras.Sequential([keras.Input((2,)), layer]))
    kept.on_train_begin()
    kept.on_epoch_end(0)
    assert kept.best_weights is None
