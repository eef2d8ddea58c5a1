"""The models of a server: versions come and go, and a request chooses one."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tensorflow.core.protobuf import config_pb2

from export.dev_server.batching import BatchScheduler
from export.dev_server.model_config import Configs, ModelConfig, Source
from export.dev_server.servable import Servable
from export.errors import ExportError, ServingError
from export.layout import versions

MAX_LOAD_RETRIES = 5
SECONDS_BETWEEN_RETRIES = 60.0

_log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A version that can answer, with the name and the number it is known by."""

    model: str
    version: int
    servable: Servable


class VersionState(NamedTuple):
    """What became of a version: LOADING, AVAILABLE or END, and the error if it has one."""

    version: int
    state: str
    error: ServingError | None


@dataclass
class _Version:
    """A version that is or was to be served."""

    state: str = "LOADING"
    servable: Servable | None = None
    error: ServingError | None = None
    tries: int = 0
    next_try: float = 0.0


class Models:
    """Loads the versions that are wanted, and frees those that no longer are.

    A new version is loaded before an old one is let go, and one that does not load never takes
    the place of one that answers: it is tried again a minute later, five times. A request that was
    begun ends on the version it was begun on.

    Args:
        source: tells which models there are; asked again by `refresh`.
        root: the folder in which the models of a `reload` must be; None for those in which the
            first ones are.
        scheduler: what runs requests together; without it, each is run by itself.
        session_config: threads and devices of the sessions.

    Raises:
        ExportError: if a model has no version that loads, or a label names none that did.
    """

    def __init__(
        self,
        source: Source,
        scheduler: BatchScheduler | None = None,
        root: Path | None = None,
        session_config: config_pb2.ConfigProto | None = None,
    ) -> None:
        self._source = source
        self._scheduler = scheduler
        self._session_config = session_config
        self._models: dict[str, dict[int, _Version]] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._changing = threading.Lock()  # held for as long as a load takes
        self._lock = threading.Lock()  # held for a moment
        try:
            first = source()
            folders = [root] if root else [config.base_path.parent for config in first.values()]
            self._roots = [folder.resolve() for folder in folders]
            self._apply(first, strict=True)
        except BaseException:
            self.close()
            raise

    def __contains__(self, name: object) -> bool:
        with self._lock:
            return name in self._models and not self._has_ended(name)

    def __iter__(self) -> Iterator[str]:
        """The names of those that are served, or are to be."""
        with self._lock:
            return iter(sorted(name for name in self._models if not self._has_ended(name)))

    def _has_ended(self, name: Any) -> bool:
        """Whether a model was let go: only its status is told of it."""
        known = self._models[name].values()
        return bool(known) and all(each.state == "END" and not each.error for each in known)

    def refresh(self) -> None:
        """Asks the source and the disk anew; what is wrong there is logged, and changes nothing."""
        with self._changing:
            try:
                self._apply(self._source(), strict=False)
            except (ExportError, OSError) as error:
                _log.warning("%s", error)

    def reload(self, configs: Configs) -> None:
        """Serves these models from now on, in the place of those of the source.

        Raises:
            ServingError: if a model is not where it may be: nothing has changed then. If a model
                has no version that loads, or a label names none that did: all that does is served.
        """
        for name, config in configs.items():
            _check_place(f"the base path of {name}", config.base_path, self._roots)
        with self._changing:
            self._source = lambda: configs
            self._apply(configs, strict=True)

    def find(self, name: str, *, version: int | None = None, label: str | None = None) -> Loaded:
        """The version a request asks for: a number, a label, or the newest if neither is given."""
        with self._lock:
            known = self._models.get(name, {})
            loaded = {number: each.servable for number, each in known.items() if each.servable}
            if label is not None:
                if label not in self._labels.get(name, {}):
                    raise ServingError(
                        "INVALID_ARGUMENT", f"Unrecognized servable version label: {label}"
                    )
                version = self._labels[name][label]
            if not loaded or (version is not None and version not in loaded):
                asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise ServingError("NOT_FOUND", f"Servable not found for request: {asked}")
            number = max(loaded) if version is None else version
            return Loaded(name, number, loaded[number])

    def status(self, name: str, version: int | None = None) -> list[VersionState]:
        """The versions of `name`, highest first; only `version` if one is given."""
        with self._lock:
            known = self._models.get(name, {})
            if version is not None and version not in known:
                raise ServingError("NOT_FOUND", f"Could not find version {version} of model {name}")
            if not known:
                raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}")
            numbers = sorted(known, reverse=True) if version is None else [version]
            return [VersionState(each, known[each].state, known[each].error) for each in numbers]

    def close(self) -> None:
        """Frees every session."""
        with self._lock:
            models, self._models = self._models, {}
        for known in models.values():
            for each in known.values():
                if each.servable:
                    each.servable.close()

    def _apply(self, configs: Configs, strict: bool) -> None:
        problems = [
            problem for name, config in configs.items() for problem in self._update(name, config)
        ]
        for name in [name for name in self if name not in configs]:
            self._free(name, list(self._models[name]))
            with self._lock:
                self._labels.pop(name, None)
        if strict and problems:
            raise problems[0]

    def _update(self, name: str, config: ModelConfig) -> list[ServingError]:
        """Loads and frees versions of one model; returns what is wrong with it."""
        if not os.path.isdir(config.base_path):  # False, too, for a name that is too long
            problem = ServingError(
                "NOT_FOUND", f"Could not find base path {config.base_path} for servable {name}"
            )
            _log.warning("%s", problem.message)
            return [problem]
        wanted = config.wanted(versions(config.base_path))
        with self._lock:
            known = self._models.setdefault(name, {})
        for number, folder in wanted.items():
            self._load(name, number, folder)
        ready = [number for number in wanted if known[number].servable]
        if ready or not wanted:
            self._free(name, [number for number in known if number not in wanted])
        problems = [e for number in wanted if (e := known[number].error) is not None]
        if not wanted:
            problems = [
                ServingError("NOT_FOUND", f"No versions of servable {name} found under base path "
                             f"{config.base_path}")
            ]  # fmt: skip
        return problems + self._label(name, config)

    def _load(self, name: str, number: int, folder: Path) -> None:
        known = self._models[name]
        with self._lock:
            each = known.setdefault(number, _Version())
            if each.state == "END" and each.error is None:  # was let go, and is wanted again
                each = known[number] = _Version()
            if each.servable or each.tries > MAX_LOAD_RETRIES or time.monotonic() < each.next_try:
                return
            each.state = "LOADING"
            each.tries += 1
        try:
            _check_place(f"version {number} of {name}", folder, [folder.parent.resolve()])
            servable = Servable(folder, scheduler=self._scheduler, config=self._session_config)
        except Exception as error:  # whatever is wrong with a version, it is wrong with it alone
            failed = (
                error if isinstance(error, ServingError) else ServingError("UNKNOWN", str(error))
            )
            _log.warning("%s version %d does not load: %s", name, number, error)
            with self._lock:
                each.state, each.error = "END", failed
                each.next_try = time.monotonic() + SECONDS_BETWEEN_RETRIES
            return
        _log.info("%s version %d is served", name, number)
        with self._lock:
            each.state, each.error, each.servable = "AVAILABLE", None, servable

    def _free(self, name: str, numbers: list[int]) -> None:
        """Lets versions go; their sessions end with the last request that uses them."""
        known = self._models[name]
        freed = [number for number in numbers if known[number].servable]
        with self._lock:
            for number in numbers:
                known[number].state, known[number].servable = "END", None
        for number in freed:
            _log.info("%s version %d is no longer served", name, number)
        if freed:
            gc.collect()

    def _label(self, name: str, config: ModelConfig) -> list[ServingError]:
        """Assigns the labels of a config, if all of them are of versions that answer."""
        with self._lock:
            if config.labels == self._labels.get(name, {}):
                return []
            for number in config.labels.values():
                each = self._models[name].get(number)
                if each is None or not each.servable:
                    return [
                        ServingError(
                            "FAILED_PRECONDITION",
                            f"Request to assign label to version {number} of model {name}, "
                            "which is not currently available for inference",
                        )
                    ]
            self._labels[name] = dict(config.labels)
            return []


def _check_place(what: str, folder: Path, roots: Sequence[Path]) -> None:
    """That a folder, wherever symbolic links lead, is in one of others."""
    path = folder.resolve()
    if not any(path.is_relative_to(root) for root in roots):
        raise ServingError(
            "PERMISSION_DENIED",
            f"Expected {what} in {' or '.join(map(str, roots))}. Received: {path}",
        )
