"""Learning rates by epoch."""

import keras
import numpy as np
import pytest

from applications.training import schedules
from applications.training.schedules import cosine


def test_cosine_falls_from_the_rate_to_its_lowest():
    rate = cosine(0.5, epochs=5, lowest=0.1)
    assert [rate(epoch) for epoch in (0, 2, 4)] == pytest.approx([0.5, 0.275, 0.05])
    assert rate(9) == pytest.approx(0.05)


def test_one_epoch_has_the_full_rate():
    assert cosine(0.5, epochs=1)(0) == 0.5


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_validation_sees_the_weights_that_training_ends_with(average):
    """The averaged ones, or those that there are."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(64, 3)), draw.normal(size=(64, 1))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    use = {"use_ema": average > 0.0, "ema_momentum": average or 0.99}
    model.compile(keras.optimizers.Adam(0.1, **use), "mse")
    callbacks = schedules.callbacks(0.1, 2, average)
    fit = model.fit(
        x, y, validation_data=(x, y), epochs=2, batch_size=8, callbacks=callbacks, verbose=0
    )
    assert fit.history["val_loss"][-1] == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-6)


def test_a_variable_grows_in_a_line_and_a_run_that_goes_on_has_the_same():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.level = keras.Variable(0.0, trainable=False)
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(float(model.level))
    )
    growing = schedules.growing(lambda model: model.level, 2.0, 5.0, epochs=4)
    x = np.ones((2, 1))
    for first in (0, 2):
        model.fit(x, x, epochs=4, initial_epoch=first, callbacks=[growing, watch], verbose=0)
    assert seen == pytest.approx([2.0, 3.0, 4.0, 5.0, 4.0, 5.0])
