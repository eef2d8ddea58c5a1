"""Vision by glimpses: what a small retina sees of an image, and where it is turned next.

Shapes: B images of height H, width W and C channels; patches of `size` by `size` pixels at a number
of scales; T glimpses of each image. Locations are (vertical, horizontal), whatever the image's
size: (-1, -1) is its top left corner, (1, 1) the bottom right one, and (0, 0) its middle.
"""

from keras_attention.glimpse.location import Drawn, LocationSampler
from keras_attention.glimpse.network import GlimpseNetwork
from keras_attention.glimpse.recurrent import Glimpsed, RecurrentAttention
from keras_attention.glimpse.retina import Retina

__all__ = [
    "Drawn",
    "GlimpseNetwork",
    "Glimpsed",
    "LocationSampler",
    "RecurrentAttention",
    "Retina",
]
