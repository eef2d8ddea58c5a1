"""What TensorFlow Serving is started with, for a folder of exported models.

All is written for a server that finds the folder at `/models`: the image of TensorFlow Serving, by
Docker, by Docker Compose, or in Kubernetes by KServe.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from export.errors import ExportError
from export.layout import BATCH_SIZES, WARMUP_FILE, are_batch_sizes, models, newest_version

AT = "/models"  # where the server finds the folder
IMAGE = "tensorflow/serving:latest"
MAX_SERVICE = 53  # of the 63 of a DNS label, less those of `-predictor`
METRICS = "/monitoring/prometheus/metrics"


def write_server_config(
    directory: str | os.PathLike[str],
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    batch_timeout_micros: int = 5000,
    pad_variable_length_inputs: bool = False,
    intra_op_threads: int = 0,
    image: str = IMAGE,
    storage_uri: str = "pvc://models",
) -> list[Path]:
    """Writes the configuration of a server of all models in a folder, into `directory/serving/`.

    | file | for |
    |---|---|
    | `models.config` | `--model_config_file`: every model, its newest version |
    | `batching.config` | `--batching_parameters_file`: requests that meet are run together |
    | `monitoring.config` | `--monitoring_config_file`: metrics for Prometheus |
    | `session.config` | `--tensorflow_session_config_file`: GPU memory, threads |
    | `docker.sh`, `compose.yaml` | start the image with all of these |
    | `kserve-MODEL.yaml` | a KServe `InferenceService` of each model: probes, autoscaling |

    Args:
        directory: The folder of exported models: `directory/MODEL/VERSION/`.
        batch_sizes: The sizes that batches are rounded up to, in rising order. The last is also the
            most rows that a single request may have.
        batch_timeout_micros: How long a request waits for others, in microseconds.
        pad_variable_length_inputs: Whether requests with rows of different shapes are run together.
            The server pads rows with their own first element, and does not crop the answers, so
            this is for models that are told the lengths. Without it such requests are refused if
            they meet.
        intra_op_threads: Threads that one operation may use; 0 for one on each core. Searches are
            of many short operations: by themselves, not batched, they are quicker with 1.
        image: The image of TensorFlow Serving, or one made of it.
        storage_uri: Where a cluster finds `directory`, for KServe.

    Returns:
        The files.

    Raises:
        ExportError: if the folder holds no model, a model by the name of `serving`, two whose names
            are one in Kubernetes, or a version with a warm-up record of more rows than a batch.
        ValueError: if `batch_sizes` do not rise from 1 or more, or another number is negative.
    """
    folder = Path(directory)
    sizes = list(batch_sizes)
    if not sizes or not are_batch_sizes(sizes):
        raise ValueError(f"`batch_sizes` must rise from at least 1. Received: {batch_sizes!r}.")
    for name, value in (
        ("batch_timeout_micros", batch_timeout_micros),
        ("intra_op_threads", intra_op_threads),
    ):
        if value < 0:
            raise ValueError(f"`{name}` must be at least 0. Received: {value!r}.")
    bases = models(folder)
    names = list(bases)
    if not names:
        raise ExportError(f"{folder}: expected models as MODEL/VERSION/. Received: none.")
    if "serving" in names:
        raise ExportError(f"{folder}/serving: the configuration goes here. Rename the model.")
    for base in bases.values():
        _check_warmup(base, sizes[-1])
    services = _services(names)
    contents = {
        "models.config": _models_config(names),
        "batching.config": _batching(sizes, batch_timeout_micros, pad_variable_length_inputs),
        "monitoring.config": f'prometheus_config {{ enable: true path: "{METRICS}" }}\n',
        "session.config": _session(intra_op_threads),
        "docker.sh": _docker(image),
        "compose.yaml": _compose(image),
        **{
            f"kserve-{service}.yaml": _kserve(service, f"{storage_uri.rstrip('/')}/{name}")
            for name, service in services.items()
        },
    }
    target = folder / "serving"
    target.mkdir(exist_ok=True)
    for stale in set(target.glob("kserve-*.yaml")) - {target / name for name in contents}:
        stale.unlink()
    for name, content in contents.items():
        beside = target / f".{name}"
        beside.write_text(content, encoding="utf-8")
        beside.chmod(0o755 if name.endswith(".sh") else 0o644)
        beside.replace(target / name)
    return [target / name for name in contents]


def _check_warmup(base: Path, most: int) -> None:
    """That a server with such batches can load the newest version of a model."""
    newest = newest_version(base)
    if newest is None or not (newest[1] / WARMUP_FILE).exists():
        return
    from export.warmup import read_warmup

    for number, log in enumerate(read_warmup(newest[1])):
        shapes = [each.tensor_shape for each in log.predict_log.request.inputs.values()]
        rows = max((shape.dim[0].size for shape in shapes if shape.dim), default=0)
        if rows > most:
            raise ExportError(
                f"{newest[1]}: warm-up record {number} has {rows} rows, so a server with batches "
                f"of at most {most} would not load it. Give larger batch sizes, or export the "
                "model with smaller ones."
            )


def _services(names: Sequence[str]) -> dict[str, str]:
    """A name for Kubernetes of each: a letter, then letters of lower case, digits and dashes."""
    found: dict[str, str] = {}
    for name in names:
        service = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        if not service[:1].isalpha():
            service = f"model-{service}".rstrip("-")
        if len(service) > MAX_SERVICE:
            raise ExportError(
                f"A name in Kubernetes has at most {MAX_SERVICE} characters, beside those that "
                f"KServe adds. Received: {service}. Rename {name}."
            )
        if service in found.values():
            raise ExportError(f"Two models would both be {service} in Kubernetes. Rename {name}.")
        found[name] = service
    return found


def _models_config(names: Sequence[str]) -> str:
    """Text of a ModelServerConfig."""
    each = (
        f"  config {{ name: {json.dumps(name)} base_path: {json.dumps(f'{AT}/{name}')} "
        'model_platform: "tensorflow" }\n'
        for name in names
    )
    return "model_config_list {\n" + "".join(each) + "}\n"


def _session(intra_op_threads: int) -> str:
    """Text of a ConfigProto: memory of a GPU is taken as needed."""
    threads = f"intra_op_parallelism_threads: {intra_op_threads}\n" if intra_op_threads else ""
    return "gpu_options { allow_growth: true }\n" + threads


def _batching(sizes: Sequence[int], timeout: int, pad: bool) -> str:
    """Text of BatchingParameters."""
    return (
        f"max_batch_size {{ value: {sizes[-1]} }}\n"
        f"batch_timeout_micros {{ value: {timeout} }}\n"
        "max_enqueued_batches { value: 100 }\n"
        + "".join(f"allowed_batch_sizes: {size}\n" for size in sizes)
        + ("pad_variable_length_inputs: true\n" if pad else "")
    )


def _flags() -> list[str]:
    at = f"{AT}/serving"
    return [
        f"--model_config_file={at}/models.config",
        "--model_config_file_poll_wait_seconds=60",
        "--enable_batching",
        f"--batching_parameters_file={at}/batching.config",
        f"--monitoring_config_file={at}/monitoring.config",
        f"--tensorflow_session_config_file={at}/session.config",
    ]


def _docker(image: str) -> str:
    flags = " \\\n    ".join(_flags())
    return (
        "#!/bin/sh\n"
        "# Serves the models beside this folder over gRPC on 8500 and REST on 8501.\n"
        'models=$(cd "$(dirname "$0")/.." && pwd)\n'
        "exec docker run --rm -p 8500:8500 -p 8501:8501 \\\n"
        f'    -v "$models:{AT}:ro" {image} \\\n'
        f"    {flags}\n"
    )


def _compose(image: str) -> str:
    flags = "".join(f"      - {json.dumps(flag)}\n" for flag in _flags())
    return (
        "services:\n"
        "  serving:\n"
        f"    image: {json.dumps(image)}\n"
        f"    command:\n{flags}"
        "    volumes:\n"
        f'      - "..:{AT}:ro"\n'
        "    ports:\n"
        '      - "8500:8500"\n'
        '      - "8501:8501"\n'
        "    restart: unless-stopped\n"
    )


def _kserve(service: str, uri: str) -> str:
    """An InferenceService; KServe's own server for TensorFlow knows the model by its name."""
    return (
        "apiVersion: serving.kserve.io/v1beta1\n"
        "kind: InferenceService\n"
        "metadata:\n"
        f"  name: {json.dumps(service)}\n"
        "spec:\n"
        "  predictor:\n"
        "    minReplicas: 1\n"
        "    maxReplicas: 4\n"
        "    scaleMetric: concurrency\n"
        "    scaleTarget: 8\n"
        "    model:\n"
        "      modelFormat:\n"
        "        name: tensorflow\n"
        f"      storageUri: {json.dumps(uri)}\n"
        "      readinessProbe:\n"
        "        httpGet:\n"
        f"          path: {json.dumps(f'/v1/models/{service}/metadata')}\n"
        "          port: 8080\n"
        "        periodSeconds: 5\n"
        "        failureThreshold: 60\n"
        "      livenessProbe:\n"
        "        tcpSocket:\n"
        "          port: 8080\n"
        "        periodSeconds: 10\n"
        "        failureThreshold: 6\n"
        "        initialDelaySeconds: 30\n"
        "      resources:\n"
        "        requests:\n"
        '          cpu: "1"\n'
        "          memory: 2Gi\n"
        "        limits:\n"
        '          cpu: "4"\n'
        "          memory: 4Gi\n"
    )
