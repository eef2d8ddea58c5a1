"""The model card of an exported run: what it is, how it is served, what it learned from, how well.

It is Markdown after YAML, as Hugging Face reads it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from applications.training import config, provenance

if TYPE_CHECKING:
    from applications.training.run import Trained

FILE = "README.md"  # where a card is looked for


def write(trained: Trained, name: str, served: str) -> str:
    """The card.

    Args:
        trained: A finished run, evaluated or not.
        name: The name the model is served under.
        served: What `export.describe` tells of the SavedModel.
    """
    path = trained.config.run_dir / "metrics.json"
    run = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    lines = [
        "---",
        *(f"{key}: {_yaml(value)}" for key, value in _front_matter(trained, name, run).items()),
        "---\n",
        f"# {name}\n",
        *_origin(trained, run),
        served,
        *_data(trained),
        *_results(run),
        *_settings(trained),
    ]
    return "\n".join(lines) + "\n"


def _front_matter(trained: Trained, name: str, run: Mapping[str, Any]) -> dict[str, Any]:
    task, settings = trained.task, trained.config
    source = task.source(settings)
    card: dict[str, Any] = {"library_name": "keras"}
    if task.pipeline_tag:
        card["pipeline_tag"] = task.pipeline_tag
    card["tags"] = ["keras-attention", "tensorflow-serving", task.name]
    if scores := _scores(run):
        result = {
            "task": {"type": task.pipeline_tag or "other", "name": task.name},
            "dataset": {"type": source.name, "name": source.about, "split": "test"},
            "metrics": [{"type": key, "name": key, "value": scores[key]} for key in scores],
        }
        card["model-index"] = [{"name": name, "results": [result]}]
    return card


def _origin(trained: Trained, run: Mapping[str, Any]) -> Iterator[str]:
    commit = run.get("commit") or "unknown"
    local = ", with local changes" if commit.endswith("-dirty") else ""
    yield "| | |"
    yield "|---|---|"
    yield f"| task | {trained.task.name} |"
    yield f"| run | {_cell(trained.config.run_dir.resolve().name)} |"
    yield f"| made by | {provenance.DISTRIBUTION} {run.get('version') or 'of unknown version'} |"
    yield f"| commit | {commit.removesuffix('-dirty')}{local} |"
    if run:
        yield f"| trained with | Keras {run['keras']}, TensorFlow {run['tensorflow']} |"
    yield ""


def _data(trained: Trained) -> Iterator[str]:
    source = trained.task.source(trained.config)
    yield "## Data\n"
    yield f"Trained on {source.about} (`{source.name}`)."
    yield f"Licence of the data: {source.licence or 'not known here'}."
    yield "Of the weights: none is stated; whoever publishes them has to.\n"


def _results(run: Mapping[str, Any]) -> Iterator[str]:
    yield "## Results\n"
    if not run:
        yield "Not evaluated.\n"
        return
    hardware = run["hardware"]
    cores = "1 core" if hardware["cores"] == 1 else f"{hardware['cores']} cores"
    machine = ", ".join([hardware["cpu"], cores, *hardware["gpus"]])
    yield (
        f"On the test data, of one run: seed {run['seed']}, {run['epochs']} epochs, "
        f"{run['parameters']:,} weights, {run['training_seconds']} s of training. Measured on "
        f"{machine}.\n"
    )
    yield "| metric | value |"
    yield "|---|---|"
    metrics = run["metrics"]
    plain = {key: value for key, value in metrics.items() if not isinstance(value, dict | list)}
    for key, value in plain.items():
        yield f"| `{key}` | {f'{value:.4g}' if isinstance(value, float) else _cell(value)} |"
    yield ""
    if more := [f"`{key}`" for key in metrics if key not in plain]:
        yield f"The run's metrics.json has more: {', '.join(more)}.\n"


def _settings(trained: Trained) -> Iterator[str]:
    """All but what names places on the machine of the training."""
    fields = {
        field.name
        for field in dataclasses.fields(trained.config)
        if "Path" not in str(field.type)  # annotations are strings
    }
    values = config.to_json(trained.config).items()
    shown = {key: value for key, value in values if key in fields}
    yield "## Settings\n"
    yield "```json"
    yield json.dumps(shown, indent=2, ensure_ascii=False)
    yield "```"


def _scores(run: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are one finite number each."""
    return {
        key: value
        for key, value in run.get("metrics", {}).items()
        if type(value) in (int, float) and math.isfinite(value)
    }


def _cell(value: Any) -> str:
    return str(value).replace("|", r"\|")


def _yaml(value: Any) -> str:
    """JSON, with every float written as YAML 1.1 knows it: 1e-05 would be a string there."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_yaml(k)}: {_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    return json.dumps(value, ensure_ascii=False)
