"""Workers that something else starts: Ray, and Kubernetes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from applications.training import flags, launchers
from applications.training.errors import UserError

ROOT = Path(__file__).parents[2]


def test_two_workers_of_ray_train_together(tmp_path):
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "applications.cli", "train", "long_term_memory"]
    command += ["--launcher", "ray", "--workers=2", "--epochs", "1", "--updates", "2"]
    done = subprocess.run(
        [*command, "--run-dir", str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert document["config"]["strategy"] == "multi_worker" and document["epochs"] == 1


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
