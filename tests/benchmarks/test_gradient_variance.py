"""The benchmark's arguments and arithmetic, and one small measurement."""

from __future__ import annotations

import sys

import pytest

from benchmarks import gradient_variance as benchmark


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--repeats", "1"], "--repeats must be at least 2. Received: 1"),
        (["--num-examples", "9"], "--num-examples must be at least 64. Received: 9"),
        (["--epochs", "3", "1"], "--epochs must be positive and in order. Received: (3, 1)"),
    ],
)
def test_a_mistake_is_told_in_one_line(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    assert benchmark.main() == 2
    assert capsys.readouterr().err == f"gradient_variance: {message}\n"


def test_the_ratio_is_to_reinforce_of_as_many_samples(capsys):
    benchmark.report(
        {
            ("REINFORCE", 1): 8.0,
            ("learned baseline", 1): 0.5,
            ("REINFORCE", 4): 2.0,
            ("leave-one-out", 4): 0.1,
        }
    )
    assert capsys.readouterr().out.splitlines() == [
        "  REINFORCE, 1 a caption: 8",
        "  learned baseline, 1 a caption: 0.5, 16.0 times less",
        "  REINFORCE, 4 a caption: 2",
        "  leave-one-out, 4 a caption: 0.1, 20.0 times less",
    ]


def test_baselines_cut_the_variance_of_a_captioner_that_has_begun_to_learn(capsys):
    pytest.importorskip("sklearn")
    settings = benchmark.Settings(epochs=(1,), repeats=8, batch_size=8, num_examples=1280)
    benchmark.measure(settings)
    lines = capsys.readouterr().out.splitlines()
    ratios = [float(line.split(", ")[-1].split()[0]) for line in lines if "times less" in line]
    assert len(ratios) == 3 and min(ratios) > 1.0
