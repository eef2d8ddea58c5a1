"""How gradients become updates of the weights: of several steps, of a scaled loss, or as they are.

Keras' optimizers add up gradients too, but not on several devices, and they average the weights at
every step instead of every update (3.15.1).
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
    average of the weights are of these. On several devices, all gradients have been summed before:
    see `strategy.synchronize`.

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
        at = self.step % self.steps
        for total, each in zip(self.sums, grads, strict=True):
            total.assign(tf.where(at == 0, tf.convert_to_tensor(each), total + each))
        self.step.assign_add(1)

        def update():
            super(Updates, self).apply([each / self.steps for each in self.sums])

        def update_if_due(distribution, is_due):
            # Replicas may meet within a condition only if all of them are in it together.
            tf.cond(
                distribution.experimental_local_results(is_due)[0],
                lambda: distribution.extended.call_for_each_replica(update),
                lambda: None,
            )

        is_due = at == self.steps - 1
        if tf.__internal__.distribute.strategy_supports_no_merge_call():  # as on a TPU
            tf.cond(is_due, update, lambda: None)
        else:
            tf.distribute.get_replica_context().merge_call(update_if_due, (is_due,))

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
