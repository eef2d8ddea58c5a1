"""What a command prints: its own lines, and not TensorFlow's."""

from __future__ import annotations

import os
import sys

from export.serve_flags import quiet_stderr


def say(line: str) -> None:
    """Prints one line at once, also into a pipe."""
    print(line, flush=True)


def complain(message: str) -> None:
    """Prints `message` as exactly one line on standard error."""
    text = " ".join(message.split())
    print(f"keras-attention: {text}", file=sys.stderr, flush=True)


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow and wakes its devices without the dozen lines it prints meanwhile.

    Its C++ parts write to the file descriptor before any log level is read, so the descriptor
    itself is turned aside.
    """
    if "tensorflow" in sys.modules:
        return
    # 3 leaves out errors too, which TensorFlow raises as exceptions besides: what it logs at that
    # level alone is that there is no GPU, and what oneDNN leaves to Eigen.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        import tensorflow as tf

        if "TF_CONFIG" not in os.environ:  # Else a cluster has to be made first.
            tf.config.list_logical_devices()
