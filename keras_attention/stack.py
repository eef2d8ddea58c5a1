"""A recurrent network that remembers on stacks.

Shapes: B batch, K stacks of D numbers each, top first, of which the network sees the first V.
"""

from __future__ import annotations

import keras
from keras import ops

register = keras.saving.register_keras_serializable(package="keras_attention")

EMPTY = -1.0


@register
class StackCell(keras.layers.Layer):
    """A Keras RNN cell that pushes to stacks and pops from them, all a little at a time.

    With `top_{t-1}` the uppermost numbers of all stacks, and for each stack by itself:

    `h_t = sigmoid(U x_t + R h_{t-1} + P top_{t-1} + b)`,
    `push, pop, keep = softmax(A h_t)`,
    `stack_t[0] = push sigmoid(D h_t) + pop stack_{t-1}[1] + keep stack_{t-1}[0]`,
    `stack_t[i] = push stack_{t-1}[i-1] + pop stack_{t-1}[i+1] + keep stack_{t-1}[i]`

    Below its bottom a stack is -1 throughout, as it is before the first step; what is pushed beyond
    its depth is lost. The output is `h_t`.

    Args:
        units: Width of h.
        num_stacks: K.
        depth: D, at least as deep as anything is ever to be piled.
        visible: V, how many numbers from the top the network sees. The paper's is 2.
        keep: Whether a stack may also stay as it is.
        recurrent: Whether there is an R. Without, all memory is on the stacks, as in the paper's
            experiments with formal languages.
        rounding: Whether, where nothing is trained, each stack does only what is most probable. It
            keeps a trained automaton exact over sequences far longer than it was trained on.

    Call arguments:
        inputs: Tensor of shape (B, X).
        states: `h` before, (B, units), and the stacks before, (B, K * D).
        training: Whether `rounding` must wait.

    Returns:
        `h`, of shape (B, units), and the states after.

    Its beginning is `get_initial_state`, not zeros, which is what `reset_state` of a
    `keras.layers.RNN` with `stateful=True` sets: give the first piece of a sequence
    `initial_state=cell.get_initial_state(B)` there.

    Example:

    >>> network = keras.layers.RNN(StackCell(40, num_stacks=10, depth=200), return_sequences=True)
    >>> network(keras.ops.ones((2, 3, 5))).shape
    TensorShape([2, 3, 40])

    Reference: Joulin & Mikolov, 2015, Inferring Algorithmic Patterns with Stack-Augmented Recurrent
    Nets, https://arxiv.org/abs/1503.01007 (section 3.2).
    """

    def __init__(
        self,
        units,
        num_stacks=1,
        depth=200,
        visible=2,
        keep=False,
        recurrent=False,
        rounding=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        sizes = {"units": units, "num_stacks": num_stacks, "depth": depth, "visible": visible}
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {name}={size!r}.")
        if visible > depth:
            raise ValueError(
                f"`visible` must be at most `depth`. Received: visible={visible}, depth={depth}."
            )
        self.units, self.num_stacks, self.depth, self.visible = units, num_stacks, depth, visible
        self.keep, self.recurrent, self.rounding = keep, recurrent, rounding
        self.num_moves = 3 if keep else 2
        self.state_size = [units, num_stacks * depth]
        self.output_size = units
        policy = self.dtype_policy
        self.hidden = keras.layers.Dense(units, "sigmoid", name="hidden", dtype=policy)
        self.moves = keras.layers.Dense(num_stacks * self.num_moves, name="moves", dtype=policy)
        self.pushed = keras.layers.Dense(num_stacks, "sigmoid", name="pushed", dtype=policy)

    def build(self, inputs_shape):
        seen = inputs_shape[-1] + self.num_stacks * self.visible
        seen += self.units if self.recurrent else 0
        for layer, width in (
            (self.hidden, seen),
            (self.moves, self.units),
            (self.pushed, self.units),
        ):
            if not layer.built:
                layer.build((inputs_shape[0], width))

    def get_initial_state(self, batch_size=None):
        """No memory of anything, and empty stacks."""
        hidden = ops.zeros((batch_size, self.units), self.compute_dtype)
        return [hidden, ops.full((batch_size, self.state_size[1]), EMPTY, self.compute_dtype)]

    def call(self, inputs, states, training=False):
        hidden, flat = states
        stacks = ops.reshape(flat, (-1, self.num_stacks, self.depth))
        top = ops.reshape(stacks[:, :, : self.visible], (-1, self.num_stacks * self.visible))
        seen = [ops.cast(inputs, self.compute_dtype), top, *([hidden] if self.recurrent else [])]
        hidden = self.hidden(ops.concatenate(seen, axis=-1))
        push, pop, *keep = self._moves(hidden, training)
        below = ops.full_like(stacks[:, :, :1], EMPTY)
        pushed = ops.concatenate([self.pushed(hidden)[:, :, None], stacks[:, :, :-1]], axis=-1)
        popped = ops.concatenate([stacks[:, :, 1:], below], axis=-1)
        stacks = push * pushed + pop * popped + (keep[0] * stacks if keep else 0.0)
        return hidden, [hidden, ops.reshape(stacks, (-1, self.num_stacks * self.depth))]

    def _moves(self, hidden, training):
        """How much each stack pushes, pops and keeps: (B, K, 1) each."""
        scores = ops.reshape(self.moves(hidden), (-1, self.num_stacks, self.num_moves))
        if self.rounding and not training:
            moves = ops.one_hot(ops.argmax(scores, axis=-1), self.num_moves, dtype=scores.dtype)
        else:
            moves = ops.softmax(scores, axis=-1)
        return ops.split(moves, self.num_moves, axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "num_stacks": self.num_stacks,
            "depth": self.depth,
            "visible": self.visible,
            "keep": self.keep,
            "recurrent": self.recurrent,
            "rounding": self.rounding,
        }
