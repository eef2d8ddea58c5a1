"""The command line: fast help, one line for each mistake, every command end to end."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import resource
import subprocess
import sys
import types
from pathlib import Path

import pytest

from applications import cli
from applications.training import console, run
from export.dev_server import server
from export.dev_server.batching_parameters import Parameters
from export.serve_flags import ServeFlags
from tests.applications.tiny import EXAMPLES

ROOT = Path(__file__).parents[2]
KNOWN = ", ".join([*cli.TASKS, "tiny"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run of the tiny task."""
    folder = tmp_path_factory.mktemp("runs") / "done"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(cli.TASKS, "tiny", "tests.applications.tiny:TASK")
        assert cli.main(["train", "tiny", "--run-dir", str(folder), "--epochs", "2"]) == 0
    return folder


@pytest.mark.parametrize(
    "arguments", [["--help"], ["serve", "--help"], *(["train", t, "--help"] for t in cli.TASKS)]
)
def test_help_is_quick_and_imports_no_tensorflow(arguments):
    script = (
        "import sys\nfrom applications import cli\n"
        f"status = cli.main({arguments!r})\n"
        "heavy = {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    seconds = {script: [], "import tyro": []}
    for _ in range(3):
        for each, spent in seconds.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([sys.executable, "-c", each], cwd=ROOT, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith(b"usage: keras-attention") or each != script
    # Of the processor's time, beside what it cannot do without: 0.4 s and 0.2 s on a slow machine.
    assert min(seconds[script]) < 5 * min(seconds["import tyro"])


def test_training_in_a_pipe_prints_plain_lines_and_no_noise(tmp_path):
    script = (
        "import sys\nfrom applications import cli\n"
        "cli.TASKS['tiny'] = 'tests.applications.tiny:TASK'\n"
        f"sys.exit(cli.main(['train', 'tiny', '--run-dir', {str(tmp_path / 'r')!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert not {"\x1b", "\b", "\r"} & set(done.stdout)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("tiny: 26 weights on /device:")
    assert lines[1] == "Epoch 1/4" and "val_loss" in lines[2]
    assert len(lines) == 1 + 2 * 4 + 4


def test_help_of_a_task_shows_the_values_of_the_preset(command):
    status, out, err = command("train", "tiny", "--preset", "wide", "--help")
    assert (status, err) == (0, "")
    words = " ".join(out.replace("│", " ").split())
    assert "--preset {small,wide}" in words
    assert "--units INT Hidden units. (default: 11)" in words
    assert "--seed INT Fixes initial weights, data order and dropout. (default: 1)" in words


def test_every_command_has_help(command):
    for name in cli.COMMANDS:
        status, out, err = command(name, "--help")
        assert (status, err) == (0, "") and out.startswith(f"usage: keras-attention {name}")
        assert name in cli.USAGE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a command is missing: expected one of train, evaluate, predict, visualize, "),
        (["tarin"], "unknown command: expected one of train, evaluate, "),
        (["train"], f"train: a task is missing: expected one of {KNOWN}."),
        (["train", "tyni"], f"unknown task: expected one of {KNOWN}. Received: tyni"),
        (["train", "tiny", "--uints", "3"], "Unrecognized options: --uints, 3 (did you mean"),
        (["train", "tiny", "--units", "x"], "Error parsing --units: invalid literal for int()"),
        (["train", "tiny", "--units"], "Missing value for argument '--units'."),
        (["train", "tiny", "--strategy", "fast"], "invalid choice 'fast' for argument '--strateg"),
        (["train", "tiny", "--preset", "big"], "--preset of tiny must be one of small, wide. Rec"),
        (["train", "tiny", "--preset=big"], "must be one of small, wide. Received: big"),
        (
            ["train", "tiny", "--workers", "2"],
            "--launcher ray and --workers, at least 1, need each",
        ),
        (["train", "tiny", "--launcher", "ray"], "Received: --launcher ray --workers 0"),
        (["train", "tiny", "--epochs", "0"], "--epochs must be at least 1. Received: 0"),
        (["train", "tiny", "--resume", "--run-dir", "nowhere"], "nowhere holds no run: there is"),
        (["train", "tiny", "--data-dir", "nowhere"], "nowhere is not a folder."),
        (["evaluate"], "evaluate: "),
        (["evaluate", "nowhere"], "nowhere holds no run: there is no config.json in it."),
        (["predict", "nowhere"], "nowhere holds no run"),
        (["visualize", "nowhere"], "nowhere holds no run"),
        (["export"], "export: RUN is missing: the folder of a finished run."),
        (["export", "nowhere", "--to", "x"], "nowhere holds no run"),
        (["serve"], "Expected either a folder of models or --model-config-file."),
        (["serve", "nowhere"], "nowhere: no such folder."),
        (["serve", ".", "--port", "1"], "serve: unrecognized arguments: --port 1. See keras-att"),
        (["serve", ".", "--rest-port", "x"], "serve: argument --rest-port: invalid int value"),
    ],
)
def test_a_mistake_is_told_in_one_line(refuse, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refuse(*arguments)
    assert not list(tmp_path.iterdir())


def test_flags_override_the_chosen_preset(command, monkeypatch):
    seen = []
    monkeypatch.setattr(run, "run", lambda task, settings, resume: seen.append((settings, resume)))
    assert command("train", "tiny")[0] == 0
    assert command("train", "tiny", "--seed", "5", "--preset", "wide", "--no-average")[0] == 0
    assert (
        command("train", "tiny", "--preset=wide", "--epochs=2", "--run_dir=x", "--resume")[0] == 0
    )
    small, wide, third = (settings for settings, _ in seen)
    assert [resume for _, resume in seen] == ["no", "no", "yes"]
    assert (small.units, small.epochs, small.seed) == (5, 4, 1)
    assert (wide.units, wide.epochs, wide.seed) == (11, 3, 5)
    assert (third.units, third.epochs, third.run_dir) == (11, 2, Path("x"))


def test_evaluate_and_visualize_write_the_same_results_again(command, finished):
    before = json.loads((finished / "metrics.json").read_text())
    curve = finished / "figures" / "learning_curve.png"
    (finished / "metrics.json").write_text(json.dumps(before | {"metrics": {}}))
    curve.unlink()
    status, out, err = command("evaluate", finished)
    changed = f"{finished / 'metrics.json'} is not as it was written, by SHA256SUMS."
    assert (status, err) == (
        0,
        f"keras-attention: {changed}\n",
    ) and f"mse: {before['metrics']['mse']:.4g}\n" in out
    after = json.loads((finished / "metrics.json").read_text())
    assert {**before, "evaluation_seconds": 0} == {**after, "evaluation_seconds": 0}
    status, out, err = command("visualize", finished)
    assert (status, err) == (0, "") and out == f"written: {finished / 'figures'}\n"
    assert curve.read_bytes()[:4] == b"\x89PNG"
    assert (finished / "figures" / "tiny.txt").read_text() == "5 units"


def test_a_run_folder_and_its_data_may_be_moved(command, refuse, finished, tmp_path):
    moved = tmp_path / "moved"
    finished.rename(moved)
    try:
        assert "nowhere is not a folder." in refuse("evaluate", moved, "--data-dir", "nowhere")
        assert command("evaluate", moved, "--data-dir", tmp_path)[0] == 0
    finally:
        moved.rename(finished)


def test_predict_answers_each_line(command, refuse, finished, monkeypatch):
    def type_in(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    type_in(b"1 2 3\r\n3 2 1\n1 2 3")
    status, out, err = command("predict", finished)
    first, second, third = out.splitlines()
    assert (status, err) == (0, "") and first == third != second
    type_in(b"1 2 3\n1 2\n")
    assert "expected 3 numbers. Received: 1 2" in refuse("predict", finished)
    type_in(b"1 2 3\n\xff\n")
    assert "standard input, line 2: not valid UTF-8" in refuse("predict", finished)


def test_export_hands_over_to_the_export_package(command, finished, tmp_path, monkeypatch):
    calls, cards = [], {}

    def write(base, signatures, *, resources=(), assets, batch_sizes):
        calls.append((base, signatures, len(resources), batch_sizes))
        cards.update({name: make(base / "1").decode() for name, make in assets.items()})
        return base / "1"

    fake = types.SimpleNamespace(write=write, describe=lambda version: f"Served: {version}")
    monkeypatch.setitem(sys.modules, "export", fake)
    status, out, err = command(
        "export", finished, "--to", tmp_path / "m", "--scale", "2", "--batch-sizes", "1", "6"
    )
    base = tmp_path / "m" / "tiny"
    assert (status, err) == (0, "")
    assert calls == [(base, {"serving_default": ("signature", 2.0)}, 1, (1, 6))]
    assert f"\nServed: {base / '1'}\n" in cards["README.md"]
    assert "\n| `mse` | " in cards["README.md"] and "\n# tiny\n" in cards["README.md"]
    assert f"written: {base / '1'}\n" in out and f"keras-attention serve {tmp_path / 'm'}\n" in out
    assert f"-v {base}:/models/tiny -e MODEL_NAME=tiny tensorflow/serving\n" in out


def test_serve_hands_over_to_the_export_package(command, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        server, "serve_forever", lambda *given, **options: calls.append((*given, options))
    )
    batching = tmp_path / "batching.config"
    batching.write_text("max_batch_size { value: 7 }")
    flags = ["--rest-port", "0", "--batching", batching, "--poll-seconds", "0.5", "--cors"]
    assert command("serve", tmp_path, *flags)[0] == 0
    assert calls == [
        (
            str(tmp_path),
            {
                "model_config_file": None,
                "host": "127.0.0.1",
                "grpc_port": 8500,
                "rest_port": 0,
                "grpc_socket_path": None,
                "poll_seconds": 0.5,
                "batching": Parameters(max_batch_size=7),
                "cors": True,
                "ssl_config_file": None,
                "tensorflow_session_config_file": None,
            },
        )
    ]


def test_serve_has_the_flags_of_the_export_package(command):
    status, out, _ = command("serve", "--help")
    assert status == 0 and out.startswith("usage: keras-attention serve")
    names = {each.name.replace("_", "-") for each in dataclasses.fields(ServeFlags)}
    assert set(re.findall(r"^  --([\w-]+)", out, re.MULTILINE)) == names - {"directory"}


@pytest.mark.parametrize("flags", [["--scale", "2"], ["--batch-sizes", "1"]], ids=" ".join)
def test_flags_of_the_server_are_not_for_other_formats(refuse, finished, tmp_path, flags):
    line = refuse("export", finished, "--to", tmp_path, "--format", "onnx", *flags)
    assert "--format onnx takes no flags but --to and --name" in line
    assert list(tmp_path.iterdir()) == []


def test_a_task_without_a_portable_form_says_so(refuse, finished, tmp_path):
    line = refuse("export", finished, "--to", tmp_path, "--format", "litert")
    assert "tiny is exported for TensorFlow Serving only: it has no form without strings." in line


@pytest.mark.parametrize("sizes", [["0"], ["4", "2"], ["-1", "3"]], ids=" ".join)
def test_batch_sizes_must_rise(refuse, finished, tmp_path, sizes):
    line = refuse("export", finished, "--to", tmp_path / "m", "--batch-sizes", *sizes)
    assert f"--batch-sizes must rise from at least 1. Received: {' '.join(sizes)}\n" in line


def test_an_unfinished_run_is_not_used(refuse, finished, tmp_path):
    (tmp_path / "config.json").write_bytes((finished / "config.json").read_bytes())
    line = refuse("evaluate", tmp_path)
    assert "holds no model.keras: its training has not finished. Continue with: " in line
    assert f"keras-attention train tiny --run-dir {tmp_path} --resume" in line


def test_trouble_with_the_machine_names_the_path(refuse, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run"
    assert f"Not a directory: {folder}" in refuse("train", "tiny", "--run-dir", folder, status=1)

    def forbid(*_, **__):
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr(Path, "mkdir", forbid)
    line = refuse("train", "tiny", "--run-dir", tmp_path / "r", status=1)
    assert "Permission denied: /somewhere" in line


def test_a_closed_pipe_is_no_error(command, monkeypatch):
    def close(_):
        raise BrokenPipeError

    monkeypatch.setitem(cli.COMMANDS, "predict", close)
    assert command("predict") == (1, "", "")


def test_noise_of_an_import_is_hidden_unless_it_fails(monkeypatch, capfd):
    monkeypatch.delitem(sys.modules, "tensorflow")

    class Loud:
        def find_spec(self, name, path=None, target=None):
            if name == "tensorflow":
                os.write(2, b"the reason\n")
                raise ImportError("no TensorFlow")

    monkeypatch.setattr(sys, "meta_path", [Loud(), *sys.meta_path])
    with pytest.raises(ImportError, match="no TensorFlow"):
        console.import_tensorflow_quietly()
    assert "the reason" in capfd.readouterr().err


def test_examples_do_not_divide_evenly():
    assert EXAMPLES % 6 and EXAMPLES % 7  # Else incomplete batches would go untested.
