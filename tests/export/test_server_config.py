"""What a server is started with: read back by its own schemas, and by a shell."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf
import yaml
from google.protobuf import text_format
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.config import model_server_config_pb2

from export import ExportError, Signature, write, write_server_config
from export.__main__ import main
from export.dev_server.text_protos import BatchingParameters, MonitoringConfig

NAMES = ["Photo_Captions", "translation"]


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / "my models" / name / "1").mkdir(parents=True)
    (tmp_path / "my models" / "empty").mkdir()
    return tmp_path / "my models"


@pytest.fixture
def files(folder):
    return {path.name: path for path in write_server_config(folder)}


def test_every_model_is_served(files):
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(files["models.config"].read_text(), config)
    found = [(c.name, c.base_path, c.model_platform) for c in config.model_config_list.config]
    assert found == [(name, f"/models/{name}", "tensorflow") for name in NAMES]


def test_batches_end_at_the_largest_allowed_size(folder):
    files = write_server_config(folder, batch_sizes=[2, 6], batch_timeout_micros=70)
    text = next(path for path in files if path.name == "batching.config").read_text()
    parameters = text_format.Parse(text, BatchingParameters())
    assert list(parameters.allowed_batch_sizes) == [2, 6]
    assert parameters.max_batch_size.value == 6
    assert parameters.batch_timeout_micros.value == 70
    assert not parameters.pad_variable_length_inputs


def test_padding_is_asked_for(folder):
    assert main(["config", str(folder), "--pad-variable-length-inputs"]) == 0
    text = (folder / "serving" / "batching.config").read_text()
    assert text_format.Parse(text, BatchingParameters()).pad_variable_length_inputs


def test_a_model_that_is_gone_leaves_no_manifest(files, folder):
    assert (folder / "serving" / "kserve-translation.yaml").exists()
    shutil.rmtree(folder / "translation")
    assert "kserve-translation.yaml" not in {p.name for p in write_server_config(folder)}
    assert not (folder / "serving" / "kserve-translation.yaml").exists()


def test_metrics_and_the_session(files):
    monitoring = text_format.Parse(files["monitoring.config"].read_text(), MonitoringConfig())
    assert monitoring.prometheus_config.enable
    session = text_format.Parse(files["session.config"].read_text(), config_pb2.ConfigProto())
    assert session.gpu_options.allow_growth
    assert not session.intra_op_parallelism_threads


def test_threads_of_an_operation_are_limited_where_asked(folder):
    assert main(["config", str(folder), "--intra-op-threads", "3"]) == 0
    text = (folder / "serving" / "session.config").read_text()
    session = text_format.Parse(text, config_pb2.ConfigProto())
    assert (session.intra_op_parallelism_threads, session.gpu_options.allow_growth) == (3, True)
    with pytest.raises(ValueError, match="`intra_op_threads` must be at least 0. Received: -1"):
        write_server_config(folder, intra_op_threads=-1)


def test_docker_is_given_the_folder_and_files_that_exist(files, folder, tmp_path):
    fake = tmp_path / "bin" / "docker"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [files["docker.sh"]], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    given = done.stdout.splitlines()
    assert f"{folder}:/models:ro" in given
    check_flags([each for each in given if each.startswith("--") and "_" in each], folder)


def check_flags(flags, folder):
    named = [path for flag in flags for path in re.findall("=/models/(.*)", flag)]
    assert len(named) == 4
    assert all((folder / path).is_file() for path in named)
    assert "--enable_batching" in flags


def test_compose_starts_the_same_server(files, folder):
    service = yaml.safe_load(files["compose.yaml"].read_text())["services"]["serving"]
    check_flags(service["command"], folder)
    assert service["volumes"] == ["..:/models:ro"]
    assert service["image"] == "tensorflow/serving:latest"
    assert service["ports"] == ["8500:8500", "8501:8501"]


def test_kserve_finds_each_model(folder):
    files = write_server_config(folder, storage_uri="gs://bucket/models/")
    manifests = {p.name: yaml.safe_load(p.read_text()) for p in files if "kserve" in p.name}
    assert sorted(manifests) == ["kserve-photo-captions.yaml", "kserve-translation.yaml"]
    manifest = manifests["kserve-photo-captions.yaml"]
    assert (manifest["apiVersion"], manifest["kind"]) == (
        "serving.kserve.io/v1beta1",
        "InferenceService",
    )
    predictor = manifest["spec"]["predictor"]
    assert predictor["minReplicas"] <= predictor["maxReplicas"]
    model = predictor["model"]
    assert model["modelFormat"] == {"name": "tensorflow"}
    assert model["storageUri"] == "gs://bucket/models/Photo_Captions"
    service = manifest["metadata"]["name"]
    assert model["readinessProbe"]["httpGet"]["path"] == f"/v1/models/{service}/metadata"


def test_names_that_kubernetes_takes(tmp_path):
    (tmp_path / "2_digits" / "1").mkdir(parents=True)
    assert (tmp_path / "serving" / "kserve-model-2-digits.yaml") in write_server_config(tmp_path)
    (tmp_path / "2-digits" / "1").mkdir(parents=True)
    with pytest.raises(ExportError, match="Two models would both be model-2-digits in Kubernetes"):
        write_server_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [("serving", "Rename the model"), ("a" * 60, "has at most 53 characters")],
)
def test_names_that_are_not_to_be_had(tmp_path, name, words):
    (tmp_path / name / "1").mkdir(parents=True)
    with pytest.raises(ExportError, match=words):
        write_server_config(tmp_path)


def test_batches_are_as_large_as_the_warm_up_of_every_model(tmp_path):
    half = Signature(lambda x: {"y": x / 2}, {"x": tf.TensorSpec((None,))}, examples=[{"x": [1.0]}])
    write(tmp_path / "half", {"serving_default": half}, batch_sizes=(1, 8))
    with pytest.raises(ExportError, match="warm-up record 1 has 8 rows.* at most 4"):
        write_server_config(tmp_path, batch_sizes=(1, 4))
    assert write_server_config(tmp_path, batch_sizes=(1, 8))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"batch_sizes": []}, "`batch_sizes` must rise from at least 1"),
        ({"batch_sizes": [4, 2]}, "`batch_sizes` must rise from at least 1"),
        ({"batch_sizes": [0, 2]}, "`batch_sizes` must rise from at least 1"),
        ({"batch_timeout_micros": -1}, "`batch_timeout_micros` must be at least 0"),
    ],
)
def test_what_no_server_takes_is_refused(folder, options, expected):
    with pytest.raises(ValueError, match=expected):
        write_server_config(folder, **options)
    assert not (folder / "serving").exists()


def test_the_command_names_what_it_wrote(folder, capsys):
    assert main(["config", str(folder), "--batch-sizes", "1", "8"]) == 0
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.name for path in printed} >= {"models.config", "docker.sh", "compose.yaml"}
    assert all(path.is_file() for path in printed)
    assert not list((folder / "serving").glob(".*"))
    assert main(["config", str(folder), "--batch-sizes", "8", "1"]) == 2
    assert "`batch_sizes` must rise" in capsys.readouterr().err
    assert main(["config", str(folder / "empty")]) == 2
    assert "expected models as MODEL/VERSION/" in capsys.readouterr().err
