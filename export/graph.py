"""What a written SavedModel holds: its graph, the ops it needs, what a server would refuse."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.errors import ExportError, ServingError

if TYPE_CHECKING:  # The linter reads messages where TensorFlow itself must not be imported.
    from tensorflow.core.protobuf import meta_graph_pb2


# What calls back into Python, as tf.py_function and tf.numpy_function do; no server has it.
PYTHON = {"EagerPyFunc", "PyFunc", "PyFuncStateless"}


def read_meta_graph(folder: Path) -> meta_graph_pb2.MetaGraphDef:
    """The graph to serve, its function library and its signatures, in `folder/saved_model.pb`."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    if not path.is_file():
        raise ExportError(f"{folder}: expected a SavedModel. Received: no saved_model.pb in it.")
    try:
        message = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError as error:
        raise ExportError(f"{path}: expected a SavedModel message. {error}") from error
    tags = [set(each.meta_info_def.tags) for each in message.meta_graphs]
    if {"serve"} not in tags:
        raise ExportError(
            f"{path}: expected a graph with the tag `serve`. Received: {list(map(sorted, tags))}."
        )
    return message.meta_graphs[tags.index({"serve"})]


def compiled_functions(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """Names of what asks for XLA: a stock server answers it `XLA compilation disabled`."""
    graph = meta_graph.graph_def
    names = {node.name for node in graph.node if node.attr["_XlaMustCompile"].b}
    for function in graph.library.function:
        if function.attr["_XlaMustCompile"].b or any(
            node.attr["_XlaMustCompile"].b for node in function.node_def
        ):
            names.add(function.signature.name)
    return sorted(names)


def op_names(meta_graph: meta_graph_pb2.MetaGraphDef) -> set[str]:
    """Every op that the graph and its functions use, calls of its own functions left out."""
    graph = meta_graph.graph_def
    names = {node.op for node in graph.node}
    names.update(node.op for function in graph.library.function for node in function.node_def)
    return names - {function.signature.name for function in graph.library.function}


def reached_op_names(
    meta_graph: meta_graph_pb2.MetaGraphDef, tensors: Iterable[str] | None = None
) -> set[str]:
    """The same, of the graph and of those functions that it leads to.

    With `tensors`, by their names, only of what these depend on: a graph also holds what saves
    and restores it.
    """
    graph = meta_graph.graph_def
    functions = {each.signature.name: each for each in graph.library.function}
    pending: list[Any] = list(graph.node if tensors is None else _behind(tensors, graph.node))
    found: set[str] = set()
    seen: set[str] = set()
    while pending:
        node = pending.pop()
        found.add(node.op)
        for name in {node.op, *_functions_named_by(node)} & functions.keys() - seen:
            seen.add(name)
            pending.extend(functions[name].node_def)
    return found - functions.keys()


def _behind(tensors: Iterable[str], nodes: Iterable[Any]) -> Iterator[Any]:
    left = {node.name: node for node in nodes}
    pending = list(tensors)
    while pending:
        name = pending.pop().removeprefix("^").partition(":")[0]
        if name in left:
            node = left.pop(name)
            yield node
            pending.extend(node.input)


def _functions_named_by(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (each.name for each in value.list.func)


def load_missing_ops(folder: Path) -> None:
    """Imports tensorflow_text if, and only if, the graph uses ops that TensorFlow does not have.

    Raises:
        ServingError: if ops are missing all the same.
    """
    missing = _unregistered(op_names(read_meta_graph(folder)))
    if missing:
        try:
            importlib.import_module("tensorflow_text")
        except ImportError:
            pass
        missing = _unregistered(missing)
    if missing:
        raise ServingError(
            "NOT_FOUND",
            f"{folder}: Op type not registered: {', '.join(missing)}. "
            "If these are tokenizer ops, install tensorflow-text.",
        )


def _unregistered(names: Iterable[str]) -> list[str]:
    import tensorflow as tf

    missing = []
    graph = tf.Graph()
    for name in names:
        try:
            graph.op_def_for_type(name)
        except (tf.errors.OpError, RuntimeError):
            missing.append(name)
    return sorted(missing)
