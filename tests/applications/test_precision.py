"""Every task trains in 16 bits too, and what it leaves is as good as any other run."""

from __future__ import annotations

import io
import json
import sys

import keras
import pytest

from applications import cli
from applications.training import run

FEW_EPOCHS = ["--epochs", "1", "--run-dir"]
SMALL = {
    "translation": [
        *["--num-examples", "320", "--batch-size", "64", "--units", "8", "--embedding-units", "8"],
        *["--average", "0.9"],
    ],
    "captioning": [
        *["--num-examples", "96", "--batch-size", "32", "--units", "8", "--embedding-units", "8"],
        *["--cnn-units", "4", "8", "--average", "0.9", "--beam-width", "2"],
    ],
    "recognition": [
        *["--units", "16", "--hidden-units", "8", "--batch-size", "64", "--monte-carlo", "2"],
        *["--num-glimpses", "2"],
    ],
    "question_answering": [
        *["--linear-start", "0", "--units", "8", "--batch-size", "8"],
        *["--num-questions", "40", "--memory-size", "12"],
    ],
    "reading": [
        *["--units", "3", "--embedding-units", "4", "--batch-size", "8", "--average", "0.5"],
        *["--num-questions", "24", "--num-held-out", "12"],
    ],
    "long_term_memory": [
        *["--length", "22", "--units", "8", "--updates", "3", "--batch-size", "8"],
        *["--held-out", "20"],
    ],
    "algorithmic": [
        *["--units", "6", "--batch-size", "4", "--updates", "3", "--held-out", "4"],
        *["--max-size", "3", "--slots", "8", "--slot-width", "4"],
    ],
}
LINES = {
    "translation": "3. November 2026",
    "question_answering": "Mary went to the hall.\tWhere is Mary?",
    "reading": "@Anna lent the lamp to @Omar .\t@placeholder borrowed the lamp from @Anna .",
    "long_term_memory": "[[0.3, -1], [0.5, 1], [0.1, 0], [0.4, 1], [0.2, -1]]",
    "algorithmic": "01100101 11110000",
}
OTHERS = {
    "hard": ["captioning", *SMALL["captioning"], "--attention", "hard"],
    "input_feeding": ["translation", *SMALL["translation"], "--input-feeding"],
    "no_attention": ["translation", *SMALL["translation"], "--attention", "none"],
    "seen_whole": ["recognition", *SMALL["recognition"][:-2], "--attention", "none"],
    "bilinear": ["reading", *SMALL["reading"], "--model", "bilinear"],
    "uniform": ["reading", *SMALL["reading"], "--attention", "uniform"],
    "positions": ["long_term_memory", *SMALL["long_term_memory"], "--preset", "order_positions"],
    "stack": [
        *["algorithmic", *SMALL["algorithmic"][:8], "--preset", "anbn", "--max-size", "4"],
        *["--stream", "20", "--stacks", "2"],
    ],
}
CASES = {
    **{
        f"{task}-{kind}": (task, *flags, kind)
        for kind in ("float16", "bfloat16")
        for task, flags in SMALL.items()
    },
    **{f"{name}-float16": (*flags, "float16") for name, flags in OTHERS.items()},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_task_trains_in_16_bits(case, tmp_path, monkeypatch, capsys):
    task, *flags, kind = case
    folder = tmp_path / "run"
    monkeypatch.setattr(run, "visualize", lambda *_: None)
    arguments = [*flags, "--precision", f"mixed_{kind}", *FEW_EPOCHS, str(folder)]
    assert cli.main(["train", task, *arguments]) == 0
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["config"]["precision"] == f"mixed_{kind}"
    assert keras.config.dtype_policy().name == "float32"
    if task in LINES:
        capsys.readouterr()
        stdin = io.TextIOWrapper(io.BytesIO(LINES[task].encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
        assert cli.main(["predict", str(folder)]) == 0
        assert capsys.readouterr().out.count("\n") == 1
