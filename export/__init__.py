"""Write a Keras function as a SavedModel that TensorFlow Serving loads; serve it; ask it.

This package knows no task and no layer: it takes functions of named tensors. Nothing is imported
before it is used, so a client costs no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.client import Client
    from export.dev_server.server import DevServer, serve_forever
    from export.errors import ExportError, ServingError
    from export.keras_model import signature_of, write_model
    from export.linter import Finding, lint
    from export.model_card import describe
    from export.portable import write_portable
    from export.saved_model import check_parity, write
    from export.server_config import write_server_config
    from export.signatures import Signature

__all__ = [
    "Client",
    "DevServer",
    "ExportError",
    "Finding",
    "ServingError",
    "Signature",
    "check_parity",
    "describe",
    "lint",
    "serve_forever",
    "signature_of",
    "write",
    "write_model",
    "write_portable",
    "write_server_config",
]

_HOMES = {
    "Client": "export.client",
    "DevServer": "export.dev_server.server",
    "ExportError": "export.errors",
    "Finding": "export.linter",
    "ServingError": "export.errors",
    "Signature": "export.signatures",
    "check_parity": "export.saved_model",
    "describe": "export.model_card",
    "lint": "export.linter",
    "serve_forever": "export.dev_server.server",
    "signature_of": "export.keras_model",
    "write": "export.saved_model",
    "write_model": "export.keras_model",
    "write_portable": "export.portable",
    "write_server_config": "export.server_config",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
