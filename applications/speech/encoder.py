"""Encoders of recordings: recurrent layers over fewer and fewer frames."""

from __future__ import annotations

import math

import keras
from keras import layers, ops

from applications.training.encoder import BidirectionalGRU
from keras_attention import masking, replicas

register = keras.saving.register_keras_serializable(package="keras_attention_applications")


@register
class PyramidalEncoder(layers.Layer):
    """Recurrent layers one above the other, some of which see two steps of the one below as one.

    Args:
        units: Width of each direction.
        num_layers: How many layers.
        reductions: So many of them, the upper ones, halve the number of steps each.
        stacked: How many frames the lowest layer sees as one step.
        bidirectional: Whether layers read in both directions; else forwards only.
        dropout: Share of what each layer is given that is dropped, but for the first.
        num_ends: So many sequences' last states are kept, for others to go on from.

    Call arguments:
        inputs: Tensor of shape (B, T, D), 0 past the end of each sequence.
        lengths: Tensor of shape (B,), int32.
        goes_on: Boolean tensor of shape (B,), which sequences to read in training as if they stood
            among others: from the states in which one of the last ones ended, in either direction,
            which itself may have gone on. Layers that always begin with zeros know no states but
            those of short sequences, and are in others within longer ones.
        training: Whether dropout applies, and `goes_on`.

    Returns:
        Annotations of shape (B, S, U), where S is T / (stacked * 2^reductions), rounded up at each
        division, and U is `units`, or twice that if bidirectional; and how many of them each
        sequence has, (B,).

    Reference: Chan, Jaitly, Le & Vinyals, 2015, Listen, Attend and Spell,
    https://arxiv.org/abs/1508.01211 (section 3.1, eq. 5); Sak, Senior, Rao & Beaufays, 2015, Fast
    and Accurate Recurrent Neural Network Acoustic Models for Speech Recognition,
    https://arxiv.org/abs/1507.06947 (section 3, stacked frames); Narayanan, Prabhavalkar, Chiu,
    Rybach, Sainath & Strohman, 2019, Recognizing Long-Form Speech Using Streaming End-to-End
    Models, https://arxiv.org/abs/1910.11455 (random state passing).
    """

    def __init__(
        self,
        units: int,
        num_layers: int,
        reductions: int = 0,
        stacked: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        num_ends: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = units
        self.num_layers = num_layers
        self.reductions = reductions
        self.stacked = stacked
        self.bidirectional = bidirectional
        self.dropout = layers.Dropout(dropout)
        self.num_ends = num_ends
        self.seed_generator = keras.random.SeedGenerator()
        kind = BidirectionalGRU if bidirectional else ForwardGRU
        self.recurrent = [
            kind(units, name=f"layer_{number}", dtype=self.dtype_policy)
            for number in range(1, num_layers + 1)
        ]

    def build(self, inputs_shape, lengths_shape=None):
        width = inputs_shape[-1]
        for layer, together in zip(self.recurrent, self._together(), strict=True):
            layer.build((None, None, together * width))
            width = 2 * self.units if self.bidirectional else self.units
        if self.num_ends > 0:
            self.ends = self.add_weight(
                shape=(self.num_ends, self.num_layers * width),
                initializer="zeros",
                trainable=False,
                autocast=False,
                aggregation="only_first_replica",
                name="ends",
            )

    def call(self, inputs, lengths, goes_on=None, training=False):
        among = training and self.num_ends > 0 and goes_on is not None
        states = self._begin(goes_on) if among else [None] * self.num_layers
        annotations, lengths, states = self.run(inputs, lengths, states, training)
        if among:
            self._end(states)
        return annotations, lengths

    def run(self, inputs, lengths, states, training=False):
        """`call` from states of the layers, (B, units) or a pair of these, and with the next
        states: of a stream, which is encoded forwards, as it comes. All pieces but the last have to
        be multiples of `frames_per_annotation`."""
        new = []
        for number, (layer, state) in enumerate(zip(self.recurrent, states, strict=True)):
            together = self._together()[number]
            if number > 0:
                inputs = self.dropout(inputs, training=training)
            inputs, lengths = stacked(inputs, together), -(-lengths // together)
            mask = masking.padding_mask(lengths, ops.shape(inputs)[1])
            given = {} if state is None else {"state": state}
            inputs, *ends = layer(inputs, mask=mask, **given)
            inputs = ops.where(mask[..., None], inputs, 0.0)
            new.append(tuple(ends) if self.bidirectional else ends[0])
        return inputs, lengths, new

    def _begin(self, goes_on):
        """For each layer, where others ended in the rows that go on, and zeros elsewhere."""

        def draw(shape):
            return keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)

        which = self.num_ends * replicas.rows(draw, (ops.shape(goes_on)[0],))
        ends = ops.take(self.ends.value, ops.cast(which, "int32"), axis=0)
        begun = ops.cast(ops.where(goes_on[:, None], ends, 0.0), self.compute_dtype)
        states = ops.split(begun, begun.shape[-1] // self.units, axis=-1)
        return list(zip(states[::2], states[1::2], strict=True)) if self.bidirectional else states

    def _end(self, states):
        """Keeps the ends of the last sequences."""
        new = ops.concatenate(keras.tree.flatten(states), axis=-1)
        new = ops.cast(ops.stop_gradient(new), self.ends.dtype)
        self.ends.assign(ops.concatenate([new, self.ends.value], axis=0)[: self.num_ends])

    @property
    def frames_per_annotation(self):
        return math.prod(self._together())

    def _together(self):
        """How many steps of what is below each layer sees as one."""
        plain = self.num_layers - self.reductions
        together = [1] * plain + [2] * self.reductions
        return [self.stacked * together[0], *together[1:]]

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "num_layers": self.num_layers,
            "reductions": self.reductions,
            "stacked": self.stacked,
            "bidirectional": self.bidirectional,
            "dropout": self.dropout.rate,
            "num_ends": self.num_ends,
        }


@register
class ForwardGRU(layers.Layer):
    """A GRU of one direction, with Keras' own weights and numbers, that can go on from a state.

    Args:
        units: Width.

    Call arguments:
        inputs: Tensor of shape (B, T, D).
        mask: Boolean tensor of shape (B, T), `True` = real, with padding at the end.
        state: Tensor of shape (B, units) to begin with; zeros unless given.

    Returns:
        Annotations (B, T, units), and the last state (B, units).
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.gru = layers.GRU(
            units,
            return_sequences=True,
            return_state=True,
            use_cudnn=False,
            dtype=self.dtype_policy,
        )
        self.supports_masking = True

    def build(self, inputs_shape):
        self.gru.build(inputs_shape)

    def call(self, inputs, mask, state=None):
        return self.gru(inputs, mask=mask, initial_state=state)

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else (mask, None)  # of the annotations only

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def stacked(inputs, together):
    """So many frames next to each other as one: (B, T, D) -> (B, T / n, n D), rounded up."""
    if together == 1:
        return inputs
    batch_size, length, width = ops.shape(inputs)
    missing = -length % together
    inputs = ops.concatenate(
        [inputs, ops.zeros((batch_size, missing, width), inputs.dtype)], axis=1
    )
    steps = (length + missing) // together
    return ops.reshape(inputs, (batch_size, steps, together * width))
