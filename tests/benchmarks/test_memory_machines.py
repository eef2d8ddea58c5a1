"""The benchmark's arguments, and that the arithmetic it measures is the machines'."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from keras import ops

from benchmarks import memory_machines as benchmark
from keras_attention import NTMCell, StackCell, addressing

B = 3
SMALL = benchmark.Settings(
    length=4, batch_size=B, units=5, slots=6, slot_width=2, stacks=3, depth=4, calls=1, repeats=1
)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--length", "0"], "--length must be at least 1. Received: 0"),
        (["--slots", "2"], "--slots must be at least 3. Received: 2"),
        (["--without-nan", "-1"], "--without-nan must be at least 0. Received: -1"),
    ],
)
def test_a_mistake_is_told_in_one_line(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    assert benchmark.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"memory_machines: {message}"


def drawn(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def test_the_arithmetic_of_a_turing_machine_is_that_of_its_equations():
    cell = benchmark.arithmetic("NTM", SMALL)
    n, m = SMALL.slots, SMALL.slot_width
    said, before, memory = drawn(B, cell.features), softmax(drawn(B, 2, n)), drawn(B, n, m)
    read, (weights, written) = cell(said, [before.reshape(B, -1), memory.reshape(B, -1)])
    heads = said[:, : 2 * (m + 6)].reshape(B, 2, m + 6)
    erase, add = np.split(said[:, 2 * (m + 6) :], 2, axis=-1)
    strength, power = (np.log1p(np.exp(heads[..., m + i])) for i in (0, 5))
    content = addressing.content_weights(heads[..., :m], strength, memory)
    gated = addressing.interpolate(sigmoid(heads[..., m + 1]), content, before)
    moved = addressing.shift(gated, softmax(heads[..., m + 2 : m + 5]))
    expected = np.array(addressing.sharpen(moved, 1.0 + power))
    np.testing.assert_allclose(np.array(weights).reshape(B, 2, n), expected, rtol=1e-4)
    np.testing.assert_allclose(read, (expected[:, :1] @ memory)[:, 0], rtol=1e-3, atol=1e-5)
    after = addressing.write(
        expected[:, 1:], sigmoid(erase)[:, None], np.tanh(add)[:, None], memory
    )
    np.testing.assert_allclose(np.array(written).reshape(B, n, m), after, rtol=1e-3, atol=1e-5)


def test_the_arithmetic_of_stacks_is_that_of_the_cell():
    cell, arithmetic = benchmark.machine("stacks", SMALL), benchmark.arithmetic("stacks", SMALL)
    inputs, hidden = drawn(B, 2), drawn(B, SMALL.units)
    stacks = sigmoid(drawn(B, SMALL.stacks * SMALL.depth))
    cell.build(inputs.shape)
    hidden, (_, expected) = cell(inputs, [hidden, stacks])
    moves = np.array(cell.moves(hidden)).reshape(B, SMALL.stacks, 2)
    value = np.array(ops.matmul(hidden, cell.pushed.kernel) + cell.pushed.bias)[..., None]
    said = np.concatenate([moves, value], axis=-1).reshape(B, -1)
    top, (after,) = arithmetic(said, [stacks])
    np.testing.assert_allclose(after, expected, rtol=1e-4)
    by_stack = np.array(expected).reshape(B, SMALL.stacks, SMALL.depth)
    np.testing.assert_allclose(top, by_stack[..., :2].reshape(B, -1), rtol=1e-4)


def test_machines_are_those_of_the_library_and_all_sides_are_told_of(capsys):
    kinds = [type(benchmark.machine(name, SMALL)) for name in benchmark.MACHINES]
    assert kinds == [NTMCell, NTMCell, StackCell]
    benchmark.measure(SMALL, "plain", xla=False)
    told = capsys.readouterr().out
    assert [told.count(name) for name in ("LSTM:", "LSTM ", "us, its memory's")] == [0, 8, 6]


def test_what_is_no_number_is_found(monkeypatch, capsys):
    short = dataclasses.replace(SMALL, without_nan=6, seeds=2)
    assert list(benchmark.endure(short)) == [True] * 6
    monkeypatch.setattr(
        addressing, "sharpen", lambda weights, power: weights ** power[..., None] / 0.0
    )
    assert list(benchmark.endure(short)) == [False] * 4 + [True] * 2
    assert "NTM, seed 1: 0 of " in capsys.readouterr().out
