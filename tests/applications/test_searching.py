import numpy as np
import pytest
from keras import ops

from applications.training import searching, text
from keras_attention.recurrent import CellMemory

A, B = 4, 5
# After each token, the probabilities of END, A and B: A first, then B twice as likely as the end.
AFTER = np.full((6, 6), 1e-9, np.float32)
AFTER[text.START, [A, B]] = 0.6, 0.4
AFTER[A, [text.END, B]] = 0.45, 0.55
AFTER[B, [text.END, A]] = 0.9, 0.1


# What a decoder would prepare of one sentence, of which no word is masked.
MEMORY = CellMemory(keys=np.zeros((1, 2, 3)), values=np.ones((1, 2, 3)), mask=None, cell="weights")


def step(ids, state, memory):
    assert memory.cell == "weights" and memory.mask is None
    weights = ops.repeat(memory.values[:, :, 0], ops.shape(ids)[0], axis=0)
    return ops.log(ops.take(AFTER, ids, axis=0)), state, weights


def found(**options):
    return np.asarray(searching.best(step, (), MEMORY, batch_size=1, max_length=5, **options).ids)[
        0
    ]


def test_the_likeliest_token_each_time_with_a_beam_of_one_and_the_likeliest_text_with_a_wider():
    np.testing.assert_array_equal(found()[0], [A, B, text.END, text.PAD, text.PAD])
    # 0.4 * 0.9 against 0.6 * 0.55 * 0.9 of the greedy choice.
    np.testing.assert_array_equal(found(beam_width=3)[0], [B, text.END, *[text.PAD] * 3])


def test_as_many_as_asked_and_ranked_with_the_penalty_asked_for():
    two = found(beam_width=3, num_hypotheses=2, length_penalty=2.0)
    np.testing.assert_array_equal(two[0][:3], [A, B, text.END])
    np.testing.assert_array_equal(two[1][:2], [B, text.END])


def test_what_is_of_a_beam_is_no_matter_where_there_is_none():
    np.testing.assert_array_equal(found(length_penalty=1.0, num_hypotheses=1), found())


def test_no_text_contains_padding_a_start_or_an_unknown_word():
    bias = searching.bias_of_what_may_come(6)
    banned = [text.PAD, text.START, text.UNKNOWN]
    assert np.isneginf(bias[banned]).all()
    assert not np.delete(bias, banned).any()


@pytest.mark.parametrize("missing", ["batch_size", "max_length"])
def test_the_limits_are_needed(missing):
    limits = {"batch_size": 1, "max_length": 5}
    del limits[missing]
    with pytest.raises(TypeError, match=missing):
        searching.best(step, (), MEMORY, **limits)
