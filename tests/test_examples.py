"""Every example in a docstring, and every one in a README, runs."""

import doctest
import importlib
from pathlib import Path

import keras
import pytest

import keras_attention

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("keras_attention", "applications", "export")
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
PUBLIC = {"keras": keras} | {
    name: getattr(keras_attention, name) for name in keras_attention.__all__
}
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name):
    module = importlib.import_module(name.removesuffix(".__init__"))
    result = doctest.testmod(module, optionflags=FLAGS, extraglobs=PUBLIC)
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize("name", ["README.md", "MIGRATING.md", "export/README.md"])
def test_examples_of_the_page(name):
    result = doctest.testfile(
        str(ROOT / name), module_relative=False, optionflags=FLAGS, encoding="utf-8"
    )
    assert result.attempted > 0 and result.failed == 0
