"""Which devices train, and how a global batch is shared among them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from applications.training.config import TrainConfig
from applications.training.errors import UserError


class Placement(NamedTuple):
    """Where a model is built (`with placement.scope:`) and on how many devices it trains."""

    strategy: tf.distribute.Strategy
    devices: str
    is_chief: bool = True
    """Whether this process writes; of several workers one does."""
    workers: int = 1

    @property
    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Where variables are made."""
        return self.strategy.scope() if self.replicas > 1 else contextlib.nullcontext()

    @property
    def replicas(self) -> int:
        """How many copies of the model there are, over all workers."""
        return self.strategy.num_replicas_in_sync

    def distribute(self, dataset: tf.data.Dataset) -> Any:
        """`dataset`, of global batches, as what gives each replica its part of every one.

        Every worker draws the same batches and keeps its rows: replica r of R has rows `r B / R` to
        `(r + 1) B / R` of B, as one device would see them together.
        """
        if self.replicas == 1:
            return dataset

        def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
            local = self.replicas // context.num_input_pipelines
            first = local * context.input_pipeline_id

            def part(each: tf.Tensor) -> tf.Tensor:
                shape = tf.shape(each)
                parts = tf.reshape(each, tf.concat([[self.replicas, -1], shape[1:]], axis=0))
                return tf.ensure_shape(parts[first : first + local], [local, None, *each.shape[1:]])

            cut = dataset.map(lambda *batch: tf.nest.map_structure(part, batch))
            return cut.unbatch().prefetch(local)

        return self.strategy.distribute_datasets_from_function(of_worker)

    def scaled(self, settings: TrainConfig) -> TrainConfig:
        """`settings` with the learning rate that this many replicas train with.

        Reference: Goyal et al., 2017, https://arxiv.org/abs/1706.02677 (section 2.1), for "linear".
        """
        how = settings.learning_rate_scaling
        factor = {"none": 1.0, "linear": self.replicas, "sqrt": math.sqrt(self.replicas)}[how]
        return dataclasses.replace(settings, learning_rate=settings.learning_rate * factor)

    def wait_for_all(self) -> None:
        """Returns when all workers have come as far as this."""
        if self.workers > 1:

            @tf.function
            def meet() -> tf.Tensor:
                here = self.strategy.run(lambda: tf.constant(1.0))
                return self.strategy.reduce("SUM", here, axis=None)

            meet()


_replicas = 1


def replicas() -> int:
    """How many replicas this process has placed a model on; 1 before it does."""
    return _replicas


def place(strategy: str, batch_size: int) -> Placement:
    """The placement called `strategy`, one of those of `TrainConfig`.

    Every replica keeps a copy of the model and sees `batch_size / replicas` examples; gradients are
    summed. To be called before anything else of TensorFlow runs, as workers have to find each other
    first.
    """
    global _replicas
    if strategy == "multi_worker":
        placement = _multi_worker()
    elif strategy == "tpu":
        placement = _tpu()
    elif strategy in ("none", "auto", "mirrored"):
        placement = _this_machine(strategy)
    else:
        raise UserError(
            f"--strategy must be none, auto, mirrored, multi_worker or tpu. Received: {strategy!r}"
        )
    if batch_size % placement.replicas:
        raise UserError(
            "--batch-size is shared among all devices and must be a multiple of their number, "
            f"{placement.replicas}. Received: {batch_size}"
        )
    _replicas = placement.replicas
    return placement


def synchronize(optimizer: keras.optimizers.Optimizer) -> None:
    """Has `optimizer` sum the gradients of all replicas before it does anything with them.

    Keras clips the gradient of each replica, and sums what is left: with several devices, other
    steps are taken than with one.
    """
    apply = optimizer.apply

    def apply_sum(grads: list[Any], trainable_variables: Any = None) -> None:
        there = [grad for grad in grads if grad is not None]
        summed = iter(tf.distribute.get_replica_context().all_reduce("SUM", there))
        apply([None if grad is None else next(summed) for grad in grads], trainable_variables)

    optimizer.apply = apply_sum
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    inner._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars


def _this_machine(strategy: str) -> Placement:
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    if strategy == "none" or (strategy == "auto" and len(gpus) < 2) or len(devices) == 1:
        return Placement(tf.distribute.get_strategy(), devices[0].name)
    names = [device.name for device in devices]
    return Placement(tf.distribute.MirroredStrategy(names), ", ".join(names))


def _multi_worker() -> Placement:
    told = os.environ.get("TF_CONFIG", "")
    try:
        cluster = json.loads(told)
        jobs, task = cluster["cluster"], cluster["task"]
        kind, index = str(task["type"]), int(task["index"])
        count = sum(len(jobs.get(job, ())) for job in ("chief", "worker"))
        known = kind in ("chief", "worker") and index < len(jobs[kind])
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise UserError(
            "--strategy multi_worker needs the environment variable TF_CONFIG, such as "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
            '"task": {"type": "worker", "index": 0}}, on each worker with its own index. '
            f"Received: {told or 'none'}"
        )
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    is_chief = kind == "chief" or ("chief" not in jobs and index == 0)
    return Placement(strategy, f"{count} workers, of which this is {kind} {index}", is_chief, count)


def _tpu() -> Placement:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--strategy tpu needs a TPU, and none was found: {reason}") from None
    strategy = tf.distribute.TPUStrategy(resolver)
    return Placement(strategy, f"{strategy.num_replicas_in_sync} TPU cores")
