"""The layers and searches on Keras' other backends, where one is installed.

A process has one backend, so tests run in children, which skip what is TensorFlow's own: gradients,
XLA and SavedModels. `KERAS_BACKEND=jax python -m pytest FILE` does the same by hand. Each file has
a child of its own, since JAX crashes where one process compiles too much.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parent.parent
LAYERS = (
    "masking normalizers alpha_entmax scores location attention local multi_head pooling cells "
    "recurrent decoder loop losses migration hard score_function glimpse "
    "memory_addressing monotonic ntm recurrences stack"
).split()
SEARCH = "beam rollout errors".split()
FILES = [
    "tests/test_contract.py",
    "tests/test_masks_everywhere.py",
    *(f"tests/keras_attention/test_{name}.py" for name in LAYERS),
    *(f"tests/keras_attention/search/test_{name}.py" for name in SEARCH),
]


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_layers_pass_on(backend, path):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("started from TensorFlow only, as each backend gets a process of its own")
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stdout
