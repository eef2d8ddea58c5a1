"""Problems of bit vectors: first all is shown, then, with nothing more to see, all is asked.

Reference: Graves, Wayne & Danihelka, 2014, Neural Turing Machines,
https://arxiv.org/abs/1410.5401 (sections 4.1, 4.2, 4.3 and 4.5).

Shapes: N sequences of T steps; a size is one number or two, so sizes are (N, 1) or (N, 2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from applications.algorithmic.sequences import NOT_ASKED, Sequences


class Shown(NamedTuple):
    """What N sequences show, before it is laid out in time."""

    sizes: np.ndarray  # (N, 1) or (N, 2)
    vectors: np.ndarray  # (N, most vectors, width) of 0 and 1
    extra: Any = None  # what else the problem needs, with N rows


class VectorProblem(ABC):
    """One problem: how sequences of each size are made, read from a line and told."""

    name: str
    width: int  # bits of a vector
    num_inputs: int
    num_outputs: int
    alphabet = ""
    line: str  # what a line to be answered looks like

    def sizes(self, max_size: int) -> np.ndarray:
        """The sizes to train on, each as likely as any other: (count, 1) or (count, 2)."""
        return np.arange(1, max_size + 1)[:, None]

    @abstractmethod
    def test_sizes(self, max_size: int) -> list[tuple[int, ...]]:
        """The sizes to test on; the first is the largest of training."""

    @abstractmethod
    def steps(self, sizes: np.ndarray) -> np.ndarray:
        """How many steps sequences of these sizes have: (N,)."""

    @abstractmethod
    def show(self, sizes: np.ndarray, rng: np.random.Generator) -> Shown:
        """Draws what sequences of these sizes show."""

    @abstractmethod
    def lay_out(self, shown: Shown, inputs: np.ndarray, targets: np.ndarray) -> None:
        """Writes what is shown into `inputs` (N, T, D), and what is asked into `targets`."""

    @abstractmethod
    def read(self, line: str) -> Shown:
        """What one line shows; a `ValueError` where it is not of the form of `line`."""

    def draw(self, sizes: np.ndarray, steps: int, rng: np.random.Generator) -> Sequences:
        """Random sequences of these sizes, padded to so many steps."""
        return self.arrange(self.show(sizes, rng), steps)

    def arrange(self, shown: Shown, steps: int) -> Sequences:
        """What is shown as sequences, padded to so many steps."""
        count = len(shown.sizes)
        inputs = np.zeros((count, steps, self.num_inputs), np.float32)
        targets = np.full((count, steps, self.num_outputs), NOT_ASKED, np.float32)
        self.lay_out(shown, inputs, targets)
        return Sequences(inputs, targets, self.steps(shown.sizes).astype(np.int32))

    def tell(self, bits: np.ndarray) -> str:
        """The answer of one sequence, (steps, K) of 0 and 1, as text."""
        return " ".join("".join(map(str, vector)) for vector in bits)


class Copy(VectorProblem):
    """Vectors, a mark, and the vectors are asked in the same order. A size is their number."""

    name, width, num_inputs, num_outputs = "copy", 8, 9, 8
    line = "vectors of 8 bits with spaces between them, such as 01100101 11110000"

    def test_sizes(self, max_size):
        return [(max_size,), *((max_size * times,) for times in (2, 4, 6))]

    def steps(self, sizes):
        return 2 * sizes[:, 0] + 1

    def show(self, sizes, rng):
        return Shown(sizes, rng.integers(0, 2, (len(sizes), sizes.max(), 8), np.int8))

    def lay_out(self, shown, inputs, targets):
        count = shown.sizes[:, 0]
        row, at = _each(count)
        inputs[row, at, :8] = targets[row, count[row] + 1 + at] = shown.vectors[row, at]
        inputs[np.arange(len(count)), count, 8] = 1.0

    def read(self, line):
        return _one(_vectors(line, 8))


class RepeatCopy(VectorProblem):
    """Vectors, how often, and they are asked so often, and then a mark of the end.

    A size is the number of vectors and of times. Times are shown with mean 0 and variance 1 over
    those from 1 to 10, as in the paper.
    """

    name, width, num_inputs, num_outputs = "repeat_copy", 8, 10, 9
    line = "how often, and vectors of 8 bits, such as 3 01100101 11110000"

    def sizes(self, max_size):
        each = np.arange(1, max_size + 1)
        return np.stack(np.meshgrid(each, each), axis=-1).reshape(-1, 2)

    def test_sizes(self, max_size):
        more = max_size + max_size // 2
        double = 2 * max_size
        return [(max_size, max_size), (double, max_size), (max_size, double), (more, more)]

    def steps(self, sizes):
        return sizes[:, 0] * (1 + sizes[:, 1]) + 2

    def show(self, sizes, rng):
        return Shown(sizes, rng.integers(0, 2, (len(sizes), sizes[:, 0].max(), 8), np.int8))

    def lay_out(self, shown, inputs, targets):
        count, times = shown.sizes.T
        rows = np.arange(len(count))
        row, at = _each(count)
        inputs[row, at, :8] = shown.vectors[row, at]
        inputs[rows, count, 8] = 1.0
        inputs[rows, count, 9] = (times - 5.5) / np.sqrt(8.25)
        row, at = _each(count * times)
        targets[row, count[row] + 1 + at, :8] = shown.vectors[row, at % count[row]]
        targets[row, count[row] + 1 + at, 8] = 0.0
        targets[rows, count * (1 + times) + 1] = np.eye(9, dtype=np.float32)[8]

    def read(self, line):
        times, _, rest = line.strip().partition(" ")
        if not 1 <= int(times) <= 1000:
            raise ValueError(times)
        shown = _one(_vectors(rest, 8))
        return shown._replace(sizes=np.array([[shown.sizes[0, 0], int(times)]]))

    def tell(self, bits):
        """What comes before the first mark of the end."""
        ends = np.flatnonzero(bits[:, 8])
        return super().tell(bits[: ends[0] if len(ends) else None, :8])


class AssociativeRecall(VectorProblem):
    """Items of three vectors each, then one of these again; the item after it is asked.

    A size is the number of items, at least 2.
    """

    name, width, num_inputs, num_outputs = "associative_recall", 6, 8, 6
    line = (
        "items of three vectors of 6 bits, with commas between them, a question mark and one of "
        "them, such as 011001 111100 000001, 101010 000111 110011 ? 011001 111100 000001"
    )

    def sizes(self, max_size):
        return np.arange(2, max_size + 1)[:, None]

    def test_sizes(self, max_size):
        return [(max_size,), *((max_size + more,) for more in (2, 4, 6, 9, 14))]

    def steps(self, sizes):
        return 4 * sizes[:, 0] + 8

    def show(self, sizes, rng):
        vectors = rng.integers(0, 2, (len(sizes), 3 * sizes.max(), 6), np.int8)
        return Shown(sizes, vectors, rng.integers(0, sizes[:, 0] - 1))

    def lay_out(self, shown, inputs, targets):
        count, asked = shown.sizes[:, 0], shown.extra
        rows, three = np.arange(len(count))[:, None], np.arange(3)
        row, item = _each(count)
        inputs[row, 4 * item, 6] = 1.0
        row, at = _each(3 * count)
        inputs[row, 4 * (at // 3) + at % 3 + 1, :6] = shown.vectors[row, at]
        end = 4 * count[:, None]
        inputs[rows, end + [0, 4], 7] = 1.0
        inputs[rows, end + 1 + three, :6] = shown.vectors[rows, 3 * asked[:, None] + three]
        targets[rows, end + 5 + three] = shown.vectors[rows, 3 * (asked[:, None] + 1) + three]

    def read(self, line):
        items, mark, query = line.partition("?")
        vectors = [_vectors(item, 6, 3) for item in items.split(",")]
        found = [(item == _vectors(query, 6, 3)).all() for item in vectors]
        if not mark or not any(found[:-1]):
            raise ValueError(query)
        shown = _one(np.concatenate(vectors))
        return Shown(np.array([[len(vectors)]]), shown.vectors, np.array([found.index(True)]))


class PrioritySort(VectorProblem):
    """Vectors with a priority each; the 4/5 with the highest are asked, the highest first.

    A size is the number of vectors.
    """

    name, width, num_inputs, num_outputs = "priority_sort", 8, 10, 8
    line = (
        "priorities from -1 to 1 with a vector of 8 bits each, with commas between them, such as "
        "0.5 01100101, -0.2 11110000"
    )

    def sizes(self, max_size):
        return np.array([[max_size]])

    def test_sizes(self, max_size):
        return [(max_size,)]

    def steps(self, sizes):
        return sizes[:, 0] + 1 + _kept(sizes[:, 0])

    def show(self, sizes, rng):
        shape = len(sizes), sizes.max()
        return Shown(sizes, rng.integers(0, 2, (*shape, 8), np.int8), rng.uniform(-1, 1, shape))

    def lay_out(self, shown, inputs, targets):
        count = shown.sizes[:, 0]
        row, at = _each(count)
        inputs[row, at, :8], inputs[row, at, 8] = shown.vectors[row, at], shown.extra[row, at]
        inputs[np.arange(len(count)), count, 9] = 1.0
        real = np.arange(shown.extra.shape[1]) < count[:, None]
        order = np.argsort(np.where(real, -shown.extra, np.inf), axis=1, kind="stable")
        row, at = _each(_kept(count))
        targets[row, count[row] + 1 + at] = shown.vectors[row, order[row, at]]

    def read(self, line):
        pairs = [each.split() for each in line.split(",")]
        priorities = [float(priority) for priority, _ in pairs]
        if not all(-1.0 <= each <= 1.0 for each in priorities):
            raise ValueError(priorities)
        shown = _one(_vectors(" ".join(vector for _, vector in pairs), 8))
        return shown._replace(extra=np.array([priorities]))


def _kept(counts: np.ndarray) -> np.ndarray:
    return np.maximum(1, 4 * counts // 5)


def _each(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row, 0), …, (row, counts[row] - 1) for every row, as two arrays."""
    row, at = np.nonzero(np.arange(counts.max()) < counts[:, None])
    return row, at


def _one(vectors: np.ndarray) -> Shown:
    return Shown(np.array([[len(vectors)]]), vectors[None])


def _vectors(text: str, width: int, count: int | None = None) -> np.ndarray:
    words = text.split()
    if not words or any(len(word) != width or set(word) - {"0", "1"} for word in words):
        raise ValueError(text)
    if count is not None and len(words) != count:
        raise ValueError(text)
    return np.array([[int(bit) for bit in word] for word in words], np.int8)
