"""Machines do what their cells do, step by step, and what they lack is counted in bits."""

import math

import keras
import numpy as np
import pytest

from applications.algorithmic import data, evaluation, model
from applications.algorithmic.config import AlgorithmicConfig
from applications.algorithmic.sequences import Sequences
from keras_attention import compile

SMALL = {"units": 5, "batch_size": 4, "updates": 1}
CONFIGS = {
    "ntm": AlgorithmicConfig(slots=7, slot_width=3, heads=2, **SMALL),
    "ntm_lstm": AlgorithmicConfig(slots=7, slot_width=3, controller="lstm", **SMALL),
    "lstm": AlgorithmicConfig(model="lstm", layers=2, **SMALL),
    "stack": AlgorithmicConfig(problem="anbn", model="stack", stacks=3, depth=4, **SMALL),
    "stack_keep": AlgorithmicConfig(
        problem="memorization", model="stack", stacks=2, depth=4, keep=True, recurrent=True, **SMALL
    ),
}


def made(name):
    config = CONFIGS[name]
    symbols = {"anbn": "ab", "memorization": "#ab"}.get(config.problem, "")
    facts = data.Facts(len(symbols) or 9, len(symbols) or 8, symbols)
    return model.build(config, facts)


def sequence(machine, length=6):
    rng = np.random.default_rng(0)
    if machine.symbols:
        return rng.integers(0, machine.num_inputs, (3, length)).astype("int32")
    return rng.normal(size=(3, length, machine.num_inputs)).astype("float32")


@pytest.mark.parametrize(("kind", "differ"), [("random", True), ("constant", False)])
def test_slots_differ_at_first_or_not(kind, differ):
    config = AlgorithmicConfig(slots=7, slot_width=3, first_memory=kind, **SMALL)
    first, again = [], []
    for memories in (first, again):
        keras.utils.set_random_seed(2)
        machine = model.build(config, data.Facts(9, 8, ""))
        memories.append(np.array(machine.cell.first_memory))
    assert (np.ptp(first[0], axis=0) > 0.1).all() == differ
    np.testing.assert_array_equal(first[0], again[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_machine_does_what_its_cell_does_at_each_step(name):
    machine = made(name)
    inputs = sequence(machine)
    told = machine.perform(inputs)
    steps = np.eye(machine.num_inputs, dtype="float32")[inputs] if machine.symbols else inputs
    state = machine.cell.get_initial_state(batch_size=3)
    for at in range(steps.shape[1]):
        hidden, state = machine.cell(steps[:, at], state)
        np.testing.assert_allclose(told.logits[:, at], machine.told(hidden), rtol=1e-4, atol=1e-5)
        if "ntm" in name:
            heads = 2 * CONFIGS[name].heads
            np.testing.assert_allclose(
                told.trace[:, at], np.reshape(state[-2], (3, heads, 7)), rtol=1e-4, atol=1e-6
            )
    sums = np.sum(told.trace, axis=-1)
    assert sums.size or name == "lstm"
    if name != "lstm":
        np.testing.assert_allclose(sums, 1.0, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_comes_later_changes_nothing_before_it(name):
    machine = made(name)
    inputs = sequence(machine)
    short, long = machine.perform(inputs[:, :4]), machine.perform(inputs)
    np.testing.assert_allclose(short.logits, long.logits[:, :4], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(short.trace, long.trace[:, :4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ntm_lstm", "stack_keep", "lstm"])
def test_a_machine_is_saved_and_read(name, tmp_path):
    machine = made(name)
    inputs = sequence(machine)
    machine.save(tmp_path / "m.keras")
    read = keras.models.load_model(tmp_path / "m.keras", compile=False)
    np.testing.assert_allclose(read(inputs), machine(inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["stack", "stack_keep"])
def test_rounding_takes_the_most_probable_action_and_nothing_else_changes(name):
    machine = made(name)
    machine.cell.moves.kernel.assign(machine.cell.moves.kernel * 9.0)
    rounded = model.rounded(machine)
    for ours, theirs in zip(machine.get_weights(), rounded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    inputs = sequence(machine)
    actions = np.array(rounded.perform(inputs).trace)
    assert set(np.unique(actions)) == {0.0, 1.0}
    first = np.array(machine.perform(inputs).trace)[:, 0]
    np.testing.assert_array_equal(actions[:, 0].argmax(axis=-1), first.argmax(axis=-1))


def test_what_has_no_stacks_is_not_rounded():
    machine = made("lstm")
    assert model.rounded(machine) is machine


@pytest.mark.parametrize("name", ["ntm", "stack"])
def test_training_is_the_same_with_xla_and_without(name):
    losses = []
    for xla in (False, True):
        compile.set_xla(xla)
        try:
            keras.utils.set_random_seed(3)
            machine = made(name)
            assert machine.jit_compile == xla
        finally:
            compile.set_xla(False)
        inputs = sequence(machine)
        targets = inputs if machine.symbols else (inputs[..., :8] > 0).astype("float32")
        losses.append([machine.train_on_batch(inputs, targets)[0] for _ in range(3)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    assert losses[0][-1] < losses[0][0]


def test_bits_are_what_a_vector_of_answers_lacks():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 2)).astype("float32")
    targets = np.array([[[-1, -1], [0, 1], [1, 1]], [[1, 0], [-1, -1], [-1, -1]]], "float32")
    expected, wrongs = [0.0, 0.0], [[], []]
    for row, step, bit in np.ndindex(2, 3, 2):
        if targets[row, step, bit] >= 0:
            p = 1.0 / (1.0 + math.exp(-logits[row, step, bit]))
            expected[row] -= math.log2(p if targets[row, step, bit] else 1.0 - p)
            wrongs[row].append((p > 0.5) != bool(targets[row, step, bit]))
    sequences = Sequences(logits, targets, np.array([3, 1]))
    np.testing.assert_allclose(model.bits(targets, logits), expected, rtol=1e-5)
    np.testing.assert_allclose(evaluation.bits(logits, sequences), expected, rtol=1e-5)
    np.testing.assert_allclose(model.wrong(targets, logits), [np.mean(each) for each in wrongs])
    assert evaluation.wrong_bits(logits, sequences) == pytest.approx(100 * np.mean(sum(wrongs, [])))


def test_bits_are_what_a_stream_of_symbols_lacks():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4)).astype("float32")
    targets = np.array([[3, -1, 0], [2, 2, -1]])
    expected, wrongs = [0.0, 0.0], [[], []]
    for row, step in np.ndindex(2, 3):
        if targets[row, step] >= 0:
            exps = [math.exp(each) for each in logits[row, step]]
            expected[row] -= math.log2(exps[targets[row, step]] / sum(exps))
            wrongs[row].append(exps.index(max(exps)) != targets[row, step])
    sequences = Sequences(targets, targets, np.array([3, 2]))
    np.testing.assert_allclose(model.bits(targets, logits), expected, rtol=1e-5)
    np.testing.assert_allclose(evaluation.bits(logits, sequences), expected, rtol=1e-5)
    np.testing.assert_allclose(model.wrong(targets, logits), [np.mean(each) for each in wrongs])
