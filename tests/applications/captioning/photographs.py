"""Small data sets in the layouts of the large ones, made up on the spot."""

from __future__ import annotations

import json

import numpy as np
import tensorflow as tf

CAPTIONS = ("A dog runs.", "The brown dog, running.", "Two cats sit on a mat")


def picture(seed, height=40, width=56):
    """The bytes of a JPEG."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (1, 5, 7, 3)).astype("float32")
    smooth = tf.image.resize(coarse, (height, width))[0]
    return tf.io.encode_jpeg(tf.cast(smooth, tf.uint8)).numpy()


def flickr8k(folder, count=24):
    """`Images/` and `captions.txt`, two captions each."""
    (folder / "Images").mkdir(parents=True)
    lines = ["image,caption"]
    for number in range(count):
        name = f"{number:03}.jpg"
        (folder / "Images" / name).write_bytes(picture(number))
        lines += [f'{name},"{CAPTIONS[(number + k) % 3]}"' for k in (0, 1)]
    (folder / "captions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def coco(folder, train=20, test=7, year="2017"):
    """The official layout, two captions each."""
    (folder / "annotations").mkdir(parents=True)
    for part, count in ((f"train{year}", train), (f"val{year}", test)):
        (folder / part).mkdir()
        images = [{"id": 7 * n + 3, "file_name": f"{n:012}.jpg"} for n in range(count)]
        for number, image in enumerate(images):
            (folder / part / image["file_name"]).write_bytes(picture(number))
        annotations = [
            {"image_id": image["id"], "caption": CAPTIONS[(n + k) % 3]}
            for n, image in enumerate(images)
            for k in (0, 1)
        ]
        document = {"images": images, "annotations": annotations}
        (folder / "annotations" / f"captions_{part}.json").write_text(json.dumps(document))
    return folder
