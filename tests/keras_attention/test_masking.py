"""Masks against loops over their positions."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import masking


def test_padding_mask_marks_what_is_real():
    mask = ops.convert_to_numpy(masking.padding_mask(np.array([3, 0, 5]), 5))
    assert mask.dtype == bool
    assert mask.tolist() == [[j < length for j in range(5)] for length in (3, 0, 5)]


def test_padding_mask_takes_lengths_of_any_integer_type():
    for dtype in ("int32", "int64", "uint8"):
        mask = masking.padding_mask(np.array([1, 2], dtype), 3)
        assert ops.convert_to_numpy(mask).sum() == 3


@pytest.mark.parametrize(("num_queries", "num_values"), [(3, 3), (2, 5), (5, 2)])
def test_causal_mask_hides_later_values(num_queries, num_values):
    mask = ops.convert_to_numpy(masking.causal_mask(num_queries, num_values))
    expected = [[[j <= i for j in range(num_values)] for i in range(num_queries)]]
    assert mask.tolist() == expected


def test_window_mask_hides_what_is_far_from_the_center():
    positions, centers = np.arange(7.0)[None, None], np.array([[0.0], [2.5], [9.0]])[None]
    mask = ops.convert_to_numpy(masking.window_mask(positions, centers, 2))
    expected = [[[abs(s - p) <= 2 for s in range(7)] for p in (0.0, 2.5, 9.0)]]
    assert mask.tolist() == expected


def test_masks_of_values_queries_and_pairs_meet_in_one():
    values = np.array([[True, True, False], [True, False, True]])
    queries = np.array([[True, False], [True, True]])
    pairs = np.random.default_rng(3).random((2, 2, 3)) < 0.5
    combined = masking.combine(
        masking.over_values(values),
        None,
        masking.over_queries(queries),
        masking.over_values(pairs),
    )
    expected = [
        [[values[b, j] and queries[b, i] and pairs[b, i, j] for j in range(3)] for i in range(2)]
        for b in range(2)
    ]
    assert ops.convert_to_numpy(combined).tolist() == expected


def test_nothing_said_is_no_mask():
    assert masking.combine() is None
    assert masking.combine(None, masking.over_values(None), masking.over_queries(None)) is None


def test_number_masks_become_boolean():
    mask = masking.over_values(np.array([[1, 0, 2]], "int32"))
    assert keras.backend.standardize_dtype(mask.dtype) == "bool"
    assert ops.convert_to_numpy(mask).tolist() == [[[True, False, True]]]


def test_hold_takes_new_rows_or_keeps_old_ones():
    mask = np.array([True, False, True])
    new = {"a": np.ones((3, 2)), "b": [np.ones((3,)), np.ones((3, 5, 7))]}
    old = keras.tree.map_structure(np.zeros_like, new)
    held = masking.hold(mask, new, old)
    for leaf in keras.tree.flatten(held):
        leaf = ops.convert_to_numpy(leaf)
        for row in range(3):
            assert (leaf[row] == mask[row]).all()


def test_mask_of_a_wrong_rank_is_refused():
    with pytest.raises(
        ValueError,
        match=r"shape \(batch, values\) or \(batch, queries, values\). Received: mask.shape=\(5,\)",
    ):
        masking.over_values(np.ones(5, bool))
    with pytest.raises(
        ValueError, match=r"shape \(batch, queries\). Received: query_mask.shape=\(2, 3, 5\)"
    ):
        masking.over_queries(np.ones((2, 3, 5), bool))
