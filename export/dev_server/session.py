"""A SavedModel's graph in a TensorFlow session of its own, as TensorFlow Serving runs it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.client import pywrap_tf_session

from export.dev_server.text_protos import read_text
from export.errors import CODES, ExportError, ServingError
from export.graph import load_missing_ops


class Runner(Protocol):
    """What runs a graph: a session, or what puts several requests into one run of it."""

    def run(
        self,
        feeds: Sequence[str],
        fetches: Sequence[str],
        arrays: Sequence[np.ndarray],
        timeout: float | None = None,
    ) -> list[np.ndarray]:
        """The values of the tensors named `fetches`, where those named `feeds` are `arrays`."""
        ...


class Session:
    """Loads a SavedModel and runs it; no Python layer takes part.

    Args:
        folder: the folder of a version, the one that holds `saved_model.pb`.
        config: threads and devices of the session; TensorFlow's defaults if None.

    Raises:
        ExportError: if it does not load.
    """

    def __init__(self, folder: Path, config: config_pb2.ConfigProto | None = None) -> None:
        load_missing_ops(folder)
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        self._outputs: dict[str, pywrap_tf_session.TF_Output] = {}
        try:
            self.signatures = _load(self._session, folder)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Frees the session and what it holds; a run in progress ends first."""
        self._session.close()

    def run(
        self,
        feeds: Sequence[str],
        fetches: Sequence[str],
        arrays: Sequence[np.ndarray],
        timeout: float | None = None,
    ) -> list[np.ndarray]:
        """Runs the graph; types are checked by the session and shapes by the graph alone.

        Args:
            feeds: names of the tensors to feed.
            fetches: names of the tensors wanted.
            arrays: what to feed, one for each of `feeds`.
            timeout: seconds after which the run is given up; None for never.

        Raises:
            ServingError: in TensorFlow's codes and words.
        """
        # `tf.compat.v1.Session.run` would compare what it is fed with the static shape of the
        # placeholder. Serving does not: only the graph may complain. This is the call below it.
        fed = dict(zip(map(self._output, feeds), arrays, strict=True))
        wanted = [self._output(name) for name in fetches]
        with _options(timeout) as options, _serving_errors():
            values = pywrap_tf_session.TF_SessionRun_wrapper(
                self._session._session, options, fed, wanted, [], None
            )
        # A single string comes as bytes, which NumPy would make an array of characters.
        return [np.asarray(v, object if isinstance(v, bytes) else None) for v in values]

    def _output(self, name: str) -> pywrap_tf_session.TF_Output:
        try:
            if name not in self._outputs:
                tensor = self._session.graph.get_tensor_by_name(name)
                self._outputs[name] = tensor._as_tf_output()
            return self._outputs[name]
        except (KeyError, ValueError, TypeError) as error:
            raise ServingError(
                "INVALID_ARGUMENT",
                f"Tensor {name}, specified in either feed_devices or fetch_devices was not found "
                "in the Graph",
            ) from error


def read_session_config(path: Path) -> config_pb2.ConfigProto:
    """Reads a ConfigProto in text format; an `ExportError` says what is wrong with it."""
    return read_text(path, config_pb2.ConfigProto(), "tensorflow.ConfigProto")


def _load(session: tf.compat.v1.Session, folder: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    try:
        with session.graph.as_default(), _no_deprecation_notice(), _serving_errors():
            meta_graph = tf.compat.v1.saved_model.load(
                session, [tf.saved_model.SERVING], str(folder)
            )
    except (RuntimeError, ValueError, OSError) as error:
        raise ExportError(f"{folder}: the SavedModel does not load. {error}") from error
    return dict(meta_graph.signature_def)


@contextlib.contextmanager
def _options(timeout: float | None) -> Iterator[pywrap_tf_session.TF_Buffer | None]:
    if timeout is None:
        yield None
        return
    options = config_pb2.RunOptions(timeout_in_ms=max(1, int(1000 * timeout)))
    buffer = pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString())
    try:
        yield buffer
    finally:
        pywrap_tf_session.TF_DeleteBuffer(buffer)


@contextlib.contextmanager
def _serving_errors() -> Iterator[None]:
    try:
        yield
    except tf.errors.OpError as error:
        raise ServingError(CODES[error.error_code], error.message) from error
    except UnicodeDecodeError as error:  # the message of an error, which quotes what it was fed
        message = error.object.decode("utf-8", "backslashreplace")
        raise ServingError("INVALID_ARGUMENT", message) from error


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
