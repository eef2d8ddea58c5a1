"""The development server: models of a folder behind a gRPC port and a REST port."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import math
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from export import memory
from export.dev_server import ports
from export.dev_server.batching import BatchScheduler
from export.dev_server.batching_parameters import Parameters
from export.dev_server.grpc_messages import Messages
from export.dev_server.grpc_service import Health, ModelService, PredictionService
from export.dev_server.http_server import RestServer
from export.dev_server.metrics import Metrics
from export.dev_server.model_config import Source, discover, read_config
from export.dev_server.models import Models
from export.dev_server.rest import RestService
from export.dev_server.session import read_session_config
from export.errors import ExportError

# Requests that may wait or run at once over gRPC; more are answered RESOURCE_EXHAUSTED.
MAX_REQUESTS = 256
_MAX_CONNECTIONS = 400
_log = logging.getLogger(__name__)
_GRPC_OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # as much as a message can hold
    ("grpc.max_send_message_length", -1),
    ("grpc.max_allowed_incoming_connections", _MAX_CONNECTIONS),
    ("grpc.server_handshake_timeout_ms", 20_000),  # in which a connection begins to speak HTTP/2
    ("grpc.so_reuseport", 0),  # a taken port is a mistake, not a second server on the same port
)


class DevServer:
    """Serves models as TensorFlow Serving would, in TensorFlow sessions on this machine.

    It listens on this machine only unless told otherwise.

    Args:
        base_path: the folder of one model (its children are versions), or a folder of such folders,
            of each of which the newest version is served.
        model_config_file: instead of `base_path`, a ModelServerConfig in text format: names, paths,
            version policies and labels, as for TensorFlow Serving.
        host: the address to listen on.
        grpc_port: port of gRPC; 0 takes a free one, which `grpc_port` holds after `start`.
        rest_port: port of REST, likewise.
        grpc_socket_path: a Unix socket to listen on for gRPC too; who may open it is up to the
            folder it is in.
        poll_seconds: how often folders and config are looked at for new versions; 0 for never.
        batching: if given, requests that meet are run together, as these parameters say.
        rest_timeout: seconds that a REST request may run; over gRPC the client's deadline counts.
        cors: whether pages of other origins may ask over REST.
        ssl_config_file: an SSLConfig in text format, with which gRPC is encrypted.
        tensorflow_session_config_file: a ConfigProto in text format: threads and devices of the
            sessions that run the models. TensorFlow makes the threads that an operation may use
            once, for the first thing that runs in a process.

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
        base_path: str | os.PathLike[str] | None = None,
        *,
        model_config_file: str | os.PathLike[str] | None = None,
        host: str = "127.0.0.1",
        grpc_port: int = 8500,
        rest_port: int = 8501,
        grpc_socket_path: str | os.PathLike[str] | None = None,
        poll_seconds: float = 1.0,
        batching: Parameters | None = None,
        rest_timeout: float = 30.0,
        cors: bool = False,
        ssl_config_file: str | os.PathLike[str] | None = None,
        tensorflow_session_config_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self._root = None if base_path is None else Path(base_path)
        self._source: Source
        if base_path is not None and model_config_file is None:
            self._source = functools.partial(discover, Path(base_path))
        elif model_config_file is not None and base_path is None:
            self._source = functools.partial(read_config, model_config_file)
        else:
            raise ExportError("Expected either a folder of models or a model config file.")
        for name, port in (("grpc_port", grpc_port), ("rest_port", rest_port)):
            if not 0 <= port < 2**16:
                raise ExportError(f"`{name}` must be from 0 to 65535. Received: {port}.")
        if not (math.isfinite(poll_seconds) and poll_seconds <= threading.TIMEOUT_MAX):
            raise ExportError(f"`poll_seconds` must be a number. Received: {poll_seconds}.")
        self.host = host
        self.grpc_port = grpc_port
        self.rest_port = rest_port
        self._grpc_socket_path = grpc_socket_path
        self._poll_seconds = poll_seconds
        self._batching = batching
        self._rest_timeout = rest_timeout
        self._cors = cors
        self._ssl_config_file = ssl_config_file
        self._session_config_file = tensorflow_session_config_file
        self._running = contextlib.ExitStack()
        self._models: Models | None = None

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
        with contextlib.ExitStack() as stack:
            scheduler = None
            if self._batching is not None:
                scheduler = BatchScheduler(self._batching)
                stack.callback(scheduler.close)
            config = None
            if self._session_config_file is not None:
                config = read_session_config(Path(self._session_config_file))
            models = Models(self._source, scheduler, self._root, config)
            metrics = Metrics()
            stack.callback(models.close)
            # Both ports are bound before one answers: a client sees a whole server or none.
            rest = self._bind_rest(RestService(models, metrics, self._rest_timeout), models)
            stack.callback(rest.stop)
            rpc = self._bind_grpc(models, metrics)
            stack.callback(lambda: rpc.stop(grace=1.0).wait())
            rpc.start()
            rest.start()
            if self._poll_seconds > 0:
                stack.callback(_repeat(models.refresh, self._poll_seconds))
            self._models = models
            self._running = stack.pop_all()

    def stop(self) -> None:
        """Closes both ports, lets calls in progress finish for a moment, frees the models."""
        self._models = None
        self._running.close()

    def _bind_rest(self, service: RestService, models: Models) -> RestServer:
        address = self.host, self.rest_port
        try:
            server = RestServer(address, service, models=models, cors=self._cors)
        except (OSError, OverflowError) as error:
            raise ports.cannot_listen("REST", ports.address(*address), error) from error
        self.rest_port = server.server_address[1]
        return server

    def _bind_grpc(self, models: Models, metrics: Metrics) -> grpc.Server:
        # A call has a thread from its start, though its message may be long in coming.
        turns = 2 * (os.cpu_count() or 1) + 2 if self._batching is None else MAX_REQUESTS
        server = grpc.server(
            ThreadPoolExecutor(MAX_REQUESTS),
            interceptors=[Messages(turns)],
            options=_GRPC_OPTIONS,
            maximum_concurrent_rpcs=MAX_REQUESTS,
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(models, metrics), server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(models), server)
        health_pb2_grpc.add_HealthServicer_to_server(Health(), server)
        credentials = None
        if self._ssl_config_file is not None:
            credentials = ports.credentials(Path(self._ssl_config_file))

        def listen(address: str) -> int:
            try:
                if credentials is None:
                    return server.add_insecure_port(address)
                return server.add_secure_port(address, credentials)
            except RuntimeError as error:
                raise ports.cannot_listen("gRPC", address, error) from error

        self.grpc_port = listen(ports.address(self.host, self.grpc_port))
        if self._grpc_socket_path is not None:
            listen(ports.unused(Path(self._grpc_socket_path)))
        return server


def serve_forever(base_path: str | os.PathLike[str] | None = None, **options: Any) -> None:
    """Serves until SIGINT or SIGTERM, after one line that says what is served and where.

    The arguments are those of `DevServer`. Call it from the main thread: only that one may receive
    signals.
    """
    server = DevServer(base_path, **options)
    stop = threading.Event()
    previous = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    memory.give_back_freed()
    gc.freeze()  # else a third of a second, in which nobody is served, now and then
    try:
        with server:
            print(
                f"Serving {', '.join(server.models)}: "
                f"gRPC {ports.address(server.host, server.grpc_port)}, "
                f"REST http://{ports.address(server.host, server.rest_port)}",
                flush=True,
            )
            stop.wait()
    finally:
        gc.unfreeze()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _repeat(function: Callable[[], None], seconds: float) -> Callable[[], None]:
    """Calls `function` again and again in a thread; what is returned ends that."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(seconds):
            try:
                function()
            except Exception:  # a mistake of ours, after which there is a next time
                _log.exception("Looking for new versions failed")

    def end() -> None:
        ended.set()
        thread.join()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return end
