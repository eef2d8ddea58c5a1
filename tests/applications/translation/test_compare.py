"""The figure that compares runs."""

import json
import sys

from applications.translation import compare, figures

RESULT = {
    "metrics": {
        "bleu_by_length": [
            {"low": 0, "high": 10, "num_sentences": 7, "bleu": 30.0},
            {"low": 10, "high": None, "num_sentences": 5, "bleu": 20.0},
        ]
    }
}


def test_each_run_has_a_curve():
    axes = figures.bleu_by_length({"with": RESULT, "without": RESULT}).axes[0]
    assert [line.get_label() for line in axes.get_lines()] == ["with", "without"]
    assert list(axes.get_lines()[0].get_ydata()) == [30.0, 20.0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0-9", "≥ 10"]


def test_the_command_writes_the_picture(tmp_path, monkeypatch):
    metrics = tmp_path / "metrics.json"
    metrics.write_text(json.dumps(RESULT), encoding="utf-8")
    picture = tmp_path / "curve.png"
    monkeypatch.setattr(sys, "argv", ["compare", f"run={metrics}", "--to", str(picture)])
    assert compare.main() == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_missing_file_is_one_line(tmp_path, monkeypatch, capsys):
    arguments = ["compare", f"run={tmp_path / 'no.json'}", "--to", "x.png"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert compare.main() == 2
    assert "no.json" in capsys.readouterr().err
