"""Output tensors to the JSON of a REST answer, by the rules of TensorFlow Serving."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

import numpy as np

from export.dev_server.json_values import invalid
from export.dev_server.tensor_protos import dtype_of, type_name


def dumps(value: Any) -> bytes:
    """JSON as the server sends it: bytes that are no UTF-8 go out as they came in."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate from a `\uD800` in a request
        return text.encode("utf-8", "backslashreplace")


def write_predictions(outputs: Mapping[str, np.ndarray], *, row: bool) -> bytes:
    """The body of an answer.

    Args:
        outputs: name -> array. A string output is written as text, unless its name ends in
            `_bytes`: then as `{"b64": ...}`.
        row: one object or value per row of the batch, under `predictions`; else one array per
            output, under `outputs`. A single output stands without its name.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    text = _rows(outputs) if row else _columns(outputs)
    return text.encode("utf-8", "surrogateescape")


def _columns(outputs: Mapping[str, np.ndarray]) -> str:
    columns = {name: _nest(name, array, 0)[0] for name, array in sorted(outputs.items())}
    if len(columns) == 1:
        return f'{{"outputs": {next(iter(columns.values()))}}}'
    return f'{{"outputs": {_object(columns)}}}'


def _rows(outputs: Mapping[str, np.ndarray]) -> str:
    first: int | None = None
    for name, array in sorted(outputs.items()):
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if first is None:
            first = len(array)
        elif len(array) != first:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {first}"
            )
    columns = {name: _nest(name, array, 1) for name, array in sorted(outputs.items())}
    if len(columns) == 1:
        rows = next(iter(columns.values()))
    else:
        rows = [
            _object(dict(zip(columns, row, strict=True)))
            for row in zip(*columns.values(), strict=True)
        ]
    return f'{{"predictions": [{", ".join(rows)}]}}'


def _object(members: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in members.items()) + "}"


def _nest(name: str, array: np.ndarray, outer: int) -> list[str]:
    """The texts of an array's elements, bracketed axis by axis from the innermost to `outer`."""
    texts = _texts(name, array)
    for axis in reversed(range(outer, array.ndim)):
        size, count = array.shape[axis], math.prod(array.shape[:axis])
        texts = [f"[{', '.join(texts[i * size : (i + 1) * size])}]" for i in range(count)]
    return texts


def _texts(name: str, array: np.ndarray) -> list[str]:
    values = array.ravel()
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "O":
        as_base64 = name.endswith("_bytes")
        return [string(value, as_base64) for value in values.tolist()]
    if kind == "f" and size in (4, 8):
        return decimals(values)
    if kind == "b":
        return ["true" if value else "false" for value in values.tolist()]
    if kind in "iu":
        return list(map(str, values.tolist()))
    raise invalid(f"Failed to write JSON value for tensor type: {type_name(dtype_of(array))}")


def string(value: bytes, as_base64: bool = False) -> str:
    """A string as text, or as `{"b64": ...}`."""
    if as_base64:
        return json.dumps({"b64": base64.b64encode(value).decode("ascii")})
    return encode_basestring(value.decode("utf-8", "surrogateescape"))


def decimals(values: np.ndarray) -> list[str]:
    """Six digits where they say it all, else as many as the type needs; never a bare integer.

    Zeros, which most of a padded output is, cost next to nothing.
    """
    texts = ["0.0"] * len(values)
    others = np.flatnonzero((values != 0) | np.signbit(values))
    for place, text in zip(others.tolist(), _not_zero(values[others]), strict=True):
        texts[place] = text
    return texts


def _not_zero(values: np.ndarray) -> list[str]:
    numbers = values.tolist()
    texts = _printed(numbers, 9 if values.dtype == np.float32 else 17)
    tried = np.flatnonzero(_maybe_short(values))
    short = _printed([numbers[index] for index in tried.tolist()], 6)
    with np.errstate(over="ignore"):
        again = np.array(list(map(float, short))).astype(values.dtype)
    for index in np.flatnonzero(again == values[tried]).tolist():
        texts[tried[index]] = short[index]
    return [text if "." in text else _decimal(text) for text in texts]


def _maybe_short(values: np.ndarray) -> np.ndarray:
    """False where six digits cannot say all of a number, which is cheaper than to try."""
    sizes = np.abs(values, dtype=np.float64)
    with np.errstate(all="ignore"):
        scaled = sizes * 10.0 ** (5 - np.floor(np.log10(sizes)))  # six digits before the point
        beyond = np.abs(scaled - np.rint(scaled))
    # What a normal number of 24 bits is off the six digits that mean it is 1e6 / 2**24 at most.
    return ~((beyond > 0.1) & (sizes > 1e-37))


def _printed(numbers: list[float], digits: int) -> list[str]:
    """The numbers with so many digits: by one format of all, which takes half the time."""
    return (f"%.{digits}g " * len(numbers) % tuple(numbers)).split()


def _decimal(text: str) -> str:
    if text == "nan":
        return "NaN"
    if text in ("inf", "-inf"):
        return text.replace("inf", "Infinity")
    return text if "e" in text else text + ".0"
