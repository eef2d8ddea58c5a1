"""Signatures to `base/<version>/`: written beside, checked, and renamed into place."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import keras
import numpy as np
import tensorflow as tf

from export.dev_server.servable import Servable
from export.graph import PYTHON, compiled_functions, op_names, read_meta_graph
from export.layout import DEFAULT_SIGNATURE, WARMUP_FILE, are_batch_sizes, versions
from export.signatures import Signature, check_name
from export.warmup import write_warmup

Asset = Path | bytes | Callable[[Path], bytes]


def write(
    base: str | os.PathLike[str],
    signatures: Mapping[str, Signature],
    *,
    resources: Sequence[object] = (),
    assets: Mapping[str, Asset] | None = None,
    batch_sizes: Sequence[int] = (),
) -> Path:
    """Writes a SavedModel that stock TensorFlow Serving loads, as the next version below `base`.

    The version is complete, flushed to disk, and has loaded and answered its own warm-up records
    in a TensorFlow session before it gets its name; a server that polls `base` never sees less.
    If anything fails, nothing is left behind.

    Args:
        base: the folder of the model, such as `exports/translation`; versions are its children.
        signatures: name -> `Signature`; `"serving_default"` must be one of them.
        resources: what the functions use and the SavedModel must hold: Keras layers and models,
            lookup tables, tokenizers, `tf.Module`s.
        assets: files to put into `assets.extra/`: name -> path to copy, bytes to write, or a
            function that makes them of the folder that holds the SavedModel, such as a model card.

        batch_sizes: what the warm-up records cover beside the examples as they are: of each
            example of a single row, batches of these sizes, all of that row. They should be the
            sizes that the server rounds up to (see `write_server_config`), as each may be slow when
            it is met first. All records are run here, and whenever a server loads the version.

    Returns:
        The folder of the new version.

    Raises:
        ValueError: if a signature cannot be served: see the message.
        ServingError: if the written model does not load, or fails on an example.
    """
    base = Path(base)
    _check_signatures(signatures)
    if not are_batch_sizes(batch_sizes):
        raise ValueError(f"`batch_sizes` must rise from at least 1. Received: {batch_sizes!r}.")
    extra = _check_assets(assets or {})
    with _temporary_folder(base) as temporary:
        folder = temporary / "version"  # made by TensorFlow, so with the umask's own permissions
        _save(folder, signatures, resources)
        _write_assets(folder, extra)
        write_warmup(folder, signatures, batch_sizes)
        _check_saved(folder)
        _flush(folder)
        return _publish(folder, base)


def check_parity(
    version: str | os.PathLike[str],
    signatures: Mapping[str, Signature],
    *,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    """Compares the written model with the functions it was written from, on all their examples.

    Raises:
        ValueError: naming the first output that differs, and by how much.
    """
    with Servable(Path(version), warm_up=False) as servable:
        for name, signature in signatures.items():
            function = signature.trace()
            for index in range(len(signature.examples)):
                request = signature.arrays(index)
                tensors = {
                    key: tf.constant(value, signature.inputs[key].dtype)
                    for key, value in request.items()
                }
                expected = {key: value.numpy() for key, value in function(**tensors).items()}
                served = servable.predict(request, signature=name)
                for key in expected:
                    where = f"Output `{key}` of signature `{name}`, example {index}"
                    compare(where, served[key], expected[key], rtol, atol)


def compare(where: str, served: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> None:
    """Raises a `ValueError` that says where, unless both are equal, or near if they are floats."""
    if served.shape != np.shape(expected):
        raise ValueError(
            f"{where}: expected the shape {np.shape(expected)}. Received: {served.shape}."
        )
    if served.dtype.kind != "f":
        if not np.array_equal(served, expected):
            raise ValueError(f"{where}: expected {expected!r}. Received: {served!r}.")
    elif not np.allclose(served, expected, rtol, atol, equal_nan=True):
        worst = np.nanmax(np.abs(served - expected))
        raise ValueError(f"{where}: expected the function's own values. Received: off by {worst}.")


def _check_signatures(signatures: Mapping[str, Signature]) -> None:
    if DEFAULT_SIGNATURE not in signatures:
        raise ValueError(
            f"One signature must be named {DEFAULT_SIGNATURE!r}. Received: {sorted(signatures)}."
        )
    for name, signature in signatures.items():
        check_name(name, "Signature")
        if not isinstance(signature, Signature):
            raise ValueError(f"`{name}` must be a Signature. Received: {signature!r}.")


def _check_assets(assets: Mapping[str, Asset]) -> dict[PurePosixPath, Asset]:
    checked = {}
    for name, content in assets.items():
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or name == WARMUP_FILE.name:
            raise ValueError(
                "The name of an asset must be a relative path below assets.extra/, other than "
                f"{WARMUP_FILE.name!r}. Received: {name!r}."
            )
        checked[path] = content
    return checked


@contextlib.contextmanager
def _temporary_folder(base: Path) -> Iterator[Path]:
    """A folder in `base`, where a rename stays on one file system; servers skip its name."""
    made_base = not base.exists()
    base.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=base))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if made_base and not any(base.iterdir()):
            base.rmdir()


def _save(folder: Path, signatures: Mapping[str, Signature], resources: Sequence[object]) -> None:
    archive = keras.export.ExportArchive()
    for name, signature in signatures.items():
        archive.add_endpoint(name, signature.trace())
    for resource in resources:  # only now: Keras tracks built layers, and tracing builds them
        archive.track(resource)
    try:
        archive.write_out(str(folder), verbose=False)
    except AssertionError as error:
        found = re.search(r"Trackable referencing this tensor = (.*)", str(error))
        if "untracked" not in str(error):
            raise
        raise ValueError(
            "`resources` must list what the functions use: layers, tables, tokenizers. "
            f"Received: a function that uses {found[1] if found else 'something else'}."
        ) from error


def _write_assets(folder: Path, assets: Mapping[PurePosixPath, Asset]) -> None:
    for name, asset in assets.items():
        content = asset(folder) if callable(asset) else asset
        path = folder / WARMUP_FILE.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else Path(content).read_bytes())


def _check_saved(folder: Path) -> None:
    """Reads back what was written: no function that a stock server would refuse, and it answers."""
    meta_graph = read_meta_graph(folder)
    compiled = compiled_functions(meta_graph)
    if compiled:
        raise ValueError(
            "A signature must not call a function compiled with jit_compile=True: a stock server "
            f"answers `XLA compilation disabled`. Received: {', '.join(compiled)}."
        )
    python = sorted(PYTHON & op_names(meta_graph))
    if python:
        raise ValueError(
            "A signature must not call Python, as tf.py_function and tf.numpy_function do: it does "
            f"not travel to a server. Received: {', '.join(python)}."
        )
    Servable(folder).close()


def _flush(folder: Path) -> None:
    """Waits until every file and every folder below `folder` is on the disk."""
    for path in [*folder.rglob("*"), folder]:
        _flush_one(path)


def _flush_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(folder: Path, base: Path) -> Path:
    """Gives `folder` the next free number below `base`, also when somebody else does the same."""
    number = max(versions(base), default=0)
    while True:
        number += 1
        final = base / str(number)
        try:
            os.rename(folder, final)  # refused where `final` is a file or a folder not empty
        except OSError:
            if not final.exists():
                raise
        else:
            _flush_one(base)
            return final
