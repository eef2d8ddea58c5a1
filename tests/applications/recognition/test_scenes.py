"""Pictures are put into a canvas where it is said that they are."""

import numpy as np
import pytest

from applications.recognition.images import Images
from applications.recognition.scenes import Layout, distorted, shifted
from applications.training.errors import UserError

COUNT, HEIGHT, WIDTH = 60, 7, 5
draw = np.random.default_rng(5)
IMAGES = Images(
    draw.integers(1, 256, (COUNT, HEIGHT, WIDTH, 2)).astype(np.uint8),
    np.arange(COUNT, dtype=np.int32),
)


def compose(seed=0, **options):
    layout = Layout(**{"canvas": 23, "clutter": 0, "num_objects": 1, **options})
    layout.check(IMAGES)
    rng = np.random.default_rng(seed)
    return layout.compose(IMAGES, layout.choose(IMAGES, rng), rng)


def test_without_a_canvas_pictures_stay_as_they_are():
    scenes = compose(canvas=0)
    np.testing.assert_array_equal(scenes.images, IMAGES.pixels[scenes.labels[:, 0]])
    assert (scenes.boxes == [0, 0, HEIGHT, WIDTH]).all()
    assert sorted(scenes.labels[:, 0]) == list(range(COUNT))


@pytest.mark.parametrize("num_objects", [1, 3])
def test_each_box_holds_its_picture_and_the_rest_is_black(num_objects):
    scenes = compose(num_objects=num_objects)
    assert scenes.labels.shape == (COUNT, num_objects)
    for image, labels, boxes in zip(*scenes, strict=True):
        rest = image.copy()
        for label, (top, left, bottom, right) in zip(labels, boxes, strict=True):
            np.testing.assert_array_equal(image[top:bottom, left:right], IMAGES.pixels[label])
            rest[top:bottom, left:right] = 0
        assert not rest.any()
        assert (boxes[1:, 1] >= boxes[:-1, 3]).all()  # from left to right, without overlap


def test_pictures_are_put_anywhere():
    corners = np.concatenate([compose(seed).boxes[:, 0, :2] for seed in range(20)])
    for axis, last in enumerate((23 - HEIGHT, 23 - WIDTH)):
        assert set(corners[:, axis]) == set(range(last + 1))


def test_clutter_is_strewn_over_the_canvas():
    plain, cluttered = compose(), compose(clutter=4)
    side = 2 * HEIGHT // 7
    added = cluttered.images.astype(int) - plain.images
    assert (added >= 0).all()
    pixels = (added.max(axis=-1) > 0).sum(axis=(1, 2))
    assert pixels.max() == 4 * side**2 and pixels.min() >= side**2 - 1
    assert (added[:, :, :, 0].sum(axis=0) > 0).mean() > 0.8  # everywhere, over many scenes
    np.testing.assert_array_equal(plain.boxes, cluttered.boxes)


def test_what_adds_up_to_more_than_white_is_white():
    bright = Images(np.full((COUNT, HEIGHT, WIDTH, 1), 200, np.uint8), IMAGES.labels)
    layout, rng = Layout(9, 9, 1), np.random.default_rng(0)
    images = layout.compose(bright, layout.choose(bright, rng), rng).images
    assert set(np.unique(images)) == {0, 200, 255}


def test_the_same_seed_gives_the_same_scenes():
    for first, again in zip(compose(3, clutter=2), compose(3, clutter=2), strict=True):
        np.testing.assert_array_equal(first, again)
    assert (compose(3).boxes != compose(4).boxes).any()


def test_a_canvas_that_is_too_small_is_refused():
    with pytest.raises(UserError, match="--canvas must be at least 7, for 1 pictures of 7 by 5"):
        compose(canvas=6)
    with pytest.raises(UserError, match="must be at least 15, for 3 pictures .* Received: 14"):
        compose(canvas=14, num_objects=3)


def test_shifted_pictures_are_moved_by_no_more_than_told():
    pictures = np.random.default_rng(1).integers(1, 256, (200, 5, 6, 2)).astype("uint8")
    moved = shifted(pictures, 2, np.random.default_rng(2))
    assert moved.shape == pictures.shape and moved.dtype == np.uint8
    seen = set()
    for before, after in zip(pictures, moved, strict=True):
        there = np.argwhere(after[:, :, 0] > 0)
        (top, left), (bottom, right) = there.min(axis=0), there.max(axis=0) + 1
        down = top if top else bottom - 5
        across = left if left else right - 6
        back = np.roll(before, (down, across), axis=(0, 1))
        np.testing.assert_array_equal(after[top:bottom, left:right], back[top:bottom, left:right])
        seen.add((down, across))
    assert seen == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}
    assert (shifted(pictures, 0, np.random.default_rng(3)) == pictures).all()


def test_a_quarter_turn_is_that_of_numpy():
    """Distortion draws A - I from `rng`, so a fixed draw is a known map."""

    class Turn:
        def uniform(self, low, high, shape):
            return np.broadcast_to(np.array([[0.0, 1.0], [-1.0, 0.0]]) - np.eye(2), shape)

    pictures = np.random.default_rng(1).integers(0, 256, (3, 7, 7, 2), dtype=np.uint8)
    turned = distorted(pictures, 1.0, Turn())
    assert (turned == np.rot90(pictures, 1, axes=(1, 2))).all()


def test_distortion_is_scipy_s_affine_transform():
    ndimage = pytest.importorskip("scipy.ndimage")
    pictures = np.random.default_rng(1).integers(0, 256, (5, 9, 12, 1), dtype=np.uint8)
    seen = distorted(pictures, 0.3, np.random.default_rng(2))
    maps = np.eye(2) + np.random.default_rng(2).uniform(-0.3, 0.3, (5, 2, 2))
    middle = np.array([4.0, 5.5])
    for before, after, a in zip(pictures, seen, maps, strict=True):
        expected = ndimage.affine_transform(
            before[..., 0].astype(float), a, middle - a @ middle, order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(after[..., 0], expected, atol=0.51)


def test_no_distortion_changes_nothing_and_more_changes_more():
    pictures = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    assert (distorted(pictures, 0.0, np.random.default_rng(2)) == pictures).all()

    def change(most):
        seen = distorted(pictures, most, np.random.default_rng(2)).astype(int)
        return np.abs(seen - pictures).mean()

    assert 0 < change(0.02) < change(0.2)
