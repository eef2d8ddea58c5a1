"""The Neural Turing Machine: a network that reads and writes a memory by attention.

Shapes: B batch, R read heads, W write heads, N slots of width M, S shifts.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_attention import addressing, cells, precision

register = keras.saving.register_keras_serializable(package="keras_attention")

WEIGHTINGS = ("learned", "focused", "uniform")
_CLIP = 20.0


@register
class NTMCell(keras.layers.Layer):
    """A Keras RNN cell with a memory that it finds its way in by content and by place.

    At each step the controller sees the input and what was read before. From its output `h`, one
    linear layer gives every head a key k in (-1, 1), a strength beta >= 0, a gate g in (0, 1), a
    distribution s over shifts and a power gamma >= 1, and every write head also what to erase, in
    (0, 1), and what to add, in (-1, 1):

    `content = softmax_i(beta cosine(k, memory_i))`,
    `gated = g content + (1 - g) previous weights`,
    `weights = sharpen(shift(gated, s), gamma)`,
    `read = sum_i weights_i memory_i`,
    `memory_i = memory_i prod(1 - weights_i erase) + sum weights_i add`, over write heads

    Heads read the memory as it was before the writes of the same step. The output is `[h ; reads]`,
    in which h is clipped to what is between -20 and 20, as what comes of it goes through
    exponentials.

    Args:
        controller: A Keras RNN cell, such as `LSTMCell(100)` or `StackedRNNCells`; or a layer
            without a state, such as `Dense(100, "tanh")`, for a feed-forward controller. Its
            dropout, if it has any, is drawn anew at every step.
        num_slots: N.
        slot_width: M.
        num_reads: R.
        num_writes: W.
        max_shift: How far a head may move in one step; S is `2 max_shift + 1`.
        memory_initializer: Initializer of the memory before the first step, of shape (N, M). By
            default, a normal distribution with a standard deviation of 0.5: slots that differ
            are told apart by content. `Constant(1e-6)` is the one of Collier & Beel.
        trainable_memory: Whether that memory is learned.
        initial_weighting: Where the heads are before the first step: "learned", of random logits
            at first; "focused", on slot 0; or "uniform". With a memory of equal slots and uniform
            weightings, all slots stay equal for ever.
        shift_bias: Added to the logit of the shift by 0, and
        gate_bias: to the logit of the gate: where a head tends to at first.

    Call arguments:
        inputs: Tensor of shape (B, D).
        states: The states before: those of the controller, the reads (B, R * M), the weights
            (B, (R + W) * N), read heads first, and the memory (B, N * M).

    Returns:
        The output, of shape (B, units + R * M), and the states after.

    Its beginning is `get_initial_state`, not zeros, which is what `reset_state` of a
    `keras.layers.RNN` with `stateful=True` sets: give the first piece of a sequence
    `initial_state=cell.get_initial_state(B)` there.

    Example: a machine over sequences, and what to tell from its outputs.

    >>> machine = keras.layers.RNN(
    ...     NTMCell(keras.layers.LSTMCell(100), num_slots=128, slot_width=20),
    ...     return_sequences=True,
    ... )
    >>> machine(keras.ops.ones((2, 3, 9))).shape
    TensorShape([2, 3, 120])

    Reference: Graves, Wayne & Danihelka, 2014, Neural Turing Machines,
    https://arxiv.org/abs/1410.5401 (section 3); initial states: Collier & Beel, 2018, Implementing
    Neural Turing Machines, https://arxiv.org/abs/1807.08518.
    """

    def __init__(
        self,
        controller,
        num_slots=128,
        slot_width=20,
        num_reads=1,
        num_writes=1,
        max_shift=1,
        memory_initializer=None,
        trainable_memory=False,
        initial_weighting="learned",
        shift_bias=0.0,
        gate_bias=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        sizes = {
            "num_slots": num_slots,
            "slot_width": slot_width,
            "num_reads": num_reads,
            "num_writes": num_writes,
        }
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {name}={size!r}.")
        if not isinstance(max_shift, int) or not 0 <= 2 * max_shift < num_slots:
            raise ValueError(
                "`max_shift` must be a whole number, less than half of `num_slots`. "
                f"Received: max_shift={max_shift!r}, num_slots={num_slots!r}."
            )
        if initial_weighting not in WEIGHTINGS:
            raise ValueError(
                f"`initial_weighting` must be one of {WEIGHTINGS}. "
                f"Received: initial_weighting={initial_weighting!r}."
            )
        self.controller = controller
        self.num_slots, self.slot_width = num_slots, slot_width
        self.num_reads, self.num_writes = num_reads, num_writes
        self.max_shift = max_shift
        self.memory_initializer = keras.initializers.get(
            keras.initializers.RandomNormal(stddev=0.5)
            if memory_initializer is None
            else memory_initializer
        )
        self.trainable_memory = trainable_memory
        self.initial_weighting = initial_weighting
        self.shift_bias, self.gate_bias = shift_bias, gate_bias
        self._lay_out()

    def _lay_out(self):
        """The sizes of states and outputs, and of what the linear layer gives each head."""
        heads, width = self.num_reads + self.num_writes, self.slot_width
        sizes = getattr(self.controller, "state_size", [])
        self._controller_sizes = list(sizes) if isinstance(sizes, (list, tuple)) else [sizes]
        own = [self.num_reads * width, heads * self.num_slots, self.num_slots * width]
        self.state_size = [*keras.tree.flatten(self._controller_sizes), *own]
        units = getattr(self.controller, "output_size", None) or getattr(
            self.controller, "units", None
        )
        if not isinstance(units, int):
            raise ValueError(
                "`controller` must have `units`, as Keras' cells and `Dense` have. "
                f"Received: controller={self.controller!r}."
            )
        self.units = units
        self.output_size = units + self.num_reads * width
        self._parts = {
            "key": (heads, width),
            "strength": (heads, 1),
            "gate": (heads, 1),
            "shift": (heads, 2 * self.max_shift + 1),
            "power": (heads, 1),
            "erase": (self.num_writes, width),
            "add": (self.num_writes, width),
        }
        total = sum(count * size for count, size in self._parts.values())
        self.heads = keras.layers.Dense(total, name="heads", dtype=self.dtype_policy)

    def build(self, inputs_shape):
        seen = inputs_shape[-1] + self.num_reads * self.slot_width
        if not self.controller.built:
            self.controller.build((inputs_shape[0], seen))
        if not self.heads.built:
            self.heads.build((inputs_shape[0], self.units))
        self.first_memory = self.add_weight(
            shape=(self.num_slots, self.slot_width),
            initializer=self.memory_initializer,
            trainable=self.trainable_memory,
            name="first_memory",
        )
        if self.initial_weighting == "learned":
            self.first_logits = self.add_weight(
                shape=(self.num_reads + self.num_writes, self.num_slots),
                initializer=keras.initializers.RandomNormal(stddev=0.5),
                name="first_logits",
            )

    def get_initial_state(self, batch_size=None):
        """The states before the first step: see `initial_weighting` and `memory_initializer`."""
        memory = ops.cast(self.first_memory, self.compute_dtype)
        weights = ops.cast(self._first_weights(), self.compute_dtype)
        reads = ops.matmul(weights[: self.num_reads], memory)
        first = [ops.reshape(each, (1, -1)) for each in (reads, weights, memory)]
        own = [ops.repeat(each, batch_size, axis=0) for each in first]
        return [*self._first_of_controller(batch_size), *own]

    def _first_of_controller(self, batch_size):
        if hasattr(self.controller, "get_initial_state"):
            states = self.controller.get_initial_state(batch_size=batch_size)
            return [ops.cast(each, self.compute_dtype) for each in keras.tree.flatten(states)]
        sizes = keras.tree.flatten(self._controller_sizes)
        return [ops.zeros((batch_size, size), self.compute_dtype) for size in sizes]

    def _first_weights(self):
        """(R + W, N)."""
        shape = (self.num_reads + self.num_writes, self.num_slots)
        if self.initial_weighting == "learned":
            return ops.softmax(ops.cast(self.first_logits, self._dtype_of_weights()), axis=-1)
        if self.initial_weighting == "uniform":
            return ops.full(shape, 1.0 / self.num_slots)
        return ops.repeat(ops.one_hot(ops.array([0]), self.num_slots), shape[0], axis=0)

    def call(self, inputs, states, training=False):
        *controller_states, reads, weights, memory = states
        hidden, controller_states = self._control(inputs, reads, controller_states, training)
        weights = self._precise(weights, self.num_reads + self.num_writes, self.num_slots)
        memory = self._precise(memory, self.num_slots, self.slot_width)
        given = self._given(hidden)
        weights = self._address(given, weights, memory)
        read, written = weights[:, : self.num_reads], weights[:, self.num_reads :]
        reads = addressing.read(read, memory)
        erase, add = ops.sigmoid(given["erase"]), ops.tanh(given["add"])
        memory = addressing.write(written, erase, add, memory)
        own = [self._flat(each) for each in (reads, weights, memory)]
        return ops.concatenate([hidden, own[0]], axis=-1), [*controller_states, *own]

    def _control(self, inputs, reads, states, training):
        seen = ops.concatenate([ops.cast(inputs, self.compute_dtype), reads], axis=-1)
        if self._controller_sizes:
            states = keras.tree.pack_sequence_as(self._controller_sizes, states)
            cells.forget_dropout_masks(self.controller)
            hidden, states = self.controller(seen, states, training=training)
            cells.forget_dropout_masks(self.controller)
        else:
            hidden = self.controller(seen)
        return ops.clip(hidden, -_CLIP, _CLIP), keras.tree.flatten(states)

    def _given(self, hidden):
        """What the linear layer says, by name: (B, heads, size) each."""
        flat = ops.cast(self.heads(hidden), self._dtype_of_weights())
        given, start = {}, 0
        for name, (count, size) in self._parts.items():
            end = start + count * size
            given[name] = ops.reshape(flat[:, start:end], (-1, count, size))
            start = end
        return given

    def _address(self, given, previous, memory):
        strength, power = (ops.softplus(given[name][..., 0]) for name in ("strength", "power"))
        gate = ops.sigmoid(given["gate"][..., 0] + self.gate_bias)
        stay = ops.one_hot(ops.array(self.max_shift), 2 * self.max_shift + 1)
        stay = self.shift_bias * ops.cast(stay, previous.dtype)
        shifts = ops.softmax(given["shift"] + stay, axis=-1)
        content = addressing.content_weights(ops.tanh(given["key"]), strength, memory)
        gated = addressing.interpolate(gate, content, previous)
        return addressing.sharpen(addressing.shift(gated, shifts), 1.0 + power)

    def _dtype_of_weights(self):
        return precision.float32_or_wider(self.compute_dtype)

    def _precise(self, state, *shape):
        return ops.cast(ops.reshape(state, (-1, *shape)), self._dtype_of_weights())

    def _flat(self, state):
        flat = ops.reshape(state, (-1, state.shape[1] * state.shape[2]))
        return ops.cast(flat, self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "controller": keras.saving.serialize_keras_object(self.controller),
            "num_slots": self.num_slots,
            "slot_width": self.slot_width,
            "num_reads": self.num_reads,
            "num_writes": self.num_writes,
            "max_shift": self.max_shift,
            "memory_initializer": keras.initializers.serialize(self.memory_initializer),
            "trainable_memory": self.trainable_memory,
            "initial_weighting": self.initial_weighting,
            "shift_bias": self.shift_bias,
            "gate_bias": self.gate_bias,
        }

    @classmethod
    def from_config(cls, config):
        controller = keras.saving.deserialize_keras_object(config["controller"])
        return cls(**{**config, "controller": controller})
