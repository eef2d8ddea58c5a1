"""What the C library is asked for, where there is one that understands."""

import ctypes
import platform
import sys
import types

import pytest

from applications.training import memory
from export.memory import give_back_freed


@pytest.mark.parametrize("ask", [memory.keep_freed, give_back_freed])
def test_glibc_is_asked_and_no_other(monkeypatch, ask):
    assert ask() == (platform.libc_ver()[0] == "glibc")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace())
    assert not ask()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", None)
    assert not ask()
