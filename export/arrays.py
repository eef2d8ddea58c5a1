"""What a caller hands in, as arrays of the types that a server declares."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np

from export.errors import ExportError


def to_array(value: Any, declared: str | None) -> np.ndarray:
    """A value of the caller as an array: strings as objects of bytes, numbers of the declared type.

    A conversion that would change the meaning (a fraction to an integer, a truth value to a
    number, an integer out of range) is left undone.

    Args:
        value: an array, or nested lists of numbers, of strings or of bytes.
        declared: the name of the type, such as `"float32"` or `"string"`; None if not known.

    Raises:
        ExportError: if the value is not rectangular, or holds what is no number and no string.
    """
    if isinstance(_first(value), str | bytes):
        return to_bytes(value)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ExportError(f"An input must be a rectangular array. {error}.") from error
    if array.size and array.dtype == object:
        raise ExportError(
            f"An input must be of numbers or of strings. Received: {_first(array)!r}."
        )
    if declared is None or array.dtype.name == declared:
        return array
    if declared == "string":
        return array if array.size else array.astype(object)
    target = numpy_type(declared)
    if target is None:
        return array
    if array.size and (array.dtype.kind == "b" or not np.can_cast(array, target, "same_kind")):
        return array
    with np.errstate(over="ignore"):
        converted = array.astype(target)
    if target.kind in "iu" and not np.array_equal(converted, array):
        return array
    return converted


def to_bytes(value: Any) -> np.ndarray:
    """Strings and bytes, nested or not, as an object array of bytes."""
    array = np.array(value, dtype=object)  # not of kind S: that one drops trailing zero bytes
    flat = np.empty(array.size, object)
    for index, item in enumerate(array.ravel()):
        if not isinstance(item, str | bytes):
            raise ExportError(
                f"A string input must be a rectangular array of strings. Received: {item!r} in it."
            )
        flat[index] = item.encode("utf-8", "surrogateescape") if isinstance(item, str) else item
    return flat.reshape(array.shape)


@functools.lru_cache
def numpy_type(name: str) -> np.dtype | None:
    """NumPy's type of that name, or that of ml_dtypes (bfloat16 and smaller); None if none has."""
    try:
        return np.dtype(name)
    except TypeError:
        pass
    try:
        return np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
    except (ImportError, AttributeError):
        return None


def _first(value: Any) -> Any:
    """The element at the corner of nested lists or of an array."""
    if isinstance(value, np.ndarray):
        return value.flat[0] if value.size else None
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return value
