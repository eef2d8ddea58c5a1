"""Flags that are known only when the command line has been half read, and errors in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Collection
from typing import Any, TypeVar

import tyro

from applications.training.errors import UserError

T = TypeVar("T")


def parse(kind: type[T], command: str, arguments: list[str]) -> T:
    """`arguments` as a `kind`; a mistake becomes one line instead of the box tyro draws."""
    program = f"keras-attention {command}"
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(kind, prog=program, args=arguments)
    except SystemExit as done:
        if not done.code:
            raise
    raise UserError(f"{command}: {_unbox(box.getvalue())} See {program} --help")


def make(about: str, fields: list[tuple[str, Any, Any]]) -> type[Any]:
    """A frozen dataclass of (name, type, default) triples, for flags known only at run time."""
    specification = [
        (
            name,
            kind,
            dataclasses.field()
            if default is dataclasses.MISSING
            else dataclasses.field(default=default),
        )
        for name, kind, default in fields
    ]
    return dataclasses.make_dataclass(
        "Flags", specification, frozen=True, namespace={"__doc__": about}
    )


def value_of(name: str, arguments: list[str]) -> str | None:
    """The last value given to the flag `name`, as `--name value` or `--name=value`."""
    value = None
    for index, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            value = argument.partition("=")[2]
        elif argument == name and index + 1 < len(arguments):
            value = arguments[index + 1]
    return value


def without(names: Collection[str], arguments: list[str]) -> list[str]:
    """`arguments` without these flags and their values."""
    kept: list[str] = []
    is_value = False
    for argument in arguments:
        if not is_value and argument.partition("=")[0] not in names:
            kept.append(argument)
        is_value = not is_value and argument in names
    return kept


def _unbox(text: str) -> str:
    """The error that tyro drew in a box, and the flags it suggests, as one line."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    rows = [row.strip("│ ") for row in text.splitlines() if row.startswith("│")]
    paragraphs: list[list[str]] = [[]]
    for row in rows:
        if set(row) == {"─"}:
            paragraphs.append([])
        else:
            paragraphs[-1].append(row)
    sentence = " ".join(paragraphs[0]) or text.strip()
    for paragraph in paragraphs[1:]:
        if paragraph and paragraph[0].startswith("Perhaps you meant"):
            flags = [row.split()[0] for row in paragraph[1:] if row.startswith("--")]
            sentence += f" (did you mean {' or '.join(flags)}?)"
    return sentence
