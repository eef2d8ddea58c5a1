"""TensorFlow's C library, and no Python of TensorFlow: what a model server is made of.

Where `tensorflow` was imported, ops and kernels written in Python exist and XLA works; a server has
none of these. So this module is for a process of its own, in which `tensorflow` is never imported:
its folder is only where the library and the messages of its protocol are taken from.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.machinery
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from export.errors import CODES, ExportError, ServingError

POINTER, TEXT, INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int


class Buffer(ctypes.Structure):
    """TF_Buffer: bytes, such as those of a message."""

    _fields_ = (("data", POINTER), ("length", ctypes.c_size_t), ("free", POINTER))


class Output(ctypes.Structure):
    """TF_Output: an output of an operation in a graph."""

    _fields_ = (("operation", POINTER), ("index", INT))


_BUFFER, _OUTPUTS = ctypes.POINTER(Buffer), ctypes.POINTER(Output)
_POINTERS, _TEXTS = ctypes.POINTER(POINTER), ctypes.POINTER(TEXT)
# Result and arguments of every C function that is called, as tensorflow/c/c_api.h has them.
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "TF_NewStatus": (POINTER,),
    "TF_DeleteStatus": (None, POINTER),
    "TF_GetCode": (INT, POINTER),
    "TF_Message": (TEXT, POINTER),
    "TF_NewBuffer": (_BUFFER,),
    "TF_NewBufferFromString": (_BUFFER, TEXT, ctypes.c_size_t),
    "TF_DeleteBuffer": (None, _BUFFER),
    "TF_GetAllOpList": (_BUFFER,),
    "TF_GetRegisteredKernelsForOp": (_BUFFER, TEXT, POINTER),
    "TF_LoadLibrary": (POINTER, TEXT, POINTER),
    "TF_NewSessionOptions": (POINTER,),
    "TF_NewGraph": (POINTER,),
    "TF_LoadSessionFromSavedModel": (
        *(POINTER, POINTER, _BUFFER, TEXT, _TEXTS, INT, POINTER, _BUFFER, POINTER),
    ),
    "TF_GraphOperationByName": (POINTER, POINTER, TEXT),
    "TF_SessionRun": (
        *(None, POINTER, _BUFFER, _OUTPUTS, _POINTERS, INT, _OUTPUTS, _POINTERS, INT),
        *(_POINTERS, INT, _BUFFER, POINTER),
    ),
    "TF_AllocateTensor": (POINTER, INT, POINTER, INT, ctypes.c_size_t),
    "TF_DeleteTensor": (None, POINTER),
    "TF_TensorFromProto": (None, _BUFFER, POINTER, POINTER),
    "TF_NumDims": (INT, POINTER),
    "TF_Dim": (ctypes.c_int64, POINTER, INT),
    "_ZN10tensorflow21DisableXlaCompilationEv": (None,),  # tensorflow::DisableXlaCompilation()
}


class Library:
    """The C functions, and what they say and are told as bytes and Python errors.

    Raises:
        ExportError: where TensorFlow is not installed, or in no form that is known here.
    """

    def __init__(self) -> None:
        folder = folder_of("tensorflow")
        if folder is None:
            raise ExportError("Expected TensorFlow to be installed. Received: no such package.")
        _stand_in("tensorflow", folder)
        parts = [_open(folder, f"libtensorflow_{part}") for part in ("framework", "cc")]
        self._functions = {name: _function(parts, name) for name in _FUNCTIONS}

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls a function that cannot fail."""
        return self._functions[name](*arguments)

    def attempt(self, name: str, *arguments: Any) -> Any:
        """Calls a function whose last argument is a status.

        Raises:
            ServingError: with the code and the words of the status, unless it is OK.
        """
        status = self.call("TF_NewStatus")
        try:
            result = self.call(name, *arguments, status)
            code = CODES[self.call("TF_GetCode", status)]
            if code != "OK":
                raise ServingError(code, self.call("TF_Message", status).decode(errors="replace"))
            return result
        finally:
            self.call("TF_DeleteStatus", status)

    def taken(self, buffer: Any) -> bytes:
        """The bytes of a buffer, which is then deleted."""
        content = ctypes.string_at(buffer.contents.data, buffer.contents.length)
        self.call("TF_DeleteBuffer", buffer)
        return content

    @contextlib.contextmanager
    def buffer(self, content: bytes) -> Iterator[Any]:
        """A buffer of these bytes, for as long as it is needed."""
        made = self.call("TF_NewBufferFromString", content, len(content))
        try:
            yield made
        finally:
            self.call("TF_DeleteBuffer", made)


def folder_of(package: str) -> Path | None:
    """Where a package is installed; it is not imported."""
    spec = importlib.machinery.PathFinder.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


def _stand_in(package: str, folder: Path) -> None:
    """An empty package in the place of the real one, so that its messages can be imported."""
    if package not in sys.modules:
        module = types.ModuleType(package)
        module.__path__ = [str(folder)]
        sys.modules[package] = module


def _open(folder: Path, stem: str) -> ctypes.CDLL:
    found = sorted(path for path in folder.glob(f"{stem}.*") if path.suffix != ".lib")
    if not found:
        raise ExportError(f"{folder}: expected TensorFlow's C library. Received: no {stem}.*.")
    return ctypes.CDLL(str(found[0]))


def _function(parts: list[ctypes.CDLL], name: str) -> Any:
    for part in parts:
        if hasattr(part, name):
            function = part[name]
            function.restype, *function.argtypes = _FUNCTIONS[name]
            return function
    raise ExportError(f"Expected {name} in TensorFlow's C library. Received: another version.")
