"""Alignments to draw: odd sizes, uneven weights, and tokens that mean harm."""

from __future__ import annotations

import numpy as np

from keras_attention.visualization import Alignment

SOURCE = ["le", "chat", "noir", "dort", "."]
TARGET = ["the", "black", "cat"]
HOSTILE = ["<script>alert(1)</script>", "</script>", "\"'too'\"", "&amp;", "{{count}}", "$x$"]


def random_weights(num_rows: int, num_columns: int) -> np.ndarray:
    return np.random.default_rng(7).dirichlet(np.ones(num_columns) / 2, size=num_rows)


def example(**changes: object) -> Alignment:
    return Alignment(SOURCE, TARGET, random_weights(3, 5))._replace(**changes)
