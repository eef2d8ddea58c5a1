"""All problems, by name."""

from __future__ import annotations

from applications.algorithmic.languages import Counting, Language, Memorization, Sums
from applications.algorithmic.vectors import (
    AssociativeRecall,
    Copy,
    PrioritySort,
    RepeatCopy,
    VectorProblem,
)

VECTORS: dict[str, VectorProblem] = {
    each.name: each for each in (Copy(), RepeatCopy(), AssociativeRecall(), PrioritySort())
}
LANGUAGES: dict[str, Language] = {
    each.name: each
    for each in (
        Counting("anbn", (1, 1)),
        Counting("anbncn", (1, 1, 1)),
        Counting("anbncndn", (1, 1, 1, 1)),
        Counting("anb2n", (1, 2)),
        Sums(),
        Memorization(),
    )
}
PROBLEMS: dict[str, VectorProblem | Language] = {**VECTORS, **LANGUAGES}
