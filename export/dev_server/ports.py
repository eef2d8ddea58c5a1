"""Where a server listens: addresses, Unix sockets, TLS, and what is told of those not to be had."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import tempfile
from pathlib import Path

import grpc

from export.dev_server.text_protos import SSLConfig, read_text
from export.errors import ExportError


def credentials(path: Path) -> grpc.ServerCredentials:
    """What an SSLConfig in text format says; an `ExportError` says what is wrong with it."""
    config = read_text(path, SSLConfig(), "tensorflow.serving.SSLConfig")
    if not (config.server_key and config.server_cert):
        raise ExportError(f"{path}: expected server_key and server_cert, as PEM. Received: less.")
    if config.client_verify and not config.custom_ca:
        raise ExportError(f"{path}: client_verify needs custom_ca, the authority of the clients.")
    _check_pem(path, config)
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def _check_pem(path: Path, config: SSLConfig) -> None:
    """gRPC says of a file that it cannot read only that it cannot listen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(f"{config.server_key}\n{config.server_cert}\n")
        file.flush()
        try:
            context.load_cert_chain(file.name, password="")
            if config.custom_ca:
                context.load_verify_locations(cadata=config.custom_ca)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ExportError(
                f"{path}: expected a key, its certificate and authorities in PEM. {error}"
            ) from error


def address(host: str, port: int) -> str:
    """`host:port`, as gRPC and URLs have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unused(path: Path) -> str:
    """What gRPC calls a Unix socket, once it is known that nobody listens on it and it can be made.

    gRPC would take the place of another server's, and says not why it cannot listen.
    """
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(os.fspath(path))
        raise ExportError(f"gRPC: cannot listen on {path}: another server does.")
    if path.is_socket():  # of a server that is gone
        path.unlink()
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(os.fspath(path))
    except OSError as error:
        raise cannot_listen("gRPC", str(path), error) from error
    path.unlink()
    return f"unix:{path}"


def cannot_listen(protocol: str, address: str, error: Exception) -> ExportError:
    """What to tell of an address that could not be had."""
    taken = isinstance(error, RuntimeError) or getattr(error, "errno", None) == errno.EADDRINUSE
    reason = "it is taken, or not ours to open" if taken else str(error)
    return ExportError(f"{protocol}: cannot listen on {address}: {reason}.")
