"""Additive attention in PyTorch, as it is written on paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def attend(query, key, value, v):
    scores = torch.tanh(query[:, :, None] + key[:, None]) @ v
    return torch.softmax(scores, -1) @ value


def works(arrays: Sequence[Any], compiled: bool, threads: int) -> list[Callable[[], Any]]:
    """The forward pass and the training step, which takes gradients of the context's sum."""
    torch.set_num_threads(threads)
    given = [torch.tensor(each) for each in arrays]
    called = torch.compile(attend) if compiled else attend

    def forward():
        with torch.no_grad():
            return [called(*given).numpy()]

    def train():
        leaves = [each.clone().requires_grad_() for each in given]
        called(*leaves).sum().backward()
        return [each.grad.numpy() for each in leaves]

    return [forward, train]


def why_not_compiled() -> str | None:
    """What is wrong with `torch.compile` here; it needs a C++ compiler, among others."""
    try:
        torch.compile(lambda x: torch.tanh(x) + x)(torch.ones(3))
    except Exception as error:  # Any part of a whole compiler may fail.
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return None
