"""A small MNIST, in the official layout."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np


def write(folder: Path, train: int = 40, test: int = 20, compress: bool = True) -> Path:
    """Four files of so many digits, each a bright bar at the height that tells its label."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", train), ("t10k", test)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.zeros((count, 28, 28), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 + 2 * label : 6 + 2 * label, 4:24] = 200
        header = struct.pack(">IIII", 0x803, count, 28, 28)
        _write(folder, f"{part}-images-idx3-ubyte", header + images.tobytes(), compress)
        header = struct.pack(">II", 0x801, count)
        _write(folder, f"{part}-labels-idx1-ubyte", header + labels.tobytes(), compress)
    return folder


def _write(folder: Path, name: str, content: bytes, compress: bool) -> None:
    path = folder / (f"{name}.gz" if compress else name)
    path.write_bytes(gzip.compress(content) if compress else content)
