"""One version of a model in a TensorFlow session, which answers as TensorFlow Serving does."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from export.dev_server.tensor_protos import dtype_of, to_array, type_name
from export.errors import ExportError, ServingError
from export.graph import load_missing_ops
from export.layout import DEFAULT_SIGNATURE
from export.warmup import read_warmup

# tf.errors' numbers are the canonical ones.
CODE_NAMES = {
    1: "CANCELLED", 2: "UNKNOWN", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND", 6: "ALREADY_EXISTS", 7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION", 10: "ABORTED", 11: "OUT_OF_RANGE", 12: "UNIMPLEMENTED",
    13: "INTERNAL", 14: "UNAVAILABLE", 15: "DATA_LOSS", 16: "UNAUTHENTICATED",
}  # fmt: skip


class Servable:
    """A SavedModel's graph in a session of its own: no Python layer takes part.

    Args:
        folder: the folder of a version, the one that holds `saved_model.pb`.
        warm_up: replay the warm-up records; one that fails makes loading fail.

    Example:

    >>> import tempfile
    >>> from export import Signature, write
    >>> half = Signature(lambda x: {"y": x / 2 + 2}, {"x": tf.TensorSpec((None,))})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     version = write(f"{folder}/half", {"serving_default": half})
    ...     with Servable(version) as servable:
    ...         servable.predict({"x": np.array([1.0, 2.0], "float32")})
    {'y': array([2.5, 3. ], dtype=float32)}
    """

    def __init__(self, folder: Path, *, warm_up: bool = True) -> None:
        self.folder = folder
        load_missing_ops(folder)
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        self._callables: dict[tuple[str, ...], Any] = {}
        self._lock = threading.Lock()
        try:
            self.signatures = self._load()
            if warm_up:
                self._replay()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Servable:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the session and what it holds."""
        self._callables.clear()
        self._session.close()

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        """The signature called `name`; the empty name means `serving_default`."""
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        return self.signatures[name]

    def predict(
        self,
        inputs: Mapping[str, np.ndarray],
        *,
        signature: str = "",
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Runs one signature.

        Args:
            inputs: name -> array, exactly the inputs of the signature and of their types; shapes
                are for the graph to judge. Strings are object arrays of bytes.
            signature: its name; empty for `serving_default`.
            output_filter: the outputs wanted; empty for all.

        Returns:
            Output name -> array.

        Raises:
            ServingError: in the codes and words of TensorFlow Serving.
        """
        definition = self.signature(signature)
        _check_inputs(definition, inputs)
        wanted = _wanted_outputs(definition, output_filter)
        feeds = [(definition.inputs[name], inputs[name]) for name in sorted(definition.inputs)]
        for index, (info, array) in enumerate(feeds):
            _check_dtype(index, info, array)
        run = self._callable(
            tuple(info.name for info, _ in feeds),
            tuple(definition.outputs[name].name for name in wanted),
        )
        try:
            values = run(*(array for _, array in feeds))
        except tf.errors.OpError as error:
            raise ServingError(CODE_NAMES[error.error_code], error.message) from error
        return {name: np.asarray(value) for name, value in zip(wanted, values, strict=True)}

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Any:
        # `Session.run` compares what it is fed with the static shape of the placeholder. Serving
        # does not: only the graph may complain. This is the way in that leaves it to the graph.
        key = (*feeds, "->", *fetches)
        with self._lock:
            if key not in self._callables:
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                self._callables[key] = self._session._make_callable_from_options(options)
            return self._callables[key]

    def _load(self) -> dict[str, meta_graph_pb2.SignatureDef]:
        try:
            with self._session.graph.as_default(), _no_deprecation_notice():
                meta_graph = tf.compat.v1.saved_model.load(
                    self._session, [tf.saved_model.SERVING], str(self.folder)
                )
        except tf.errors.OpError as error:
            raise ServingError(CODE_NAMES[error.error_code], error.message) from error
        except (RuntimeError, ValueError, OSError) as error:
            raise ExportError(f"{self.folder}: the SavedModel does not load. {error}") from error
        return dict(meta_graph.signature_def)

    def _replay(self) -> None:
        for number, log in enumerate(read_warmup(self.folder)):
            kind = log.WhichOneof("log_type")
            if kind is None:
                continue
            if kind != "predict_log":
                raise ServingError("UNIMPLEMENTED", f"Unsupported log_type for warmup: {kind}")
            request = log.predict_log.request
            try:
                self.predict(
                    {name: to_array(name, proto) for name, proto in request.inputs.items()},
                    signature=request.model_spec.signature_name,
                    output_filter=request.output_filter,
                )
            except ServingError as error:
                raise ServingError(
                    error.code, f"{self.folder}: warm-up record {number}: {error.message}"
                ) from error


@contextlib.contextmanager
def _no_deprecation_notice() -> Iterator[None]:
    """Mutes the notice that the session loader is TensorFlow 1's; it is also TF Serving's."""

    def keep(record: logging.LogRecord) -> bool:
        return "deprecated" not in record.getMessage()

    logger = tf.get_logger()
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


def _check_inputs(definition: meta_graph_pb2.SignatureDef, inputs: Mapping[str, Any]) -> None:
    expected, given = set(definition.inputs), set(inputs)
    if len(given) != len(expected):
        raise ServingError(
            "INVALID_ARGUMENT",
            f"input size does not match signature: {len(given)}!={len(expected)} "
            f"len({braces(given)}) != len({braces(expected)}). "
            f"Sent extra: {braces(given - expected)}. "
            f"Missing but required: {braces(expected - given)}.",
        )
    for name in sorted(expected - given):
        raise ServingError(
            "INVALID_ARGUMENT",
            f"Signature input alias: {name}(feed name: {definition.inputs[name].name}) not found "
            "in request and no default value provided. Inputs expected to be in the request "
            f"{braces(expected)}, or default input alias set: ",
        )


def _wanted_outputs(
    definition: meta_graph_pb2.SignatureDef, output_filter: Sequence[str]
) -> list[str]:
    for index, name in enumerate(output_filter):
        if name not in definition.outputs:
            raise ServingError(
                "INVALID_ARGUMENT",
                f"output tensor alias not found in signature: {name} Outputs expected to be in "
                f"the set {braces(definition.outputs)}.",
            )
        if name in output_filter[:index]:
            raise ServingError("INVALID_ARGUMENT", f"duplicate output tensor alias: {name}")
    return list(output_filter) or sorted(definition.outputs)


def _check_dtype(index: int, info: meta_graph_pb2.TensorInfo, array: np.ndarray) -> None:
    expected = tf.dtypes.as_dtype(info.dtype)
    given = dtype_of(array)
    if given != expected:
        raise ServingError(
            "INVALID_ARGUMENT",
            f"Expects arg[{index}] to be {type_name(expected)} but {type_name(given)} is provided",
        )


def braces(names: Iterable[str]) -> str:
    """Names the way the server's messages list a set: `{a,b}`."""
    return "{" + ",".join(sorted(names)) + "}"
