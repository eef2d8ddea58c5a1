"""Every task trains in 16 bits too, and what it leaves is as good as any other run."""

from __future__ import annotations

import io
import json
import math
import sys

import keras
import numpy as np
import pytest

from applications import cli
from applications.training import history, precision, run
from applications.training.encoder import BidirectionalGRU

SMALL = {
    "translation": [
        *["--num-examples", "128", "--batch-size", "64", "--units", "8", "--embedding-units", "8"],
        *["--average", "0.9"],
    ],
    "captioning": [
        *["--num-examples", "64", "--batch-size", "32", "--units", "8", "--embedding-units", "8"],
        *["--cnn-units", "4", "8", "--average", "0.9", "--beam-width", "2"],
    ],
    "recognition": [
        *["--units", "16", "--batch-size", "256"],
        *["--hidden-units", "8", "--monte-carlo", "2", "--num-glimpses", "2"],
    ],
    "question_answering": [
        *["--linear-start", "0", "--units", "8", "--batch-size", "8"],
        *["--num-questions", "20", "--memory-size", "12"],
    ],
    "reading": [
        *["--units", "3", "--embedding-units", "4", "--batch-size", "8", "--average", "0.5"],
        *["--num-questions", "16", "--num-held-out", "8"],
    ],
    "long_term_memory": [
        *["--length", "22", "--units", "8", "--updates", "3", "--batch-size", "8"],
        *["--held-out", "20"],
    ],
    "algorithmic": [
        *["--units", "6", "--batch-size", "4", "--updates", "3", "--held-out", "4"],
        *["--max-size", "3", "--slots", "8", "--slot-width", "4"],
    ],
    "speech": [
        *["--num-examples", "16", "--batch-size", "8", "--units", "8", "--embedding-units", "8"],
        *["--shortest", "1", "--longest", "2", "--average", "0.5", "--longer", "2"],
    ],
}
LINES = {
    "translation": "3. November 2026",
    "question_answering": "Mary went to the hall.\tWhere is Mary?",
    "reading": "@Anna lent the lamp to @Omar .\t@placeholder borrowed the lamp from @Anna .",
    "long_term_memory": "[[0.3, -1], [0.5, 1], [0.1, 0], [0.4, 1], [0.2, -1]]",
    "algorithmic": "01100101 11110000",
    "anbn": "aabb",
}
OTHERS = {
    "hard": ["captioning", *SMALL["captioning"], "--attention", "hard"],
    "input_feeding": ["translation", *SMALL["translation"], "--input-feeding"],
    "seen_whole": ["recognition", *SMALL["recognition"][:4], "--attention", "none"],
    "uniform": ["reading", *SMALL["reading"], "--attention", "uniform"],
    "positions": ["long_term_memory", *SMALL["long_term_memory"], "--preset", "order_positions"],
    "two_steps_an_update": [
        "question_answering",
        *SMALL["question_answering"],
        "--accumulate",
        "2",
    ],
    "stack": [
        *["algorithmic", *SMALL["algorithmic"][:8], "--preset", "anbn", "--max-size", "4"],
        *["--stream", "20", "--stacks", "2", "--accumulate", "2"],
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

IN_FLOAT32 = {"answers", "answer", "classifier", "output", "told"}  # the last layer of a model


@pytest.fixture
def few_held_out(monkeypatch):
    """Little to evaluate on, and no figures."""
    monkeypatch.setattr("applications.captioning.data.NUM_HELD_OUT_SCENES", 20)
    monkeypatch.setattr("applications.question_answering.data.NUM_TEST_QUESTIONS", 20)
    monkeypatch.setattr("applications.translation.data.NUM_HELD_OUT_DATES", 20)
    monkeypatch.setattr("applications.speech.data.NUM_HELD_OUT", 4)
    monkeypatch.setattr("applications.speech.data.NUM_LONGER", 2)
    monkeypatch.setattr(run, "visualize", lambda *_: None)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_task_trains_in_16_bits(case, tmp_path, monkeypatch, capsys, few_held_out):
    task, *flags, kind = case
    arguments = [*flags, "--precision", f"mixed_{kind}", "--epochs", "1", "--run-dir"]
    assert cli.main(["train", task, *arguments, str(tmp_path)]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["config"]["precision"] == f"mixed_{kind}"
    (row,) = history.read(tmp_path / "history.csv")
    assert math.isfinite(float(row["loss"])) and math.isfinite(float(row["val_loss"]))
    trained = run.load(cli._task(task), tmp_path)
    assert keras.config.dtype_policy().name == trained.model.dtype_policy.name == "float32"
    assert {each.dtype for each in trained.model.trainable_variables} == {"float32"}
    saved = keras.saving.load_model(tmp_path / "model.keras")
    layers = getattr(saved, "model", saved).layers
    assert {each.compute_dtype for each in layers if each.name not in IN_FLOAT32} == {kind}
    line = LINES.get("anbn" if "anbn" in flags else task)
    if line is not None:
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line.encode())))
        assert cli.main(["predict", str(tmp_path)]) == 0
        assert capsys.readouterr().out.count("\n") == 1


def test_the_policy_is_put_back_after_an_error():
    with pytest.raises(KeyError), precision.policy("mixed_float16"):
        assert keras.layers.Dense(2).compute_dtype == "float16"
        raise KeyError
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("kind", ["mixed_float16", "mixed_bfloat16"])
def test_padding_changes_nothing_of_an_encoder(kind):
    encoder = BidirectionalGRU(5, dtype=kind)
    inputs = np.random.default_rng(1).normal(size=(3, 7, 4)).astype("float32")
    mask = np.arange(7) < np.array([[7], [4], [1]])
    longer = np.pad(inputs, ((0, 0), (0, 2), (0, 0)), constant_values=9.0)
    short = encoder(inputs, mask=mask)
    long = encoder(longer, mask=np.pad(mask, ((0, 0), (0, 2))))
    assert short.annotations.dtype == kind.removeprefix("mixed_")
    np.testing.assert_array_equal(
        short.annotations * mask[..., None], (long.annotations[:, :7] * mask[..., None])
    )
    np.testing.assert_array_equal(short.forward, long.forward)
    np.testing.assert_array_equal(short.backward, long.backward)
