import keras
import numpy as np
import tensorflow as tf

from applications.speech.forgetting import ForgetfulGRUCell


def cells(forgetting):
    keras.utils.set_random_seed(1)
    forgetful, plain = ForgetfulGRUCell(5, forgetting), keras.layers.GRUCell(5)
    for cell in (forgetful, plain):
        cell.build((None, 3))
    plain.set_weights(forgetful.get_weights()[: len(plain.weights)])
    return forgetful, plain


def numbers(*shape):
    return np.random.default_rng(2).normal(size=shape).astype("float32")


def test_it_is_a_gru_where_nothing_is_forgotten():
    for forgetting, training in ((0.7, False), (0.0, True)):
        forgetful, plain = cells(forgetting)
        x, state = numbers(4, 3), numbers(4, 5)
        found = forgetful(x, [state], training=training)[0]
        np.testing.assert_allclose(found, plain(x, [state])[0], atol=1e-6)


def test_what_is_forgotten_tells_nothing_and_the_other_rows_are_as_they_were():
    forgetful, plain = cells(0.3)
    count = 4000
    x, state = np.tile(numbers(1, 3), (count, 1)), np.tile(numbers(1, 5), (count, 1))
    found = np.array(forgetful(x, [state], training=True)[0])
    kept = np.isclose(found, plain(x, [state])[0], atol=1e-5).all(axis=1)
    assert abs(kept.mean() - 0.7) < 4 * np.sqrt(0.3 * 0.7 / count)
    # Elsewhere the state before was uniform: the same draws again, whatever it had been.
    assert len(np.unique(found[~kept].round(4), axis=0)) > 0.99 * (~kept).sum()


def test_what_replaces_a_state_is_uniform_in_what_a_state_can_be():
    forgetful, _ = cells(1.0)
    drawn = np.array(forgetful._forget(np.zeros((4000, 5), "float32")))
    assert -1.0 <= drawn.min() and drawn.max() < 1.0
    np.testing.assert_allclose(drawn.mean(), 0.0, atol=4 / np.sqrt(3 * drawn.size))
    np.testing.assert_allclose(np.var(drawn), 1 / 3, atol=0.02)


def test_no_gradient_goes_back_through_what_was_forgotten():
    forgetful, _ = cells(1.0)
    state = tf.constant(numbers(4, 5))
    with tf.GradientTape() as tape:
        tape.watch(state)
        loss = tf.reduce_sum(forgetful(numbers(4, 3), [state], training=True)[0])
    assert not np.any(tape.gradient(loss, state))


def test_it_is_saved_with_how_much_it_forgets():
    forgetful, _ = cells(0.3)
    again = ForgetfulGRUCell.from_config(forgetful.get_config())
    assert again.forgetting == 0.3 and again.units == 5
