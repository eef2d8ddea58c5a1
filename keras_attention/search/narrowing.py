"""Leaving sentences out of a search as soon as they are done.

Of a batch that is searched until its longest sentence ends, most rows are done long before. Where
only the graph knows how many sentences there are, as in a SavedModel, it can go on with fewer.

Shapes: B sentences, A of them still searched, of R rows each.
"""

from __future__ import annotations

import keras
from keras import ops

# Sentences are left out when no more than this share of those still searched is open. Each time
# takes a copy of their states and memories, which a step of the search is far longer than.
SHARE = 0.75


def can_narrow(*trees) -> bool:
    """Whether all leading axes are of sizes that are unknown while tracing, and may change."""
    leaves = keras.tree.flatten(trees)
    return keras.backend.backend() == "tensorflow" and all(leaf.shape[0] is None for leaf in leaves)


def count(is_open):
    """How many of the sentences (A,) are open."""
    return ops.sum(ops.cast(is_open, "int32"))


def too_few(places):
    """If no more than so many of the sentences at places (A,) are open, others are left out."""
    return ops.cast(SHARE * ops.cast(ops.shape(places)[0], "float32"), "int32")


def where_open(is_open):
    """The places (A',) of open sentences among A."""
    return ops.cast(ops.nonzero(is_open)[0], "int32")


def keep(tree, places, rows: int = 1):
    """What belongs to the sentences at some places: each leaf (A * R, …) to (A' * R, …)."""
    places = ops.reshape(places[:, None] * rows + ops.arange(rows, dtype="int32"), (-1,))
    return keras.tree.map_structure(lambda leaf: ops.take(leaf, places, axis=0), tree)


def spread(values, sentences, batch_size):
    """Values (A, …) of some of all sentences, and 0 for the others: (B, …)."""
    return ops.scatter(sentences[:, None], values, (batch_size, *ops.shape(values)[1:]))


def put(tree, sentences, values):
    """The tree of leaves (B, …) with `values` (A, …) for some of the sentences."""
    return keras.tree.map_structure(
        lambda leaf, new: ops.scatter_update(leaf, sentences[:, None], new), tree, values
    )
