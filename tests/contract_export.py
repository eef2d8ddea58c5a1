"""The contract's clause about SavedModels: see `contract.py`.

A stock TF Serving disables XLA for its whole process, which a process cannot take back, so the
models run in a child that has TensorFlow and nothing of ours. One child answers for all rows.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from tests.contract_rows import arrays

SERVER = """
import ctypes, pathlib, sys
import numpy as np
import tensorflow as tf

library = pathlib.Path(tf.__file__).parent / "libtensorflow_cc.so.2"
ctypes.CDLL(str(library))._ZN10tensorflow21DisableXlaCompilationEv()
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    serve = tf.saved_model.load(folder / "model").signatures["serving_default"]
    inputs = {name: tf.constant(value) for name, value in np.load(folder / "inputs.npz").items()}
    outputs = {name: value.numpy() for name, value in serve(**inputs).items()}
    np.savez(folder / "outputs.npz", **outputs)
assert "keras_attention" not in sys.modules
try:
    tf.function(lambda x: x + x, jit_compile=True)(tf.constant(1.0))
except tf.errors.InternalError as error:
    assert "XLA compilation disabled" in str(error)
else:
    raise AssertionError("XLA is not disabled here")
"""


def export(row, folder):
    """Writes the row's SavedModel and its inputs; returns the outputs to expect."""
    model, inputs = row.functional(row.make()), row.data()
    model.export(folder / "model", verbose=False)
    np.savez(folder / "inputs.npz", **inputs)
    return arrays(model(inputs))


def serve(folder):
    """Runs each SavedModel in `folder` on its inputs, in a child process without XLA."""
    child = subprocess.run(
        [sys.executable, "-c", SERVER, str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert child.returncode == 0, child.stderr


def served(folder):
    """What the child answered."""
    with np.load(folder / "outputs.npz") as outputs:
        return dict(outputs)
