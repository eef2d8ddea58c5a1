"""The recurrent attention model: it looks, remembers, and decides where to look next."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

register = keras.saving.register_keras_serializable(package="keras_attention")

PARTS = ("retina", "network", "cell", "sampler")


class Glimpsed(NamedTuple):
    """What is known of images after their glimpses."""

    states: Any  # (B, num_objects, units), what to tell each object from
    locations: Any  # (B, num_objects * num_glimpses, 2), where the glimpses were


@register
class RecurrentAttention(keras.layers.Layer):
    """Looks at images glimpse by glimpse, each time where a sampler decides from what was seen.

    With `s_0 = 0`, for t from 1 to T,

    `location_t = sampler(s_{t-1})`,
    `glimpse_t = network(retina(image, location_t), location_t)`,
    `s_t = cell(glimpse_t, s_{t-1})`

    A head of your own tells the object from `s_T`. Where an image has several objects to be told
    in order, as the digits of a number, each is looked at by `num_glimpses`, and told from the
    state after these. In training, locations are drawn, and trained as `LocationSampler` says; all
    else is trained by the loss itself. Each draw is credited with the cost of the object that it
    was made for and of those that follow, if the loss has one value an object.

    Args:
        retina: A `Retina`, or any layer `(image, location) -> patches` that tells its output shape.
        network: A `GlimpseNetwork`, or any such layer `(patches, location) -> (B, width)`.
        cell: A Keras RNN cell without dropout. The paper's is `SimpleRNNCell(256, "relu")`.
        sampler: A `LocationSampler`.
        num_glimpses: Glimpses of each object.
        num_objects: Objects of each image.

    Call arguments:
        image: Tensor of shape (B, H, W, C).
        locations: Tensor of shape (B, T, 2), where to look, `T = num_objects num_glimpses`; the
            sampler decides unless given.
        training: Whether locations are drawn.

    Returns:
        A `Glimpsed`: states (B, num_objects, units) and locations (B, T, 2).

    Example:

    >>> looking = RecurrentAttention(
    ...     Retina(size=8),
    ...     GlimpseNetwork(units=256, hidden_units=128),
    ...     keras.layers.SimpleRNNCell(256, "relu"),
    ...     LocationSampler(std=0.1),
    ...     num_glimpses=6,
    ... )
    >>> glimpsed = looking(keras.ops.ones((3, 28, 28, 1)))
    >>> glimpsed.states.shape, glimpsed.locations.shape
    (TensorShape([3, 1, 256]), TensorShape([3, 6, 2]))

    Reference: Mnih, Heess, Graves & Kavukcuoglu, 2014, Recurrent Models of Visual Attention,
    https://arxiv.org/abs/1406.6247 (section 3); Ba, Mnih & Kavukcuoglu, 2014, Multiple Object
    Recognition with Visual Attention, https://arxiv.org/abs/1412.7755 (several objects).
    """

    def __init__(self, retina, network, cell, sampler, num_glimpses, num_objects=1, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("num_glimpses", num_glimpses), ("num_objects", num_objects)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value}.")
        if not (hasattr(cell, "output_size") and hasattr(cell, "get_initial_state")):
            raise ValueError(
                '`cell` must be a Keras RNN cell, such as `SimpleRNNCell(256, "relu")`. '
                f"Received: cell={cell!r}."
            )
        self.retina = retina
        self.network = network
        self.cell = cell
        self.sampler = sampler
        self.num_glimpses = num_glimpses
        self.num_objects = num_objects

    def build(self, image_shape, locations_shape=None):
        del locations_shape
        location_shape = (image_shape[0], 2)
        if not self.retina.built:
            self.retina.build(image_shape, location_shape)
        patches_shape = self.retina.compute_output_shape(image_shape, location_shape)
        if not self.network.built:
            self.network.build(patches_shape, location_shape)
        if not self.cell.built:
            self.cell.build(self.network.compute_output_shape(patches_shape, location_shape))
        if not self.sampler.built:
            self.sampler.build((image_shape[0], self.cell.output_size))

    def call(self, image, locations=None, training=False):
        self._check_locations(locations)
        batch_size = ops.shape(image)[0]
        state = self.cell.get_initial_state(batch_size=batch_size)
        hidden = ops.zeros((batch_size, self.cell.output_size), self.compute_dtype)
        seen, known, places, log_probs = [], [], [], []
        for t in range(self.num_objects * self.num_glimpses):
            known.append(hidden)
            if locations is None:
                location, log_prob = self.sampler.draw(hidden, training)
                log_probs.append(log_prob)
            else:
                location = locations[:, t]
            places.append(location)
            glimpse = self.network(self.retina(image, location), location)
            hidden, state = self.cell(glimpse, state, training=training)
            seen.append(hidden)
        if locations is None:
            self._record(log_probs, known)
        last = seen[self.num_glimpses - 1 :: self.num_glimpses]
        return Glimpsed(ops.stack(last, axis=1), ops.stack(places, axis=1))

    def _check_locations(self, locations):
        number = self.num_objects * self.num_glimpses
        if locations is not None and tuple(locations.shape[1:]) != (number, 2):
            raise ValueError(
                f"`locations` must have shape (batch, {number}, 2), for {self.num_objects} objects "
                f"with {self.num_glimpses} glimpses each. "
                f"Received: locations.shape={tuple(locations.shape)}."
            )

    def _record(self, log_probs, known):
        """Each object's n-th draw can influence only this object and those that follow."""
        log_probs, known = ops.stack(log_probs, axis=1), ops.stack(known, axis=1)
        for n in range(self.num_glimpses):
            nth = slice(n, None, self.num_glimpses)
            self.sampler.record(log_probs[:, nth], known[:, nth], in_time=True)

    def get_config(self):
        parts = {name: getattr(self, name) for name in PARTS}
        return {
            **super().get_config(),
            **{name: keras.saving.serialize_keras_object(part) for name, part in parts.items()},
            "num_glimpses": self.num_glimpses,
            "num_objects": self.num_objects,
        }

    @classmethod
    def from_config(cls, config):
        parts = {name: keras.saving.deserialize_keras_object(config[name]) for name in PARTS}
        return cls(**{**config, **parts})
