"""The models that the conformance tests ask: `python -m tests.export.conformance.models FOLDER`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf

from tests.export.conformance.example_models import examples_signatures, write_half_plus_two

Function = Callable[..., Mapping[str, tf.Tensor]]
ANY = None  # a shape of any rank

CONFIG = """\
model_config_list {{
  config {{
    name: "half_plus_two" base_path: "{base}/half_plus_two" model_platform: "tensorflow"
    version_labels {{ key: "stable" value: 123 }}
  }}
  config {{
    name: "pair" base_path: "{base}/pair" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }}
  }}
  config {{ name: "echo" base_path: "{base}/echo" model_platform: "tensorflow" }}
  config {{ name: "examples" base_path: "{base}/examples" model_platform: "tensorflow" }}
  config {{ name: "counter" base_path: "{base}/counter" model_platform: "tensorflow" }}
}}
"""
NAMES = ("half_plus_two", "pair", "echo", "examples", "counter")


def write_models(folder: Path, base: str = "") -> Path:
    """Writes all models below `folder`; returns the file that tells a server of them.

    Args:
        folder: is made if it is not there.
        base: where the server finds the folder; itself by default.
    """
    write_half_plus_two(folder / "half_plus_two" / "00000123")
    for version in ("1", "2"):
        shutil.copytree(folder / "half_plus_two" / "00000123", folder / "pair" / version)
    save(folder / "echo" / "1", tf.Module(), _echo_signatures())
    save(folder / "examples" / "1", tf.Module(), examples_signatures())
    save(folder / "counter" / "1", *_counter())
    config = folder / "models.config"
    config.write_text(CONFIG.format(base=base or folder.resolve()))
    return config


def save(
    folder: Path,
    module: tf.Module,
    signatures: Mapping[str, tuple[Function, Mapping[str, tf.TensorSpec]]],
) -> None:
    traced = {}
    for name, (function, inputs) in signatures.items():
        specs = {
            key: tf.TensorSpec(spec.shape, spec.dtype, name=key) for key, spec in inputs.items()
        }
        traced[name] = tf.function(function, autograph=False).get_concrete_function(**specs)
    tf.saved_model.save(module, str(folder), signatures=traced)


def _echo(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
    return {name: tf.identity(tensor) for name, tensor in tensors.items()}


def _echo_signatures() -> dict[str, tuple[Function, dict[str, tf.TensorSpec]]]:
    """What goes in comes out, with the types and the shapes that the server made of it."""
    types = {
        "serving_default": tf.int32, "strings": tf.string, "floats": tf.float32,
        "doubles": tf.float64, "int64s": tf.int64, "uint8s": tf.uint8, "bools": tf.bool,
        "halves": tf.float16,
    }  # fmt: skip
    integers = {"x": tf.TensorSpec(ANY, tf.int32)}
    floats = {"x": tf.TensorSpec(ANY, tf.float32)}
    mixed = {"count": tf.int32, "word": tf.string, "ratio": tf.float32, "precise": tf.float64}
    return {
        **{name: (_echo, {"x": tf.TensorSpec(ANY, dtype)}) for name, dtype in types.items()},
        "mixed": (_echo, {name: tf.TensorSpec(ANY, dtype) for name, dtype in mixed.items()}),
        "named_bytes": (
            lambda x: {"text": tf.identity(x), "text_bytes": tf.identity(x)},
            {"x": tf.TensorSpec(ANY, tf.string)},
        ),
        "only_bytes": (
            lambda x: {"text_bytes": tf.identity(x)},
            {"x": tf.TensorSpec(ANY, tf.string)},
        ),
        "total": (lambda x: {"total": tf.reduce_sum(x)}, integers),
        "two_lengths": (lambda x: {"all": tf.identity(x), "first": x[:1]}, integers),
        "no_rows": (lambda x: {"x": x[:0]}, integers),
        "to_half": (lambda x: {"x": tf.cast(x, tf.float16)}, floats),
        "to_complex": (lambda x: {"x": tf.cast(x, tf.complex64)}, floats),
        "check": (lambda x: {"x": tf.debugging.check_numerics(x, "m" * 2000)}, floats),
        "three_wide": (lambda x: {"x": tf.ensure_shape(x, (None, 3)) + 0.0}, floats),
    }


def _counter() -> tuple[tf.Module, dict[str, tuple[Function, dict[str, tf.TensorSpec]]]]:
    """A number that calls change: signatures with no input, which `export.write` would refuse."""
    module = tf.Module()
    module.count = tf.Variable(0.0)
    return module, {
        "get_counter": (lambda: {"output": module.count.read_value()}, {}),
        "incr_counter": (lambda: {"output": module.count.assign_add(1.0)}, {}),
        "reset_counter": (lambda: {"output": module.count.assign(0.0)}, {}),
        "incr_counter_by": (
            lambda delta: {"output": module.count.assign_add(delta)},
            {"delta": tf.TensorSpec((), tf.float32)},
        ),
    }


if __name__ == "__main__":
    print(write_models(Path(sys.argv[1]), *sys.argv[2:3]))
