"""The house stays in order: who imports whom, what is public, how long a file may be."""

import ast
from pathlib import Path

import pytest

import keras_attention

ROOT = Path(__file__).parent.parent
PACKAGES = ("keras_attention", "applications", "export")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
LEVELS = {
    "addressing": 0, "cells": 0, "compile": 0, "loop": 0, "masking": 0, "precision": 0,
    "recurrences": 0, "replicas": 0, "shapes": 0, "visualization": 0,
    "blockwise": 1, "losses": 1, "normalizers": 1, "search": 1,
    "scores": 2,
    "attention": 3, "pooling": 3, "score_function": 3,
    "glimpse": 4, "hard": 4, "local": 4, "memory_addressing": 4, "monotonic": 4,
    "multi_head": 4, "ntm": 4, "recurrent": 4, "stack": 4, "decoder": 5, "migration": 5,
}  # fmt: skip
TASKS = (
    "algorithmic",
    "captioning",
    "long_term_memory",
    "question_answering",
    "reading",
    "recognition",
    "speech",
    "translation",
)
STANDARD_ONLY_IN_FUNCTIONS = {"matplotlib": None, "tensorflow": {"compile", "loop", "replicas"}}


def imports(path, top_level_only=False):
    """The dotted names that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path):
    """The part of keras_attention that a file belongs to."""
    return path.relative_to(ROOT / "keras_attention").with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_uses_what_is_private_to_keras_or_grows_too_long(path):
    assert not [name for name in imports(path) if name.startswith("keras.src")]
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", [p for p in FILES if "keras_attention" in p.parts], ids=str)
def test_layers_import_from_lower_levels_only(path):
    here = room(path)
    if here == "__init__":
        return
    assert here in LEVELS, f"{here} has no level yet"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "keras_attention" and len(parts) > 1 and parts[1] in LEVELS:
            assert parts[1] == here or LEVELS[parts[1]] < LEVELS[here], f"{here} imports {name}"


@pytest.mark.parametrize("path", [p for p in FILES if "keras_attention" in p.parts], ids=str)
def test_layers_need_keras_and_numpy_only(path):
    for name in imports(path, top_level_only=True):
        assert name.split(".")[0] not in ("tensorflow", "matplotlib", "applications", "export")
    if "tensorflow" in {name.split(".")[0] for name in imports(path)}:
        assert room(path) in ("compile", "loop", "replicas")


@pytest.mark.parametrize("path", [p for p in FILES if "export" in p.parts], ids=str)
def test_export_knows_no_task_and_no_layer(path):
    assert not {name.split(".")[0] for name in imports(path)} & {"applications", "keras_attention"}


@pytest.mark.parametrize("task", TASKS)
def test_tasks_do_not_import_each_other_and_the_spine_imports_none(task):
    for path in (ROOT / "applications").rglob("*.py"):
        others = {f"applications.{other}" for other in TASKS if other not in path.parts}
        if "training" in path.parts or path.parent.name in TASKS:
            found = {".".join(name.split(".")[:2]) for name in imports(path)}
            assert not found & others, path


def test_every_task_folder_is_known_here():
    folders = {path.parent.name for path in (ROOT / "applications").glob("*/train.py")}
    assert folders == set(TASKS)


def test_public_names_are_sorted_and_exist():
    names = keras_attention.__all__
    assert names == sorted(names, key=lambda name: (name[0].islower(), name))
    assert all(hasattr(keras_attention, name) for name in names)


def test_no_two_classes_register_one_name():
    """Keras would load the one in place of the other, whichever was imported last."""
    owners: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(
                "register" in ast.unparse(each) for each in node.decorator_list
            ):
                package = path.relative_to(ROOT).parts[0]
                owners.setdefault(f"{package}>{node.name}", []).append(path.name)
    assert len(owners) > 50
    assert {name: paths for name, paths in owners.items() if len(paths) > 1} == {}
