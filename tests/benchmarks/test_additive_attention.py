"""The benchmark's arguments, and that its sides compute the same; numbers need a quiet machine."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from benchmarks import additive_attention as benchmark

T, B = 17, 3
HAS_TORCH = importlib.util.find_spec("torch") is not None


def settings(**changes):
    return benchmark.Settings(**{"units": 67, "repeats": 1, "memory": False, **changes})


def formula(query, key, value, v):
    scores = np.tanh(query[:, :, None] + key[:, None]) @ v
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--units", "0"], "--units must be at least 1. Received: 0"),
        (["--batch-size", "-1"], "--batch-size must be at least 1. Received: -1"),
        (["--repeats", "0"], "--repeats must be at least 1. Received: 0"),
        (["--only", "theirs"], "A side must be one of 'ours', 'ours, no XLA', "),
    ],
)
def test_a_mistake_is_told_in_one_line(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    assert benchmark.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"additive_attention: {message}")


@pytest.mark.parametrize("name", benchmark.SAME_CONTEXT)
def test_sides_compute_the_formula_and_its_gradients(name):
    if name == benchmark.COMPILED or (name == benchmark.TORCH and not HAS_TORCH):
        pytest.skip("needs PyTorch, and a minute to compile")
    forward, train = benchmark.works(settings(), name, T, B)
    *rows, v = (each.astype("float64") for each in benchmark.arrays(settings(), T, B))
    (context,) = forward()
    np.testing.assert_allclose(context, formula(*rows, v), rtol=1e-3, atol=1e-4)
    gradients = train()
    assert [each.shape for each in gradients] == [(B, T, 67)] * 3 + [(67,)]
    direction, step = np.random.default_rng(1).normal(size=67), 1e-6
    slope = sum(formula(*rows, v + sign * step * direction).sum() * sign for sign in (1, -1))
    assert gradients[3] @ direction == pytest.approx(slope / (2 * step), rel=1e-3)


def test_whole_layers_have_the_same_weights_and_all_get_gradients():
    for name in (benchmark.OUR_LAYER, benchmark.KERAS_LAYER):
        forward, train = benchmark.works(settings(), name, T, B)
        assert forward()[0].shape == (B, T, 67)
        shapes = [each.shape for each in train()]
        assert sorted(shapes[2:]) == [(67,), (67, 67), (67, 67)], name  # after query and value


def test_sides_that_need_too_much_take_fewer_sequences_or_are_left_out(capsys):
    small = settings(memory_limit=1.0, batch_size=8, units=256)
    names = [benchmark.OURS, benchmark.KERAS]
    assert benchmark.rounds(small, names, 64) == [(8, names)]
    assert benchmark.rounds(small, names, 256) == [(3, names), (8, [benchmark.OURS])]
    assert benchmark.rounds(small, names, 4096) == [(8, [benchmark.OURS])]
    assert benchmark.rounds(small, [benchmark.OURS], 4096) == [(8, [benchmark.OURS])]
    assert capsys.readouterr().out.splitlines() == [
        "T 256: all pairs at once take about 0.3 GiB a sequence",
        "T 4096: all pairs at once take about 80.0 GiB a sequence",
    ]


def test_without_pytorch_it_says_so_and_goes_on(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert benchmark.available(settings(only=("ours", "torch"))) == ["ours"]
    assert capsys.readouterr().out == "without torch: pip install torch==2.13.0\n"


def test_it_prints_a_line_a_side_and_ratios_to_ours_and_draws(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["benchmark", "--only", "ours", "keras AdditiveAttention"])
    sys.argv += ["--lengths", "16", "19", "--units", "67", "--repeats", "1", "--no-memory"]
    sys.argv += ["--figure", str(tmp_path / "costs.png")]
    assert benchmark.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "B 8, Tq = Tv = 16, units 67:"
    assert lines[2].startswith("  ours ") and lines[2].count("(  1.0x)") == 2
    assert lines[3].startswith("  keras AdditiveAttention ") and lines[3].count("x)") == 2
    assert lines[4].startswith("  their contexts differ by ") and "e-0" in lines[4]
    assert lines[5] == "B 8, Tq = Tv = 19, units 67:"
    assert (tmp_path / "costs.png").read_bytes().startswith(b"\x89PNG")
    assert benchmark.told("training step", {"ours": 2.0, "torch": 7.0}, "torch").endswith("  3.5x)")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_that_of_a_process_of_its_own():
    few = benchmark.child_memory(settings(), benchmark.OURS, 64, 2)
    assert 0.0 <= few < 100.0
    assert np.isnan(benchmark.child_memory(settings(units=67), "nobody", 64, 2))
