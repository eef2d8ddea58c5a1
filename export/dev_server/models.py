"""Which models and versions a folder holds, and the choice of one by a request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from export.dev_server.servable import Servable
from export.errors import ExportError, ServingError
from export.layout import newest_version


class Loaded(NamedTuple):
    """A version that can answer, with the name and the number it is known by."""

    model: str
    version: int
    servable: Servable


def discover(directory: Path) -> dict[str, Path]:
    """Model name -> base path, for the folder of one model or a folder of such folders.

    Raises:
        ExportError: if the folder is missing or holds no version of any model.
    """
    directory = directory.resolve()
    if not directory.is_dir():
        raise ExportError(f"{directory}: no such folder.")
    if (directory / "saved_model.pb").exists():
        raise ExportError(f"{directory}: is a version; serve the folder it is in.")
    if newest_version(directory):
        return {directory.name: directory}
    models = {
        child.name: child
        for child in sorted(directory.iterdir())
        if child.is_dir() and not child.name.startswith(".") and newest_version(child)
    }
    if not models:
        raise ExportError(
            f"{directory}: expected <version>/saved_model.pb or <model>/<version>/saved_model.pb, "
            "the version a number. Received: a folder with no version."
        )
    return models


class Models:
    """The newest version of every model below a folder, loaded, and looked up by name.

    Args:
        directory: the folder of one model, or a folder of such folders.
    """

    def __init__(self, directory: Path) -> None:
        self._models: dict[str, dict[int, Servable]] = {}
        try:
            for name, base in discover(directory).items():
                newest = newest_version(base)
                assert newest is not None  # or `discover` would have left it out
                self._models[name] = {newest[0]: Servable(newest[1])}
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def find(self, name: str, *, version: int | None = None, label: str | None = None) -> Loaded:
        """The version a request asks for: a number, a label, or the newest if neither is given."""
        loaded = self._models.get(name)
        if label is not None and loaded:  # no label is ever assigned in this server
            raise ServingError("INVALID_ARGUMENT", f"Unrecognized servable version label: {label}")
        if not loaded or (version is not None and version not in loaded):
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise ServingError("NOT_FOUND", f"Servable not found for request: {asked}")
        number = max(loaded) if version is None else version
        return Loaded(name, number, loaded[number])

    def status(self, name: str, version: int | None = None) -> list[int]:
        """The versions of `name` that answer, highest first; only `version` if one is given."""
        loaded = self._models.get(name)
        if version is not None and (not loaded or version not in loaded):
            raise ServingError("NOT_FOUND", f"Could not find version {version} of model {name}")
        if not loaded:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}")
        return [version] if version is not None else sorted(loaded, reverse=True)

    def close(self) -> None:
        """Frees every session."""
        for loaded in self._models.values():
            for servable in loaded.values():
                servable.close()
        self._models.clear()
