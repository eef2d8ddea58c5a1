"""The runtimes that portable files are for."""

import importlib.util
from pathlib import Path

import pytest

MODULES = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}


def needs(format):
    """Skips a test without the packages of a format."""
    for name in MODULES[format]:
        pytest.importorskip(name, reason=f"{format} needs {name}")


def installed(format):
    """Whether the packages of a format are there."""
    return all(importlib.util.find_spec(name) for name in MODULES[format])


def answer(path: Path, inputs):
    """What the file answers in its own runtime."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        names = [each.name for each in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path)).get_signature_runner()(**inputs)
