"""Helpers for the tests of the training spine."""

from __future__ import annotations

import pytest


@pytest.fixture
def command(monkeypatch, capfd):
    """Runs `keras-attention` with the tiny task in this process; returns status, out and err."""
    import tensorflow as tf

    from applications import cli

    tf.config.list_logical_devices()  # Prints, once, where there is no GPU.
    monkeypatch.setitem(cli.TASKS, "tiny", "tests.applications.tiny:TASK")

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.fixture
def refuse(command):
    """Runs a command that must fail; returns its only line on standard error."""

    def run(*arguments: object, status: int = 2) -> str:
        found, _, err = command(*arguments)
        assert found == status
        assert err.endswith("\n") and err.count("\n") == 1 and err.startswith("keras-attention: ")
        return err

    return run
