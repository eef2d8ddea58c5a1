"""What a model server is made of, as far as the linter needs it, in two ways.

`Native` is TensorFlow's C library by itself. `Portable` is for where that cannot be reached: it is
TensorFlow with its Python, which has operations that a server lacks, and where XLA stays on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from export.graph import PYTHON
from export.linter.library import Library
from export.linter.session import Session


class Runs(Protocol):
    """A loaded SavedModel."""

    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str]) -> object:
        """Runs it on `TensorProto`s by the names of tensors; a `ServingError` if it fails."""
        ...


class Runtime(Protocol):
    """Operations, their kernels, and sessions."""

    def has(self, operation: str) -> bool:
        """Whether there is such an operation."""
        ...

    def on_cpu(self, operation: str) -> bool:
        """Whether it has a kernel for the CPU."""
        ...

    def load_operations(self, path: Path) -> None:
        """Adds those of a library."""
        ...

    def session(self, folder: Path) -> Runs:
        """Loads a SavedModel; a `ServingError` if it does not load."""
        ...


class Native:
    """TensorFlow's C library, with XLA off.

    Raises:
        ExportError: where TensorFlow is not installed, or in no form that is known here.
    """

    def __init__(self) -> None:
        self._library = Library()
        self._operations = self._listed()

    def has(self, operation: str) -> bool:
        return operation in self._operations

    def on_cpu(self, operation: str) -> bool:
        from tensorflow.core.framework import kernel_def_pb2

        found = self._library.attempt("TF_GetRegisteredKernelsForOp", operation.encode())
        return _for_cpu(kernel_def_pb2.KernelList.FromString(self._library.taken(found)))

    def load_operations(self, path: Path) -> None:
        self._library.attempt("TF_LoadLibrary", str(path).encode())
        self._operations = self._listed()

    def session(self, folder: Path) -> Runs:
        return Session(self._library, folder)

    def _listed(self) -> set[str]:
        from tensorflow.core.framework import op_def_pb2

        listed = self._library.taken(self._library.call("TF_GetAllOpList"))
        return {each.name for each in op_def_pb2.OpList.FromString(listed).op}


class Portable:
    """TensorFlow with its Python."""

    def has(self, operation: str) -> bool:
        from tensorflow.python.framework import op_def_registry

        return op_def_registry.get(operation) is not None

    def on_cpu(self, operation: str) -> bool:
        from tensorflow.python.framework import kernels

        if operation in PYTHON:
            return False
        return _for_cpu(kernels.get_registered_kernels_for_op(operation))

    def load_operations(self, path: Path) -> None:
        import tensorflow as tf

        tf.load_op_library(str(path))

    def session(self, folder: Path) -> Runs:
        return _PortableSession(folder)


class _PortableSession:
    def __init__(self, folder: Path) -> None:
        from export.dev_server import session

        self._session = session.Session(folder)

    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str]) -> object:
        from export.dev_server.tensor_protos import to_array

        arrays = [to_array(name, proto) for name, proto in feeds.items()]
        return self._session.run(list(feeds), fetches, arrays)


def _for_cpu(kernels: Any) -> bool:
    # What the runtime itself replaces, such as `PartitionedCall`, is registered for all devices.
    return any(kernel.device_type in ("CPU", "DEFAULT") for kernel in kernels.kernel)
