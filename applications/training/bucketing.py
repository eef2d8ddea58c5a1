"""Batches of so many tokens, not of so many sequences: short ones make large batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SPARE = 0.01  # batches more than the first epoch needs, if the lengths of every epoch are others


def cut(lengths: Sequence[int], most_tokens: int, most: int, multiple: int = 1) -> list[int]:
    """Sizes of batches of sequences that follow one another, each as large as it may be.

    Args:
        lengths: Of the sequences, in order.
        most_tokens: A batch's size times its longest length is at most this.
        most: The largest size.
        multiple: Every size is a multiple of this, for which `most_tokens` must be enough.

    Returns:
        The sizes. What is left for a last batch that is too small is in none.
    """
    sizes, start = [], 0
    while start + multiple <= len(lengths):
        size, longest = 0, 0
        while size < min(most, len(lengths) - start):
            longest = max(longest, lengths[start + size])
            if size >= multiple and (size + 1) * longest > most_tokens:
                break
            size += 1
        sizes.append(size // multiple * multiple)
        start += sizes[-1]
    return sizes


def batches(
    sizes: Sequence[int], count: int, rng: np.random.Generator, multiple: int = 1
) -> list[range]:
    """Places of batches of these sizes in a random order, so many as `count` says.

    Where there are fewer, the largest are halved, or repeated if they are of one `multiple`; where
    there are more, some are left out.
    """
    ends = np.cumsum(sizes)
    found = [range(end - size, end) for size, end in zip(sizes, ends.tolist(), strict=True)]
    while len(found) < count:
        largest = found.pop(max(range(len(found)), key=lambda at: len(found[at])))
        half = -(-len(largest) // (2 * multiple)) * multiple
        found += [largest[:half], largest[half:] or largest]
    return [found[at] for at in rng.permutation(len(found))[:count]]
