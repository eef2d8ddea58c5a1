"""Looks for what stock TensorFlow Serving would refuse, or do wrong, before it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from export.errors import ExportError
from export.linter.rules import Finding

SECONDS = 600.0  # that the process may take, with all its warm-up records

__all__ = ["Finding", "lint"]


def lint(version: str | os.PathLike[str]) -> list[Finding]:
    """Everything that a stock server would refuse in a SavedModel, or do wrong.

    It is looked at in a process of its own, which loads TensorFlow's C library and none of its
    Python, with XLA switched off, as a server does; it sees no GPU. All warm-up records are run.
    Where the library cannot be reached, TensorFlow's Python is used, and a warning says so.

    Args:
        version: The folder of one version: the one with `saved_model.pb`.

    Returns:
        Findings of the levels `error` and `warning`. Without errors a stock server loads the model,
        and answers what the warm-up records ask.

    Raises:
        ExportError: if the folder holds no SavedModel, or the process dies: with its last words.
    """
    folder = Path(version).absolute()
    if not (folder / "saved_model.pb").is_file():
        raise ExportError(f"{version}: expected a SavedModel. Received: no saved_model.pb in it.")
    root = Path(__file__).parents[2]
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "export.linter.child", str(folder)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
                "CUDA_VISIBLE_DEVICES": "-1",
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # a model may print any bytes
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{version}: not looked through within {SECONDS:g} s.") from error
    if done.returncode:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise ExportError(f"{version}: the process that looked at it died: {last}")
    return [Finding(*each) for each in json.loads(done.stdout)]
