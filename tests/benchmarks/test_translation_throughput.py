"""The benchmark's arguments and arithmetic; its measurements need a quiet machine and PyTorch."""

from __future__ import annotations

import sys

import pytest

from benchmarks import translation_throughput as benchmark


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--steps", "0"], "--steps must be at least 1. Received: 0"),
        (["--repeats", "-1"], "--repeats must be at least 1. Received: -1"),
        (["--threads", "0"], "--threads must be at least 1. Received: 0"),
        (["--saved-model", "v/1"], "--saved-model needs --data-dir, for sentences to translate."),
        (["--run", "r", "--data-dir", "d"], "--run needs --saved-model, the run's export."),
    ],
)
def test_a_mistake_is_told_in_one_line(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["benchmark", "--skip-peer", *arguments])
    assert benchmark.main() == 2
    assert capsys.readouterr().err == f"translation_throughput: {message}\n"


def test_a_missing_pytorch_is_told_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark"])
    monkeypatch.setitem(sys.modules, "torch", None)
    assert benchmark.main() == 2
    expected = "The peer needs PyTorch: pip install torch==2.13.0, or --skip-peer."
    assert capsys.readouterr().err == f"translation_throughput: {expected}\n"


def test_a_folder_without_a_saved_model_is_told(tmp_path):
    settings = benchmark.Settings(data_dir=tmp_path, saved_model=tmp_path, skip_peer=True)
    with pytest.raises(benchmark.UserError, match=r"holds no saved_model\.pb\.$"):
        benchmark.measure_decoding(settings)


def test_sides_take_turns_and_the_first_turn_is_not_counted():
    order: list[str] = []
    sides = {name: lambda name=name: order.append(name) or len(order) for name in ("a", "b")}
    seconds, returned = benchmark.take_turns(sides, repeats=2)
    assert order == ["a", "b"] * 3
    assert returned == {"a": [1, 3, 5], "b": [2, 4, 6]}
    assert {name: len(each) for name, each in seconds.items()} == {"a": 2, "b": 2}


def test_rates_are_medians_and_the_ratio_is_theirs(capsys):
    benchmark.report("work", "units/s", 12, {"ours": [1.0, 2.0, 12.0], "PyTorch": [4.0, 6.0, 3.0]})
    assert capsys.readouterr().out.splitlines() == [
        "work: ours 6 units/s (1 to 12)",
        "work: PyTorch 3 units/s (2 to 4)",
        "work: ratio 2.00",
    ]


def test_random_pairs_are_as_long_as_those_of_multi30k():
    facts, pairs = benchmark.random_pairs()
    assert facts.source.size == facts.target.size == benchmark.VOCABULARY_SIZE
    assert len(pairs) == benchmark.NUM_PAIRS
    for ids, mean in ((pairs.sources, 14.0), (pairs.targets, 14.0)):  # The source has its end.
        assert sum(map(len, ids)) / len(ids) == pytest.approx(mean, abs=0.2)
    assert min(ids.min() for ids in pairs.targets) > 3  # no special token
    assert max(ids.max() for ids in pairs.targets) < benchmark.VOCABULARY_SIZE
