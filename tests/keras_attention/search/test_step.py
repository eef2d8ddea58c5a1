import numpy as np
import pytest
from keras import ops

from keras_attention.loop import pick
from keras_attention.search import step


@pytest.mark.parametrize(("size", "k"), [(1024, 7), (1024, 2), (990, 3), (997, 5), (5, 5), (64, 1)])
@pytest.mark.parametrize("ties", [True, False])
def test_top_k_is_that_of_keras_with_the_same_order_of_ties(size, k, ties):
    rng = np.random.default_rng(size)
    scores = rng.integers(-9, 0, (11, size)) if ties else rng.normal(size=(11, size))
    scores = scores.astype("float32")
    scores[3, 2:] = -np.inf
    scores[5] = -np.inf
    values, places = step.top_k(ops.convert_to_tensor(scores), k)
    expected_values, expected_places = ops.top_k(scores, k)
    np.testing.assert_array_equal(values, expected_values)
    np.testing.assert_array_equal(places, expected_places)


@pytest.mark.parametrize(("size", "k"), [(128, 7), (97, 5), (5, 15)])
@pytest.mark.parametrize("ties", [True, False])
def test_top_k_of_sums_is_that_of_all_sums(size, k, ties):
    rng = np.random.default_rng(size)
    so_far, log_probs = rng.normal(size=(11, 3)), rng.normal(size=(33, size))
    if ties:
        so_far, log_probs = so_far.round(), log_probs.round()
    so_far[4, 1:] = -np.inf
    so_far, log_probs = (ops.cast(each, "float32") for each in (so_far, log_probs))
    sums, places = step.top_k(log_probs, k, so_far)
    every = ops.reshape(so_far[:, :, None] + ops.reshape(log_probs, (11, 3, size)), (11, -1))
    expected_sums, expected_places = ops.top_k(every, k)
    np.testing.assert_array_equal(sums, expected_sums)
    np.testing.assert_array_equal(places, expected_places)


def test_blocks_divide_a_vocabulary():
    widths = [step.block_width(size) for size in (64, 8000, 7936, 990, 997)]
    assert widths == [64, 64, 64, 55, 997]


@pytest.mark.parametrize("rest", [(), (3,), (2, 0)])
def test_pick_picks_of_each_row(rest):
    values = np.random.default_rng(0).normal(size=(5, 7, *rest)).astype("float32")
    places = np.random.default_rng(1).integers(0, 7, (5, 2)).astype("int32")
    expected = [[values[row, place] for place in places[row]] for row in range(5)]
    np.testing.assert_array_equal(pick(values, places), np.asarray(expected))
