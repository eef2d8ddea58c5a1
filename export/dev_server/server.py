"""The development server: models of a folder behind a gRPC port and a REST port."""

from __future__ import annotations

import errno
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from export.dev_server.grpc_service import ModelService, PredictionService
from export.dev_server.http_server import RestServer
from export.dev_server.models import Models
from export.dev_server.rest import RestService
from export.errors import ExportError

_GRPC_OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # as much as a message can hold
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # a taken port is a mistake, not a second server on the same port
)


class DevServer:
    """Serves the newest version of each model of a folder as TensorFlow Serving would.

    It runs the SavedModel in a TensorFlow session, listens on this machine only unless told
    otherwise, and has no encryption, no batching and no reloading: it is for trying a model out.

    Args:
        base_path: the folder of one model (its children are versions), or a folder of such folders.
        host: the address to listen on.
        grpc_port: port of gRPC; 0 takes a free one, which `grpc_port` holds after `start`.
        rest_port: port of REST, likewise.

    Example:

    >>> import tempfile
    >>> import tensorflow as tf
    >>> from export import Client, DevServer, Signature, write
    >>> half = Signature(lambda x: {"y": x / 2 + 2}, {"x": tf.TensorSpec((None,))})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     version = write(f"{folder}/half", {"serving_default": half})
    ...     with DevServer(folder, grpc_port=0, rest_port=0) as server:
    ...         client = Client(f"127.0.0.1:{server.rest_port}", "half", protocol="rest")
    ...         server.models, client.predict({"x": [1.0, 2.0, 5.0]})["y"].tolist()
    (('half',), [2.5, 3.0, 4.5])
    """

    def __init__(
        self,
        base_path: str | os.PathLike[str],
        *,
        host: str = "127.0.0.1",
        grpc_port: int = 8500,
        rest_port: int = 8501,
    ) -> None:
        self.base_path = Path(base_path)
        self.host = host
        self.grpc_port = grpc_port
        self.rest_port = rest_port
        self._models: Models | None = None
        self._grpc: grpc.Server | None = None
        self._rest: RestServer | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models being served; none before `start` and after `stop`."""
        return tuple(self._models or ())

    def __enter__(self) -> DevServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Loads the models, then listens; on return both ports answer.

        Raises:
            ExportError: if the folder is missing or holds no version, a version does not load,
                or a port is taken.
        """
        if self._models is not None:
            raise ExportError("The server is already running.")
        try:
            self._models = Models(self.base_path)
            # Both ports are bound before one answers: a client sees a whole server or none.
            self._rest = self._bind_rest(RestService(self._models))
            self._grpc = self._bind_grpc(self._models)
            self._grpc.start()
            self._rest.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Closes both ports, lets calls in progress finish for a moment, frees the models."""
        if self._rest is not None:
            self._rest.stop()
        if self._grpc is not None:
            self._grpc.stop(grace=1.0).wait()
        if self._models is not None:
            self._models.close()
        self._models = self._grpc = self._rest = None

    def _bind_rest(self, service: RestService) -> RestServer:
        try:
            server = RestServer((self.host, self.rest_port), service)
        except (OSError, OverflowError) as error:
            raise _cannot_listen("REST", self.host, self.rest_port, error) from error
        self.rest_port = server.server_address[1]
        return server

    def _bind_grpc(self, models: Models) -> grpc.Server:
        workers = ThreadPoolExecutor(max_workers=2 * (os.cpu_count() or 1) + 2)
        server = grpc.server(workers, options=_GRPC_OPTIONS)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(models), server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(models), server)
        try:
            port = server.add_insecure_port(_address(self.host, self.grpc_port))
        except RuntimeError as error:
            raise _cannot_listen("gRPC", self.host, self.grpc_port, error) from error
        self.grpc_port = port
        return server


def serve_forever(
    directory: str | os.PathLike[str],
    host: str = "127.0.0.1",
    grpc_port: int = 8500,
    rest_port: int = 8501,
) -> None:
    """Serves until SIGINT or SIGTERM, after one line that says what is served and where.

    Call it from the main thread: only that one may receive signals.
    """
    stop = threading.Event()
    previous = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with DevServer(directory, host=host, grpc_port=grpc_port, rest_port=rest_port) as server:
            print(
                f"Serving {', '.join(server.models)}: "
                f"gRPC {_address(host, server.grpc_port)}, "
                f"REST http://{_address(host, server.rest_port)}",
                flush=True,
            )
            stop.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _cannot_listen(protocol: str, host: str, port: int, error: Exception) -> ExportError:
    taken = getattr(error, "errno", None) in (None, errno.EADDRINUSE)
    reason = "the port is taken, or not ours to open" if taken else str(error)
    return ExportError(f"{protocol}: cannot listen on {_address(host, port)}: {reason}.")
