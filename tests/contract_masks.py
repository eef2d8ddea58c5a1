"""The contract's clauses about masks: see `contract.py`."""

from __future__ import annotations

import keras
import numpy as np

from tests.contract_rows import arrays, assert_same, dtype_policy, outputs_and_gradients

# JAX fuses the same sums in other ways where a mask comes along.
ALIKE = dict.fromkeys(("rtol", "atol"), 0.0 if keras.backend.backend() == "tensorflow" else 1e-6)


def masked_weights_are_zero(row):
    """What is masked has weight exactly 0, and its value has no influence at all."""
    layer, inputs, masks = row.built(), row.data(), row.holes()
    outputs = arrays(row.call(layer, inputs, **masks))
    masked = ~masks["value_mask"]
    over_values = np.moveaxis(outputs["weights"], -1, 1)  # (B, Tv, ...)
    assert (over_values[masked] == 0.0).all()
    assert (over_values[~masked] != 0.0).any()
    for name in {"value", "key"} & inputs.keys():
        inputs[name][masked] = 1e4
    assert_same(row.call(layer, inputs, **masks), outputs, rtol=0.0, atol=0.0)


def nothing_to_look_at(row):
    """With every value masked, weights and context are 0, in every float dtype."""
    for policy in ("float32", "mixed_float16", "mixed_bfloat16"):
        with dtype_policy(policy):
            outputs = arrays(row.call(row.built(), row.data(), value_mask=_second_row_masked(row)))
        assert (outputs["weights"][1] == 0.0).all(), policy
        assert (outputs["context"][1] == 0.0).all(), policy
        for name, output in outputs.items():
            assert np.isfinite(output).all(), (policy, name)


def gradients_with_nothing_to_look_at(row):
    """With every value masked, gradients are finite, in every float dtype."""
    for policy in ("float32", "mixed_float16", "mixed_bfloat16"):
        with dtype_policy(policy):
            _, _, gradients = outputs_and_gradients(
                row, row.built(), row.data(), value_mask=_second_row_masked(row)
            )
        for name, gradient in arrays(gradients).items():
            assert np.isfinite(gradient).all(), (policy, name)


def padding_changes_no_output(row):
    """Padding a batch further changes no output; what is added reads, weighs and gives 0."""
    layer = row.built()
    short, long = _padded(row, 0), _padded(row, 3)
    _assert_padded(row.call(layer, **long), row.call(layer, **short))


def padding_changes_no_gradient(row):
    """Padding a batch further changes neither the loss nor any gradient."""
    layer = row.built()
    short, long = (outputs_and_gradients(row, layer, **_padded(row, by)) for by in (0, 3))
    for found, expected in zip(long, short, strict=True):
        _assert_padded(found, expected)


def masks_arrive_by_themselves(row):
    """A Keras mask that rides on a tensor is used, unless an explicit one is given."""
    layer, inputs = row.built(), row.data()
    for name, covered in row.masks.items():
        if len(covered) > 1:
            covered = [each for each in covered if name == f"{each}_mask"]
        (argument,) = covered
        blanked = {**inputs, argument: inputs[argument].copy()}
        mask = np.ones(inputs[argument].shape[:2], bool)
        mask[:, 1] = False
        blanked[argument][~mask] = 0.0
        riding = {**blanked, argument: keras.layers.Masking()(blanked[argument])}
        explicit = row.call(layer, blanked, **{name: mask})
        assert_same(row.call(layer, riding), explicit, **ALIKE)
        everything = row.call(layer, riding, **{name: np.ones_like(mask)})
        assert_same(everything, row.call(layer, blanked), **ALIKE)
        unlike = arrays(explicit)["weights"] != arrays(everything)["weights"]
        assert unlike.any(), name


def _second_row_masked(row):
    mask = np.ones(row.inputs["value"][:2], bool)
    mask[1] = False
    return mask


def _padded(row, by):
    """Arguments of `row.call` whose every masked axis is padded, with numbers that would show."""
    inputs, masks = row.data(), {}
    for name, covered in row.masks.items():
        for argument in covered:
            inputs[argument] = np.pad(
                inputs[argument], ((0, 0), (0, by), (0, 0)), constant_values=9.0
            )
            length = inputs[argument].shape[1]
        real = np.arange(length)[None] < length - by
        masks[name] = np.repeat(real, row.inputs[covered[0]][0], axis=0)
        masks[name][-1, -by - 1] = False  # One sequence is shorter than the others.
    return {"inputs": inputs, **masks}


def _assert_padded(found, expected):
    """`found` is `expected`, and 0 beyond it."""
    found, expected = arrays(found), arrays(expected)
    for name, array in expected.items():
        whole = np.zeros_like(found[name])
        whole[tuple(slice(length) for length in array.shape)] = array
        expected[name] = whole
    assert_same(found, expected)


CLAUSES = (
    masked_weights_are_zero,
    nothing_to_look_at,
    gradients_with_nothing_to_look_at,
    padding_changes_no_output,
    padding_changes_no_gradient,
    masks_arrive_by_themselves,
)
ON_TENSORFLOW = {gradients_with_nothing_to_look_at, padding_changes_no_gradient}
