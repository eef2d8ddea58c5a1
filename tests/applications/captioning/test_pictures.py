"""Image files become what the captioner reads, or a word about why not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from applications.captioning import pictures
from applications.captioning.pictures import Pictures
from applications.captioning.sources import Source
from applications.training.errors import DataError
from tests.applications.captioning import photographs


def source(content, name="a.jpg"):
    return Source(name, lambda: content, ("a dog",))


def encoder():
    """Halves, and has three features a place."""
    image = keras.Input((16, 16, 3), dtype="uint8")
    features = keras.layers.AveragePooling2D(2)(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, features)


def test_a_grey_picture_of_the_right_size_is_read_as_it_is():
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 1)).astype("uint8")
    content = tf.io.encode_png(image).numpy()
    np.testing.assert_array_equal(Pictures(16, 1)(tf.constant([content]))[0], image)


def test_any_size_and_colour_becomes_a_square():
    how = Pictures(16, 3)
    contents = [photographs.picture(1), photographs.picture(2, 33, 9)]
    contents.append(tf.io.encode_png(np.full((5, 50, 4), 77, np.uint8)).numpy())
    contents.append(tf.io.encode_png(np.full((50, 5, 1), 31, np.uint8)).numpy())
    read = how(tf.constant(contents)).numpy()
    assert read.shape == (4, 16, 16, 3) and read.dtype == np.uint8
    assert (read[2] == 77).all() and (read[3] == 31).all()


def test_all_of_a_picture_is_seen():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 60:] = 200
    read = Pictures(16, 3)(tf.constant([tf.io.encode_png(image).numpy()])).numpy()[0]
    assert (read[:, :11] < 30).all() and (read[:, 13:] > 170).all()


@pytest.mark.parametrize("content", [b"", b"no image", photographs.picture(3)[:-300]])
def test_what_is_no_whole_picture_is_an_invalid_argument(content):
    with pytest.raises(tf.errors.InvalidArgumentError):
        Pictures(16, 3)(tf.constant([content]))
    with pytest.raises(DataError, match="^bad.jpg: expected a whole JPEG, PNG, GIF or BMP file"):
        pictures.pixels(source(content, "bad.jpg"), Pictures(16, 3))


def test_a_store_holds_what_the_graph_makes_of_pictures_and_is_written_once(tmp_path):
    how = Pictures(16, 3, encoder())
    sources = [source(photographs.picture(n)) for n in range(37)]
    path = tmp_path / "f" / "part.npy"
    stored = pictures.store(sources, 37, how, path)
    assert how.shape == (8, 8, 3) and stored.shown.shape == (24, 16, 16, 3)
    together = how(tf.constant([each.read() for each in sources]))
    assert stored.arrays.dtype == np.float16 and stored.arrays.shape == (37, 8, 8, 3)
    np.testing.assert_array_equal(stored.arrays, together)
    assert isinstance(stored.arrays, np.memmap)
    before = path.stat().st_mtime_ns
    again = pictures.store(sources, 37, how, path)
    np.testing.assert_array_equal(again.arrays, stored.arrays)
    assert path.stat().st_mtime_ns == before


def test_a_broken_picture_leaves_no_store(tmp_path):
    path = tmp_path / "f" / "part.npy"
    sources = [source(photographs.picture(n)) for n in range(30)] + [source(b"?", "30.jpg")]
    with pytest.raises(DataError, match=r"^30\.jpg: "):
        pictures.store(sources, 31, Pictures(16, 3), path)
    assert not list(path.parent.iterdir())


def test_saved_and_loaded_it_reads_the_same(tmp_path):
    how = Pictures(16, 3, encoder())
    how.save(tmp_path)
    again = pictures.load(tmp_path, 16, 3)
    contents = tf.constant([photographs.picture(1)])
    np.testing.assert_array_equal(again(contents), how(contents))
    assert pictures.load(tmp_path / "nothing", 16, 1).encoder is None
