"""Which devices train, and how a global batch is shared among them."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import tensorflow as tf

from applications.training.errors import UserError


class Placement(NamedTuple):
    """Where a model is built (`with placement.scope:`) and on how many devices it trains."""

    scope: contextlib.AbstractContextManager[Any]
    replicas: int
    devices: str


def place(strategy: str, batch_size: int) -> Placement:
    """The placement called `strategy`: "none", "mirrored" or "auto".

    Mirrored training keeps one copy of the model per GPU, or per logical CPU device where there
    is no GPU; each copy sees `batch_size / replicas` examples and gradients are averaged.
    """
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    if strategy == "none" or (strategy == "auto" and len(gpus) < 2):
        return Placement(contextlib.nullcontext(), 1, devices[0].name)
    if strategy not in ("mirrored", "auto"):
        raise UserError(f"--strategy must be none, mirrored or auto. Received: {strategy!r}")
    replicas = len(devices)
    if batch_size % replicas:
        raise UserError(
            f"--batch-size is shared among all devices and must be a multiple of their number, "
            f"{replicas}. Received: {batch_size}"
        )
    names = [device.name for device in devices]
    return Placement(tf.distribute.MirroredStrategy(names).scope(), replicas, ", ".join(names))
