"""Workers that something else starts: Ray, and Kubernetes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from applications.training import flags, launchers
from applications.training.errors import UserError

ROOT = Path(__file__).parents[2]


def test_two_workers_of_ray_train_together_and_begin_again_when_one_is_lost(tmp_path):
    pytest.importorskip("ray")
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "applications.cli", "train", "long_term_memory"]
    command += ["--launcher", "ray", "--workers=2", "--epochs", "4", "--updates", "20"]
    with (tmp_path / "out").open("w") as out:
        training = subprocess.Popen(
            [*command, "--run-dir", str(folder)],
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
        )
        try:
            wait_for(
                lambda: list(folder.glob("checkpoint/epoch_*.npz")) or training.poll() is not None
            )
            lost = workers_below(training.pid)
            for worker in lost[:1]:
                os.kill(worker, signal.SIGKILL)
            status = training.wait(timeout=300)
        finally:
            training.terminate()
    said = (tmp_path / "out").read_text()
    assert status == 0 and len(lost) == 2, said[-3000:]
    assert "a worker was lost; restart 1 of 3" in said
    document = json.loads((folder / "metrics.json").read_text())
    assert document["config"]["strategy"] == "multi_worker" and document["epochs"] == 4
    epochs = [line.split(",")[0] for line in (folder / "history.csv").read_text().splitlines()]
    assert epochs == ["epoch", "1", "2", "3", "4"]


def wait_for(holds, seconds=300):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def workers_below(process):
    """The processes in which actors train, of the Ray that a process has started."""
    parents, found = {}, []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if (path / "cmdline").read_bytes().startswith(b"ray::_Worker.train"):
                found.append(int(path.name))
        except OSError:  # It has ended since.
            continue

    def above(each):
        while each:
            yield each
            each = parents.get(each, 0)

    return [each for each in found if process in above(each)]


def test_without_ray_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="--launcher ray needs pip install"):
        launchers.on_ray(["translation"], 2)


def test_the_launchers_own_flags_are_not_passed_on():
    given = ["t", "--workers", "3", "--a", "--launcher=ray", "--b", "--workers=4", "c"]
    assert flags.without(("--launcher", "--workers"), given) == ["t", "--a", "--b", "c"]


@pytest.fixture
def runtime():
    yaml = pytest.importorskip("yaml")
    text = (ROOT / "applications" / "training" / "kubeflow.yaml").read_text(encoding="utf-8")
    runtime, job = yaml.safe_load_all(text)
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    return runtime


def test_a_node_of_kubeflow_knows_its_cluster(runtime, tmp_path):
    spec = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]
    (node,) = spec["template"]["spec"]["containers"]
    told = {each["name"]: each["value"] for each in node["env"]}
    assert int(told["NUM_NODES"]) == runtime["spec"]["mlPolicy"]["numNodes"]
    stand_in = tmp_path / "keras-attention"
    stand_in.write_text('#!/bin/bash\necho "$TF_CONFIG"; echo "$@"\n')
    stand_in.chmod(0o755)
    done = subprocess.run(
        [*node["command"], *node["args"]],
        env={
            **told,
            "JOB_COMPLETION_INDEX": "1",
            "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    cluster, command = done.stdout.splitlines()
    hosts = [f"translation-node-0-{index}.translation:2222" for index in (0, 1)]
    assert json.loads(cluster) == {
        "cluster": {"worker": hosts},
        "task": {"type": "worker", "index": 1},
    }
    assert command.startswith("train translation --strategy multi_worker --run-dir /runs/")
    assert "--auto-resume" in command
