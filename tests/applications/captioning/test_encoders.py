"""What reads a picture: built like the originals, and their weights find their places."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from applications.captioning import encoders
from applications.training.errors import DataError, UserError

SHARED = Path(__file__).parents[4] / "shared" / "data"
SQUEEZENET = SHARED / "squeezenet" / "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"
LITE0 = SHARED / "efficientnet_lite0" / "efficientnet_lite0_imagenet.npz"
PHOTOGRAPHS = SHARED / "coco_mini" / "val2017"


def needs(path):
    return pytest.mark.skipif(not path.exists(), reason=f"needs {path}")


def photographs(count, size):
    found = []
    for path in sorted(PHOTOGRAPHS.glob("*.jpg"))[:count]:
        image = tf.io.decode_jpeg(path.read_bytes(), channels=3)
        found.append(tf.image.resize(image, (size, size), antialias=True).numpy())
    return np.stack(found).round().astype("uint8")


def test_the_small_network_sees_all_places():
    cnn = encoders.small_cnn((4, 6))
    features = cnn(np.zeros((2, 32, 32, 1), np.uint8))
    assert features.shape == (2, 8, 8, 6)


@needs(SQUEEZENET)
def test_squeezenet_has_all_its_weights():
    model = encoders.frozen("squeezenet", SQUEEZENET, 227)
    assert model.output_shape == (None, 13, 13, 512)
    assert model.count_params() == 722_496 and not model.trainable_weights


@needs(SQUEEZENET)
@needs(PHOTOGRAPHS)
def test_squeezenet_tells_photographs_apart():
    """A photograph is nearer to its mirror image than to others, and noise to none."""
    model = encoders.frozen("squeezenet", SQUEEZENET, 227)
    images = photographs(6, 227)
    ours, mirrored = (model(x).numpy().mean(axis=(1, 2)) for x in (images, images[:, :, ::-1]))
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (ours, mirrored)]
    assert ((unit[0] @ unit[1].T).argmax(axis=1) == np.arange(6)).all()


@needs(LITE0)
@needs(PHOTOGRAPHS)
def test_efficientnet_lite0_still_knows_its_classes():
    """With its own classifier on top, it names what the photographs show."""
    model = encoders.frozen("efficientnet_lite0", LITE0, 224)
    assert model.output_shape == (None, 7, 7, 1280)
    with np.load(LITE0) as arrays:
        kernel, bias = arrays["_fc.weight"].astype("float32"), arrays["_fc.bias"]
    names = (LITE0.parent / "imagenet_labels.txt").read_text().splitlines()
    pooled = model(photographs(40, 224)).numpy().mean(axis=(1, 2))
    logits = pooled @ kernel.T + bias
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    sure = {names[p.argmax() + 1] for p in probabilities if p.max() > 0.8}
    assert {"broccoli", "pizza, pizza pie", "zebra"} <= sure


def test_any_model_of_keras_applications_will_do(tmp_path):
    own = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(64, 64, 3), alpha=1.0
    )
    path = tmp_path / "mobilenet.weights.h5"
    own.save_weights(path)
    model = encoders.frozen("MobileNetV2", path, 64)
    image = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3)).astype("uint8")
    prepared = keras.applications.mobilenet_v2.preprocess_input(image.astype("float32"))
    np.testing.assert_allclose(model(image), own(prepared), atol=1e-5)
    assert model.output_shape == (None, 2, 2, 1280)
    model.save(tmp_path / "encoder.keras")
    again = keras.models.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(again(image), model(image), atol=1e-6)


def test_an_unknown_model_is_refused_with_those_there_are():
    with pytest.raises(UserError, match=r"efficientnet_lite0 or a model.*VGG19.*Received: VGG"):
        encoders.frozen("VGG", None, 64)


@pytest.mark.parametrize("name", ["squeezenet", "efficientnet_lite0", "MobileNetV2"])
def test_a_file_that_holds_no_weights_is_named(tmp_path, name):
    path = tmp_path / "bad.weights.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=rf"bad\.weights\.h5: not the weights of {name}"):
        encoders.frozen(name, path, 64)
    with pytest.raises(DataError, match=rf"none\.h5: not the weights of {name}"):
        encoders.frozen(name, tmp_path / "none.h5", 64)


def test_without_a_network_weights_are_asked_for(monkeypatch):
    def fail(**_):
        raise Exception("URL fetch failure on https://storage: None -- [Errno -2]")

    monkeypatch.setattr(keras.applications, "MobileNetV2", fail)
    with pytest.raises(UserError, match="could not download its weights; give them by --encoder-w"):
        encoders.frozen("MobileNetV2", None, 64)
