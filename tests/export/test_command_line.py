"""`python -m export`, in processes of its own, and the SavedModel where Keras does not exist."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import termios
import threading
import urllib.request
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import export
from export import Signature, serve_forever, write
from export.__main__ import main

ROOT = Path(__file__).parents[2]

CLEAN_CHILD = """
import sys
for name in ("keras", "keras_attention", "export", "applications"):
    sys.modules[name] = None
import json
import tensorflow as tf

with tf.compat.v1.Session(graph=tf.Graph()) as session:
    meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], sys.argv[1])
    signature = meta_graph.signature_def["serving_default"]
    print(session.run(signature.outputs["y"].name,
                      {signature.inputs["x"].name: json.loads(sys.argv[2])}).tolist())
"""

NOTHING_IMPORTED = """
import sys
import export
print(dir(export) == sorted(export.__all__), sys.modules.keys() & {"tensorflow", "numpy", "grpc"})
"""


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        **options,
    )


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A small Keras model, written, with a batch and Keras' own answer to it."""
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.GRU(7), keras.layers.Dense(2)])
    x = np.random.default_rng(2).normal(size=(11, 5, 3)).astype(np.float32)
    signature = Signature(
        lambda x: {"y": model(x)}, {"x": tf.TensorSpec((None, 5, 3))}, [{"x": x[:1]}]
    )
    base = tmp_path_factory.mktemp("cli") / "dense"
    version = write(base, {"serving_default": signature}, resources=[model])
    return version, x, model(x).numpy()


def test_a_process_without_keras_gives_the_same_numbers(dense):
    version, x, expected = dense
    child = run("-c", CLEAN_CHILD, str(version), json.dumps(x.tolist()))
    assert child.returncode == 0, child.stderr
    np.testing.assert_allclose(json.loads(child.stdout), expected, rtol=1e-5, atol=1e-6)


def test_serve_answers_and_stops(dense):
    version, x, expected = dense
    command = [sys.executable, "-m", "export", "serve", str(version.parent)]
    server = subprocess.Popen(
        [*command, "--grpc-port", "0", "--rest-port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = server.stdout.readline()
        found = re.fullmatch(
            r"Serving dense: gRPC 127\.0\.0\.1:(\d+), REST (http://127\.0\.0\.1:\d+)\n", line
        )
        assert found, line + server.stderr.read()
        body = json.dumps({"instances": x.tolist()}).encode()
        with urllib.request.urlopen(f"{found[2]}/v1/models/dense:predict", body) as answer:
            np.testing.assert_allclose(
                json.loads(answer.read())["predictions"], expected, rtol=1e-5, atol=1e-6
            )
        row = json.dumps(x[:1].tolist())
        asked = run("-m", "export", "predict", found[2], "dense", "--input", f"x={row}")
        assert asked.returncode == 0, asked.stderr
        np.testing.assert_allclose(json.loads(asked.stdout)["y"], expected[:1], rtol=1e-5)
    finally:
        server.terminate()
        out, err = server.communicate(timeout=30)
    assert (server.returncode, out) == (0, "")
    told = [line for line in err.splitlines() if "cuInit" not in line]
    assert told == ["dense version 1 is served"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_serve_forever_ends_at_a_signal_and_gives_the_handlers_back(dense, how, capsys):
    version, _, _ = dense
    before = signal.getsignal(how)
    main_thread = threading.main_thread().ident
    threading.Timer(0.5, signal.pthread_kill, (main_thread, how)).start()
    serve_forever(version.parent, grpc_port=0, rest_port=0)
    assert capsys.readouterr().out.startswith("Serving dense: gRPC 127.0.0.1:")
    assert signal.getsignal(how) is before


def test_the_package_imports_nothing_before_it_is_asked():
    assert run("-c", NOTHING_IMPORTED).stdout == "True set()\n"
    with pytest.raises(AttributeError, match="module 'export' has no attribute 'absent'"):
        export.absent  # noqa: B018


def test_predict_over_grpc_prints_json(server, capsys):
    where = f"127.0.0.1:{server.grpc_port}"
    arguments = ["--protocol", "grpc", "--input", 'words=[["dog", "Hündin"]]']
    assert main(["predict", where, "words", *arguments]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ids"] == [[5, -1]] and answer["copy"] == [["dog", "Hündin"]]


@pytest.fixture
def ask_lines(server, tmp_path):
    """Asks the model of words for the lines of a file with this content; the exit code."""

    def ask_lines(content, *arguments, protocol="rest"):
        port = server.grpc_port if protocol == "grpc" else server.rest_port
        path = tmp_path / "lines.txt"
        path.write_bytes(content)
        where = [f"127.0.0.1:{port}", "words", "--protocol", protocol]
        return main(["predict", *where, "--lines", str(path), *arguments])

    return ask_lines


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_every_line_is_a_request(ask_lines, capsys, protocol):
    lines = ["\ufeffcat", "dog\r", "", "a\u2028b \x0c", "dog"]
    content = "\n".join(lines).encode()
    assert ask_lines(content, "--batch-size", "2", protocol=protocol) == 0
    out, err = capsys.readouterr()
    answers = [json.loads(line) for line in out.split("\n")[:-1]]
    assert [answer["copy"] for answer in answers] == ["cat", "dog", "", "a\u2028b \x0c", "dog"]
    assert [answer["ids"] for answer in answers] == [3, 5, -1, -1, 5]
    assert err == ""


def test_no_line_is_no_answer(ask_lines, capsys):
    assert ask_lines(b"") == 0 and capsys.readouterr().out == ""


def test_lines_of_stdin_with_progress_on_the_terminal(server):
    terminal, stderr = os.openpty()
    termios.tcsetwinsize(stderr, (24, 80))
    command = ["predict", f"127.0.0.1:{server.rest_port}", "words", "--lines", "-"]
    child = subprocess.run(
        [sys.executable, "-m", "export", *command],
        cwd=ROOT,
        input=b"dog\ncat\n" * 20,
        stdout=subprocess.PIPE,
        stderr=stderr,
        timeout=90,
    )
    os.close(stderr)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that it was left
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert child.returncode == 0, shown
    assert [json.loads(line)["ids"] for line in child.stdout.splitlines()] == [5, 3] * 20
    assert b"40 lines" in shown


def test_what_was_answered_is_printed_before_a_line_that_is_not_utf_8(ask_lines, capsys):
    assert ask_lines(b"cat\ndog\n\xff\ncat\n") == 2
    out, err = capsys.readouterr()
    assert [json.loads(line)["ids"] for line in out.splitlines()] == [3, 5]
    assert "lines.txt: line 3: expected UTF-8. " in err and err.count("\n") == 1


def test_a_reader_that_has_seen_enough_is_no_mistake(server):
    command = f"predict 127.0.0.1:{server.rest_port} words --lines -"
    child = subprocess.run(
        ["bash", "-c", f"yes cat | head -n 5000 | {sys.executable} -m export {command} | head -n 1"]
        + ["bash"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert (json.loads(child.stdout)["ids"], child.stderr) == (3, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--name", "words", "--signature", "check"], "rows 1 to 2: "),
        (
            ["--signature", "count"],
            "count of words: expected --name, as not one input is of strings, but 0: none.",
        ),
        (
            ["--signature", "s"],
            "Expected a signature of words: check, count, describe, serving_default. "
            "Received: 's'.",
        ),
        (["--batch-size", "0"], "Expected `batch_size` and `concurrent` to be at least 1."),
    ],
)
def test_a_mistake_about_lines(ask_lines, capsys, arguments, words):
    assert ask_lines(b"cat\ndog", *arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_lines_and_input_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["predict", "h:1", "m", "--lines", "f", "--input", "x=1"])
    assert caught.value.code == 2 and "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "h:1", "m", "--lines", "/absent"], "No such file or directory: '/absent'"),
        (["predict", "127.0.0.1:1", "m", "--lines", __file__], "UNAVAILABLE: 127.0.0.1:1: "),
        (["predict", "h:1", "m", "--name", "x"], "are for --lines, which was not given."),
        (["predict", "h:1", "m", "--root-certificates", "f"], "that begins with https://."),
        (["serve", "/absent"], "python -m export: /absent: no such folder."),
        (["predict", "127.0.0.1:1", "m"], "UNAVAILABLE: 127.0.0.1:1: "),
        (
            ["predict", "h:1", "m", "--input", "x"],
            "--input must be NAME=JSON (no `=`). Received: 'x'",
        ),
        (["predict", "h:1", "m", "--input", "x=[1"], "--input must be NAME=JSON ("),
    ],
)
def test_a_mistake_is_one_line_and_code_2(arguments, words, capfd):
    assert main(arguments) == 2
    error = capfd.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_wrong_flag_is_code_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["serve", ".", "--colour", "red"])
    assert caught.value.code == 2 and "--colour" in capsys.readouterr().err


def test_an_error_shows_what_tensorflow_said_while_it_was_imported(capfd):
    from export.serve_flags import quiet_stderr

    with quiet_stderr():
        os.write(2, b"noise\n")
    with pytest.raises(ImportError), quiet_stderr():
        os.write(2, b"the reason\n")
        raise ImportError
    assert capfd.readouterr().err == "the reason\n"
