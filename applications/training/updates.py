"""How gradients become updates of the weights: of several steps, of a scaled loss, or as they are.

Keras has both, but neither trains on several devices (3.15.1): what its optimizers add up cannot be
applied under `MirroredStrategy`, and its `LossScaleOptimizer` asks the first device alone whether
all gradients are finite.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from applications.training.config import TrainConfig

NEVER = 2**31 - 1  # no training has so many steps


@keras.saving.register_keras_serializable(package="keras_attention_applications")
class Updates(keras.optimizers.LossScaleOptimizer):
    """Updates by the mean gradient of so many steps; an update that is not finite is left out.

    The inner optimizer knows of nothing but updates: its learning rate, its count and its moving
    average of the weights are of these.

    Args:
        inner_optimizer: The optimizer, not built yet.
        steps: Steps an update.
        **options: Of `keras.optimizers.LossScaleOptimizer`.
    """

    def __init__(self, inner_optimizer, steps: int = 1, **options):
        super().__init__(inner_optimizer, **options)
        self.steps = steps

    def build(self, variables):
        if self.steps > 1:
            self.step = self.add_variable((), dtype="int", name="step")
            self.sums = self.add_optimizer_variables(variables, "sum")
        super().build(variables)

    def apply(self, grads, trainable_variables=None):
        if self.steps == 1:
            super().apply(grads, trainable_variables)
            return
        if not self.built:
            self.build(trainable_variables)
        context = tf.distribute.get_replica_context()
        # Equal on all devices, so that a checkpoint may hold what one of them has.
        grads = context.all_reduce("sum", [tf.convert_to_tensor(each) for each in grads])
        at = self.step % self.steps
        for total, each in zip(self.sums, grads, strict=True):
            total.assign(tf.where(at == 0, each, total + each))
        self.step.assign_add(1)
        context.merge_call(self._update_if_due, (at == self.steps - 1, trainable_variables))

    def _update_if_due(self, distribution, is_due, trainable_variables):
        """On all devices, as a condition may not be met by one of them alone."""
        replicas = distribution.num_replicas_in_sync

        def update():
            means = [total / (self.steps * replicas) for total in self.sums]
            super(Updates, self).apply(means, trainable_variables)

        tf.cond(
            distribution.experimental_local_results(is_due)[0],
            lambda: distribution.extended.call_for_each_replica(update),
            lambda: None,
        )

    def check_finite(self, grads):
        finite = super().check_finite(grads)
        others = tf.distribute.get_replica_context().all_reduce("sum", tf.cast(finite, "int32"))
        return others == tf.distribute.get_strategy().num_replicas_in_sync

    def get_config(self):
        return {**super().get_config(), "steps": self.steps}


def of(optimizer: Any, config: TrainConfig) -> Any:
    """`optimizer` as a run is to use it: what a task compiles its model with."""
    if config.precision == "mixed_float16":
        return Updates(optimizer, config.accumulate)
    if config.accumulate > 1:
        return Updates(optimizer, config.accumulate, initial_scale=1.0, dynamic_growth_steps=NEVER)
    return optimizer


def check(optimizer: Any, config: TrainConfig) -> None:
    """Raises an error where a task has not compiled its model with what `of` gives."""
    if type(of(optimizer, config)) is not type(optimizer):
        raise ValueError(
            "A task must compile its model with `updates.of(optimizer, config)`, or its flags "
            f"--accumulate and --precision mixed_float16 would do nothing. Received: {optimizer}"
        )
