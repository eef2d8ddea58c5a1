"""What a model card tells of a SavedModel itself: what it takes and returns, and what serves it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from export.graph import op_names, read_meta_graph

# The first release of TensorFlow Serving with a tensorflow-text of its own TensorFlow's age.
_SERVING_WITH_TEXT = "2.20"


def describe(version: str | os.PathLike[str]) -> str:
    """Two sections in Markdown: every signature with its tensors, and the server that it needs.

    Args:
        version: The folder of one version: the one with `saved_model.pb`.

    Returns:
        The sections `Signatures` and `Server`, for a model card.

    Raises:
        ExportError: if the folder holds no SavedModel.
    """
    meta_graph = read_meta_graph(Path(version))
    return "\n".join([*_signatures(meta_graph), *_server(meta_graph)])


def _signatures(meta_graph: Any) -> Iterator[str]:
    yield "## Signatures\n"
    yield "The first axis is the batch; `?` is an axis of any size.\n"
    for name, definition in sorted(meta_graph.signature_def.items()):
        if name.startswith("__"):  # of the SavedModel itself, not to be asked
            continue
        yield f"### `{name}`\n"
        yield "| | name | type | shape |"
        yield "|---|---|---|---|"
        yield from _rows("input", definition.inputs)
        yield from _rows("output", definition.outputs)
        yield ""


def _rows(kind: str, tensors: Mapping[str, Any]) -> Iterator[str]:
    for name, info in sorted(tensors.items()):
        yield f"| {kind} | `{name}` | {tf.as_dtype(info.dtype).name} | {_shape(info)} |"


def _shape(info: Any) -> str:
    if info.tensor_shape.unknown_rank:
        return "any"
    sizes = ["?" if axis.size < 0 else str(axis.size) for axis in info.tensor_shape.dim]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def _server(meta_graph: Any) -> Iterator[str]:
    written_by = meta_graph.meta_info_def.tensorflow_version
    release = ".".join(written_by.split(".")[:2])
    yield "## Server\n"
    yield (
        f"Written by TensorFlow {written_by}. TensorFlow Serving {release} or newer knows all that "
        "it uses; an older one only what its own TensorFlow has, and refuses the rest as it loads."
    )
    if foreign := _foreign_ops(meta_graph):
        yield (
            f"\nIt needs operations of tensorflow-text: {', '.join(foreign)}. TensorFlow Serving "
            f"before {_SERVING_WITH_TEXT} has those of tensorflow-text 2.12 only, so "
            f"{_SERVING_WITH_TEXT} is the least."
        )
    else:
        yield "\nIt needs no operations of tensorflow-text."
    yield ""


def _foreign_ops(meta_graph: Any) -> list[str]:
    """The operations that are not TensorFlow's own; those with an underscore are its internals."""
    names = op_names(meta_graph) - set(dir(tf.raw_ops))
    return sorted(name for name in names if not name.startswith("_"))
