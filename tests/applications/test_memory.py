"""What the C library is asked for, where there is one that understands."""

import ctypes
import platform
import sys
import types

from applications.training import memory


def test_glibc_is_asked_and_no_other(monkeypatch):
    assert memory.keep_freed() == (platform.libc_ver()[0] == "glibc")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace())
    assert not memory.keep_freed()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", None)
    assert not memory.keep_freed()
