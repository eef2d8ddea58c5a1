"""What reads a picture: a small network trained with the captioner, or a frozen one."""

from __future__ import annotations

import types
import zipfile
from pathlib import Path

import keras
import numpy as np
from keras import layers

from applications.training.errors import DataError, UserError

# EfficientNet-Lite0's stages: (repeats, kernel, stride, expansion, width).
LITE0 = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
)  # fmt: skip
# SqueezeNet 1.1's fire modules, with a pooling (0, 0) between: (squeeze, expand).
FIRES = (
    (16, 64), (16, 64), (0, 0), (32, 128), (32, 128), (0, 0),
    (48, 192), (48, 192), (64, 256), (64, 256),
)  # fmt: skip


def small_cnn(units: tuple[int, ...]) -> keras.Sequential:
    """Blocks that halve the picture, and one more convolution before the last of them.

    With three blocks, a place's features are of the 30 pixels around it: enough for a digit of 18
    whose middle is not the place's. Kernels of 4 with strides of 2 are padded alike on both sides;
    with kernels of 3, features would be of what is half a place beside their place.
    """
    blocks = [(width, 4, 2) for width in units]
    blocks.insert(-1, (units[max(len(units) - 2, 0)], 3, 1))
    stack: list[layers.Layer] = [layers.Rescaling(1 / 255)]
    for width, kernel, strides in blocks:
        stack += [
            layers.Conv2D(width, kernel, strides, "same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
        ]
    return keras.Sequential(stack, name="cnn")


def frozen(name: str, weights: Path | None, size: int) -> keras.Model:
    """A model from pictures (B, size, size, 3), from 0 to 255, to features (B, h, w, D).

    Args:
        name: "squeezenet", "efficientnet_lite0", or a model of `keras.applications`.
        weights: The file of its weights: SqueezeNet's as Keras HDF5, EfficientNet-Lite0's as an npz
            with PyTorch's names and layouts, others' as Keras itself writes them. `None`
            downloads Keras' own.
        size: Pixels a side.
    """
    builders = {"squeezenet": _squeezenet, "efficientnet_lite0": _efficientnet_lite0}
    try:
        if name in builders:
            assert weights is not None
            model = builders[name](weights, size)
        else:
            model = _of_keras(name, weights, size)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{weights}: not the weights of {name}: {error}") from None
    model.trainable = False
    return model


@keras.saving.register_keras_serializable(package="keras_attention_applications")
class Preprocessing(layers.Layer):
    """What `keras.applications` does to pictures before a model of it sees them.

    Args:
        module: Its module, such as "mobilenet_v2".
    """

    def __init__(self, module: str, **kwargs):
        super().__init__(**kwargs)
        self.module = module

    def call(self, images):
        images = keras.ops.cast(images, "float32")
        return getattr(keras.applications, self.module).preprocess_input(images)

    def get_config(self):
        return {**super().get_config(), "module": self.module}


def _of_keras(name: str, weights: Path | None, size: int) -> keras.Model:
    module = _module_of(name)
    images = keras.Input((size, size, 3), dtype="uint8")
    try:
        model = getattr(keras.applications, name)(
            include_top=False,
            weights="imagenet" if weights is None else str(weights),
            input_shape=(size, size, 3),
        )
    except Exception as error:  # Keras raises nothing more particular where it cannot download.
        if weights is None:
            raise UserError(
                f"--encoder {name}: Keras could not download its weights; give them by "
                f"--encoder-weights. ({str(error).splitlines()[0]})"
            ) from None
        raise DataError(f"{weights}: not the weights of {name}: {error}") from None
    return keras.Model(images, model(Preprocessing(module)(images)), name=name.lower())


def _module_of(name: str) -> str:
    """The module of `keras.applications` that has the model of this name."""
    modules = {
        key: each
        for key, each in vars(keras.applications).items()
        if isinstance(each, types.ModuleType) and hasattr(each, "preprocess_input")
    }
    known = {
        model: key
        for key, each in modules.items()
        for model in dir(each)
        if model[0].isupper() and callable(getattr(each, model))
    }
    if name not in known:
        raise UserError(
            "--encoder must be cnn, squeezenet, efficientnet_lite0 or a model of "
            f"keras.applications: {', '.join(sorted(known))}. Received: {name}"
        )
    return known[name]


def _squeezenet(weights: Path, size: int) -> keras.Model:
    """SqueezeNet 1.1 (Iandola et al., 2016, https://arxiv.org/abs/1602.07360) up to its last fire
    module."""
    import h5py

    images = keras.Input((size, size, 3), dtype="uint8")
    names: dict[str, layers.Conv2D] = {}

    def convolve(name, x, width, kernel, strides=1, padding="same"):
        names[name] = layers.Conv2D(width, kernel, strides, padding, activation="relu")
        return names[name](x)

    x = layers.Rescaling(1.0, [-123.68, -116.779, -103.939])(images)
    x = convolve("conv1", x, 64, 3, 2, "valid")
    x = layers.MaxPooling2D(3, 2)(x)
    number = 1
    for squeeze, expand in FIRES:
        if not squeeze:
            x = layers.MaxPooling2D(3, 2)(x)
            continue
        number += 1
        x = convolve(f"fire{number}/squeeze1x1", x, squeeze, 1)
        parts = [convolve(f"fire{number}/expand{k}x{k}", x, expand, k) for k in (1, 3)]
        x = layers.Concatenate()(parts)
    model = keras.Model(images, x, name="squeezenet")
    with h5py.File(weights) as file:
        for name, layer in names.items():
            group = file[name]
            kernel, bias = (np.array(group[key]) for key in group.attrs["weight_names"])
            if name == "conv1":  # It was trained on blue, green, red.
                kernel = kernel[:, :, ::-1]
            layer.set_weights([kernel, bias])
    return model


def _efficientnet_lite0(weights: Path, size: int) -> keras.Model:
    """EfficientNet-Lite0 (Tan & Le, 2019, https://arxiv.org/abs/1905.11946, without its squeezing
    and swish) up to its last convolution."""
    images = keras.Input((size, size, 3), dtype="uint8")
    named: list[tuple[str, layers.Layer]] = []

    def normalized(name, layer, norm, x, relu=True):
        batch_norm = layers.BatchNormalization(epsilon=1e-3)
        named.extend([(f"{name}.weight", layer), (norm, batch_norm)])
        x = batch_norm(layer(x))
        return layers.ReLU(6.0)(x) if relu else x

    def convolve(name, norm, x, width, kernel=1, strides=1, relu=True):
        layer = layers.Conv2D(width, kernel, strides, "same", use_bias=False)
        return normalized(name, layer, norm, x, relu)

    x = layers.Rescaling(1 / 128, -127 / 128)(images)
    x = convolve("_conv_stem", "_bn0", x, 32, 3, 2)
    number = 0
    for repeats, kernel, stride, expansion, width in LITE0:
        for repeat in range(repeats):
            block, before = f"_blocks.{number}", x
            if expansion > 1:
                wide = expansion * x.shape[-1]
                x = convolve(f"{block}._expand_conv", f"{block}._bn0", x, wide)
            strides = stride if repeat == 0 else 1
            depthwise = layers.DepthwiseConv2D(kernel, strides, "same", use_bias=False)
            x = normalized(f"{block}._depthwise_conv", depthwise, f"{block}._bn1", x)
            x = convolve(f"{block}._project_conv", f"{block}._bn2", x, width, relu=False)
            x = layers.Add()([x, before]) if repeat else x
            number += 1
    x = convolve("_conv_head", "_bn1", x, 1280)
    model = keras.Model(images, x, name="efficientnet_lite0")
    with np.load(weights) as arrays:
        for name, layer in named:
            layer.set_weights(_from_pytorch(arrays, name, layer))
    return model


def _from_pytorch(arrays, name: str, layer: layers.Layer) -> list[np.ndarray]:
    """A layer's weights in Keras' order and layout."""
    if isinstance(layer, layers.BatchNormalization):
        parts = ("weight", "bias", "running_mean", "running_var")
        return [arrays[f"{name}.{part}"].astype(np.float32) for part in parts]
    kernel = arrays[name].astype(np.float32)
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    return [kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))]
