"""The pyramid reads what it is given, in as many steps as it says, and a stream piece by piece."""

from __future__ import annotations

import numpy as np
import pytest
from keras import layers, ops

from applications.speech.encoder import ForwardGRU, PyramidalEncoder, stacked


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def padded(sequences):
    """Sequences (T, D) of different lengths as one array, 0 past their ends, and the lengths."""
    lengths = np.array([len(each) for each in sequences], np.int32)
    array = np.zeros((len(sequences), lengths.max(), sequences[0].shape[-1]), np.float32)
    for row, each in zip(array, sequences, strict=True):
        row[: len(each)] = each
    return array, lengths


def test_frames_are_stacked_in_their_order_and_the_last_are_zeros():
    frames = np.arange(1, 11, dtype=np.float32).reshape(1, 5, 2)
    found = ops.convert_to_numpy(stacked(ops.convert_to_tensor(frames), 3))
    assert found.tolist() == [[[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 0, 0]]]


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
    ("num_layers", "reductions", "frames"), [(1, 0, 1), (2, 1, 1), (3, 2, 3), (2, 2, 2)]
)
def test_an_annotation_is_of_so_many_frames(num_layers, reductions, frames, bidirectional):
    encoder = PyramidalEncoder(5, num_layers, reductions, frames, bidirectional)
    inputs, lengths = padded([draw(n, 4, seed=n) for n in (1, 2, 11, 12, 13)])
    annotations, counts = encoder(inputs, lengths)
    together = frames * 2**reductions
    assert encoder.frames_per_annotation == together
    assert ops.convert_to_numpy(counts).tolist() == [-(-n // together) for n in lengths]
    assert annotations.shape == (5, -(-13 // together), 10 if bidirectional else 5)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_padding_a_batch_changes_no_annotation(bidirectional):
    encoder = PyramidalEncoder(5, 2, 1, 3, bidirectional)
    sequences = [draw(n, 4, seed=n) for n in (7, 23, 12)]
    together, counts = encoder(*padded(sequences))
    for row, each in enumerate(sequences):
        alone, count = encoder(each[None], np.array([len(each)], np.int32))
        assert count[0] == counts[row]
        found = ops.convert_to_numpy(together[row])
        np.testing.assert_allclose(found[: count[0]], alone[0], rtol=1e-5, atol=1e-6)
        assert (found[int(count[0]) :] == 0.0).all()


@pytest.mark.parametrize("bidirectional", [True, False])
def test_in_training_a_sequence_may_go_on_where_another_ended(bidirectional):
    encoder = PyramidalEncoder(5, 2, 0, 1, bidirectional, num_ends=3)
    frames, length, goes_on = draw(1, 12, 4), np.array([12], np.int32), np.array([True])
    first, _ = encoder(frames, length, goes_on, training=True)  # after none
    np.testing.assert_allclose(first, encoder(frames, length)[0], atol=1e-6)
    ends = ops.convert_to_numpy(encoder.ends)
    assert (ends[0] != 0.0).all() and (ends[1:] == 0.0).all()
    encoder.ends.assign(np.repeat(ends[:1], len(ends), axis=0))
    second, _ = encoder(frames, length, goes_on, training=True)
    if not bidirectional:  # As the second half of one sequence.
        twice, _ = encoder(np.concatenate([frames, frames], axis=1), 2 * length)
        np.testing.assert_allclose(second, twice[:, 12:], rtol=1e-4, atol=1e-6)
    assert (np.abs(second - first).max(axis=(0, 1)) > 1e-3).all()  # in either direction
    kept = ops.convert_to_numpy(encoder.ends)
    assert (kept[0] != kept[1]).any() and (kept[1:] == ends[0]).all()
    np.testing.assert_allclose(encoder(frames, length, goes_on)[0], first, atol=1e-6)


def test_only_what_goes_on_does_and_from_different_ends():
    encoder = PyramidalEncoder(5, 2, 0, 1, num_ends=50)
    inputs, lengths = padded([draw(12, 4)] * 100)
    always, _ = encoder(inputs, lengths)
    encoder.ends.assign(draw(*encoder.ends.shape))
    goes_on = np.arange(100) % 2 == 0
    found, _ = encoder(inputs, lengths, goes_on, training=True)
    same = np.isclose(found, always, atol=1e-6).all(axis=(1, 2))
    assert same.tolist() == (~goes_on).tolist()
    assert len(np.unique(ops.convert_to_numpy(found)[goes_on, 0, 0])) > 20


def test_a_forward_layer_is_keras_own():
    inputs, ours, theirs = draw(2, 7, 3), ForwardGRU(5), layers.GRU(5, return_sequences=True)
    mask = np.arange(7) < np.array([[7], [4]])
    theirs(inputs)
    ours(inputs, mask=mask)
    ours.set_weights(theirs.get_weights())
    annotations, last = ours(inputs, mask=mask)
    np.testing.assert_allclose(annotations, theirs(inputs, mask=mask), rtol=1e-5)
    np.testing.assert_allclose(last, annotations[:, -1], rtol=1e-5)


@pytest.mark.parametrize("pieces", [(12, 6, 24, 5), (6, 6, 6, 6, 23), (47,)])
def test_a_stream_piece_by_piece_is_the_whole(pieces):
    encoder, frames = PyramidalEncoder(5, 3, 1, 3, bidirectional=False), draw(1, 47, 4)
    whole, _ = encoder(frames, np.array([47], np.int32))
    found, start = [], 0
    states = [ops.zeros((1, 5))] * 3
    for size in pieces:
        piece = frames[:, start : start + size]
        annotations, _, states = encoder.run(piece, np.array([size], np.int32), states)
        found.append(ops.convert_to_numpy(annotations))
        start += size
    np.testing.assert_allclose(np.concatenate(found, axis=1), whole, rtol=1e-4, atol=1e-6)
