"""A SavedModel in a session of the C library, with XLA switched off as in a stock server."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.errors import ServingError
from export.linter.library import INT, POINTER, TEXT, Library, Output

_FLOAT = 1  # DT_FLOAT


class Session:
    """Runs a SavedModel.

    Args:
        library: The C library.
        folder: The folder of a version.

    Raises:
        ServingError: if it does not load.
    """

    def __init__(self, library: Library, folder: Path) -> None:
        self.library = library
        library.call("_ZN10tensorflow21DisableXlaCompilationEv")
        self.graph = library.call("TF_NewGraph")
        tags = (TEXT * 1)(b"serve")
        options = library.call("TF_NewSessionOptions")
        arguments = options, None, str(folder).encode(), tags, 1, self.graph, None
        self.session = library.attempt("TF_LoadSessionFromSavedModel", *arguments)

    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str]) -> list[tuple[int, ...]]:
        """The shapes of what `fetches` name, from `TensorProto`s by the names of tensors.

        Raises:
            ServingError: if the model fails.
        """
        library = self.library
        inputs = (Output * len(feeds))(*map(self._output, feeds))
        outputs = (Output * len(fetches))(*map(self._output, fetches))
        given = (POINTER * len(feeds))()
        found = (POINTER * len(fetches))()
        try:
            for at, message in enumerate(feeds.values()):
                given[at] = self._tensor(message)
            counted = inputs, given, len(feeds), outputs, found, len(fetches)
            library.attempt("TF_SessionRun", self.session, None, *counted, None, 0, None)
            return [self._shape(tensor) for tensor in found if tensor]
        finally:
            for tensor in (*given, *found):
                if tensor:
                    library.call("TF_DeleteTensor", tensor)

    def _output(self, name: str) -> Output:
        operation, _, index = name.partition(":")
        found = self.library.call("TF_GraphOperationByName", self.graph, operation.encode())
        if not found:
            raise ServingError("NOT_FOUND", f"Tensor {name} is not in the graph.")
        return Output(found, int(index or 0))

    def _tensor(self, message: Any) -> int:
        # What is allocated is only a place for the tensor that the message holds.
        tensor = self.library.call("TF_AllocateTensor", _FLOAT, None, 0, ctypes.sizeof(INT))
        with self.library.buffer(message.SerializeToString()) as buffer:
            self.library.attempt("TF_TensorFromProto", buffer, tensor)
        return tensor

    def _shape(self, tensor: int) -> tuple[int, ...]:
        rank = self.library.call("TF_NumDims", tensor)
        return tuple(self.library.call("TF_Dim", tensor, axis) for axis in range(rank))
