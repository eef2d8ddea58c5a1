"""What is seen at a location: patches around it, each twice as wide and half as sharp."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_attention import precision

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class Retina(keras.layers.Layer):
    """Cuts square patches out of images, around one location of each, at several scales.

    Patch k covers `n size` by `n size` pixels of the image, `n = 2^k`, and each of its `size` by
    `size` pixels is the mean of `n` by `n` of the image's, all around the same middle. Locations
    need not fall onto pixels: in between, an image is interpolated linearly; outside it is 0. So in
    each direction an image's pixel h counts into a patch's pixel i by

    `weight_kih = clip((n + 1) / 2 - |h - middle_ki|, 0, 1) / n`,
    `middle_ki = (location + 1) length / 2 - 1 / 2 + n (i - (size - 1) / 2)`

    which is the mean of linear interpolations at `n` places one pixel apart. The patches have
    gradients by the image, and by the location.

    Args:
        size: Pixels of a patch, in either direction.
        scales: How many patches there are.

    Call arguments:
        image: Tensor of shape (B, H, W, C), of any dtype.
        location: Tensor of shape (B, 2), vertical and horizontal, each from -1 to 1.

    Returns:
        Patches of shape (B, scales, size, size, C), from the sharpest to the widest.

    Example: the middle of an image, and the same with what is around it.

    >>> image = keras.ops.reshape(keras.ops.arange(16.0), (1, 4, 4, 1))
    >>> patches = Retina(size=2, scales=2)(image, keras.ops.zeros((1, 2)))
    >>> patches[0, :, :, :, 0].numpy().tolist()
    [[[5.0, 6.0], [9.0, 10.0]], [[2.5, 4.5], [10.5, 12.5]]]

    Reference: Mnih, Heess, Graves & Kavukcuoglu, 2014, Recurrent Models of Visual Attention,
    https://arxiv.org/abs/1406.6247 (section 3.1, the glimpse sensor).
    """

    def __init__(self, size, scales=1, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("size", size), ("scales", scales)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value}.")
        self.size = size
        self.scales = scales

    def build(self, image_shape, location_shape):
        if len(image_shape) != 4:
            raise ValueError(
                "`image` must have shape (batch, height, width, channels). "
                f"Received: image.shape={tuple(image_shape)}."
            )
        if len(location_shape) != 2 or location_shape[-1] != 2:
            raise ValueError(
                "`location` must have shape (batch, 2). "
                f"Received: location.shape={tuple(location_shape)}."
            )

    def call(self, image, location):
        _, height, width, _ = ops.shape(image)
        rows = self._weights(location[:, 0], height)
        columns = self._weights(location[:, 1], width)
        image = ops.cast(image, self.compute_dtype)
        strips = ops.einsum("bkih,bhwc->bkiwc", rows, image)
        return ops.einsum("bkjw,bkiwc->bkijc", columns, strips)

    def compute_output_shape(self, image_shape, location_shape):
        del location_shape
        return image_shape[0], self.scales, self.size, self.size, image_shape[-1]

    def _weights(self, location, length):
        """By how much each pixel of the image counts, in one direction: (B, scales, size, length).

        Half precision would shift patches by parts of a pixel.
        """
        dtype = precision.float32_or_wider(self.compute_dtype)
        across = 2.0 ** np.arange(self.scales)[:, None, None]  # (scales, 1, 1)
        steps = np.arange(self.size)[:, None] - (self.size - 1) / 2  # (size, 1)
        offsets = ops.convert_to_tensor(across * steps, dtype)  # (scales, size, 1)
        middle = (ops.cast(location, dtype) + 1.0) * ops.cast(length, dtype) / 2.0 - 0.5
        pixels = ops.cast(ops.arange(length), dtype)  # (length,)
        distance = ops.abs(pixels - offsets - middle[:, None, None, None])
        reach = ops.convert_to_tensor((across + 1.0) / 2.0, dtype)
        share = ops.convert_to_tensor(1.0 / across, dtype)
        weights = share * ops.clip(reach - distance, 0.0, 1.0)
        return ops.cast(weights, self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "size": self.size, "scales": self.scales}
