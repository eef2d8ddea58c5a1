"""Where a number comes from: code, versions, machine."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

DISTRIBUTION = "keras-attention-layers"


def describe() -> dict[str, Any]:
    """Version, commit, library versions and hardware of this process."""
    import keras
    import tensorflow as tf

    return {
        "version": version(),
        "commit": commit(),
        "python": platform.python_version(),
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "hardware": {
            "cpu": _cpu(),
            "cores": _cores(),
            "memory_gib": _memory_gib(),
            "gpus": [
                tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
                for gpu in tf.config.list_physical_devices("GPU")
            ],
        },
    }


def version() -> str | None:
    """The installed version of this distribution; None when it runs from a bare checkout."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def commit() -> str | None:
    """The git commit of this code, with "-dirty" after local changes; None outside a checkout.

    It is that of the first call: later, files may have changed that are imported already.
    """
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        # An environment inside somebody's repository is not a checkout of ours: is this file in it?
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], check=True, **_QUIET)
        command = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, check=True, **_QUIET).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


_QUIET: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 20}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # What a container may use, not what the host has.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None
