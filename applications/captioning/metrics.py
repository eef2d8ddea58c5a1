"""How good captions are, each against all that people wrote about its picture.

BLEU, ROUGE-L and CIDEr-D as the COCO evaluation computes them, from tokens. Only its tokeniser,
which needs Java, is another here: words in lower case, without punctuation. Scores are those of a
whole test set; BLEU and ROUGE-L are from 0 to 1, CIDEr-D from 0 to 10.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

Tokens = Sequence[str]

TINY, SMALL = 1e-15, 1e-9  # what the COCO evaluation adds to counts, so that none is 0


def words(caption: str) -> list[str]:
    """The words of a caption, in lower case, without punctuation.

    >>> words("A man's dog, running fast.")
    ['a', "man's", 'dog', 'running', 'fast']
    """
    return re.findall(r"\w+(?:['’]\w+)*", caption.lower())


def bleu(
    hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]], orders: int = 4
) -> list[float]:
    """BLEU-1 to BLEU-4 of a corpus, each hypothesis held to the reference nearest in length.

    Example:

    >>> scores = bleu(["the cat sat on the mat".split()], [["the cat is on the mat".split()]])
    >>> [round(score, 3) for score in scores]
    [0.833, 0.707, 0.5, 0.0]

    Reference: Papineni, Roukos, Ward & Zhu, 2002, https://aclanthology.org/P02-1040 (section 2.3).
    """
    _check(hypotheses, references)
    matched, possible = [0] * orders, [0] * orders
    length = wanted = 0
    for hypothesis, theirs in zip(hypotheses, references, strict=True):
        length += len(hypothesis)
        wanted += min((abs(len(each) - len(hypothesis)), len(each)) for each in theirs)[1]
        for n in range(orders):
            allowed: Counter[tuple[str, ...]] = Counter()
            for each in theirs:
                allowed |= Counter(_ngrams(each, n + 1))
            found = Counter(_ngrams(hypothesis, n + 1))
            matched[n] += (found & allowed).total()
            possible[n] += found.total()
    ratio = (length + TINY) / (wanted + SMALL)
    brevity = math.exp(1.0 - 1.0 / ratio) if ratio < 1.0 else 1.0
    scores, product = [], 1.0
    for n in range(orders):
        product *= (matched[n] + TINY) / (possible[n] + SMALL)
        scores.append(brevity * product ** (1.0 / (n + 1)))
    return scores


def rouge_l(
    hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]], beta: float = 1.2
) -> float:
    """The mean F-score of longest common subsequences, recall counting more than precision.

    Example:

    >>> round(rouge_l(["a cat sat".split()], [["a black cat sat down".split()]]), 3)
    0.718

    Reference: Lin, 2004, https://aclanthology.org/W04-1013 (section 3).
    """
    _check(hypotheses, references)
    total = 0.0
    for hypothesis, theirs in zip(hypotheses, references, strict=True):
        common = [_common_subsequence(hypothesis, each) for each in theirs]
        precision = max(common) / max(len(hypothesis), 1)
        pairs = zip(common, theirs, strict=True)
        recall = max(found / max(len(each), 1) for found, each in pairs)
        if precision > 0.0 and recall > 0.0:
            total += (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    return total / len(hypotheses)


def cider_d(
    hypotheses: Sequence[Tokens],
    references: Sequence[Sequence[Tokens]],
    orders: int = 4,
    sigma: float = 6.0,
) -> float:
    """The mean likeness of n-grams, those counting most that few pictures have.

    How rare an n-gram is, is told by the references themselves: with one picture only, all scores
    are 0.

    Example:

    >>> references = [["a red bus".split()], ["two dogs play".split()]]
    >>> round(cider_d(["a red bus".split(), "two dogs".split()], references), 3)
    5.628

    Reference: Vedantam, Zitnick & Parikh, 2015, https://arxiv.org/abs/1411.5726 (eqs. 1 to 3, and
    section 7 for CIDEr-D).
    """
    _check(hypotheses, references)
    counted = [[_counts(each, orders) for each in theirs] for theirs in references]
    pictures = Counter(ngram for theirs in counted for ngram in set().union(*theirs))
    most = math.log(len(references))

    def weighed(counts: Counter[tuple[str, ...]]) -> list[dict[tuple[str, ...], float]]:
        vectors: list[dict[tuple[str, ...], float]] = [{} for _ in range(orders)]
        for ngram, count in counts.items():
            vectors[len(ngram) - 1][ngram] = count * (most - math.log(max(1, pictures[ngram])))
        return vectors

    total = 0.0
    for hypothesis, theirs, tokens in zip(hypotheses, counted, references, strict=True):
        own = weighed(_counts(hypothesis, orders))
        for reference, each in zip(theirs, tokens, strict=True):
            # The COCO evaluation takes the number of bigrams for the length.
            difference = max(len(hypothesis) - 1, 0) - max(len(each) - 1, 0)
            likeness = sum(map(_likeness, own, weighed(reference))) / orders
            penalty = math.exp(-(difference**2) / (2 * sigma**2))
            total += 10.0 * penalty * likeness / len(theirs)
    return total / len(hypotheses)


def exact_match(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> float:
    """The share of hypotheses that are, word for word, one of their references."""
    _check(hypotheses, references)
    pairs = zip(hypotheses, references, strict=True)
    return sum(list(one) in [list(each) for each in theirs] for one, theirs in pairs) / len(
        hypotheses
    )


def novelty(hypotheses: Sequence[Tokens], known: Collection[str]) -> float:
    """The share of hypotheses that are none of the captions trained on, which are given as text."""
    return sum(" ".join(each) not in known for each in hypotheses) / len(hypotheses)


def _likeness(one: dict[tuple[str, ...], float], other: dict[tuple[str, ...], float]) -> float:
    """The cosine of two vectors, the first cut down to the second."""
    lengths = (math.hypot(*vector.values()) for vector in (one, other))
    scale = math.prod(lengths)
    if scale == 0.0:
        return 0.0
    return sum(min(value, other[n]) * other[n] for n, value in one.items() if n in other) / scale


def _counts(tokens: Tokens, orders: int) -> Counter[tuple[str, ...]]:
    return Counter(ngram for n in range(orders) for ngram in _ngrams(tokens, n + 1))


def _ngrams(tokens: Tokens, n: int) -> Iterator[tuple[str, ...]]:
    return (tuple(tokens[k : k + n]) for k in range(len(tokens) - n + 1))


def _common_subsequence(one: Tokens, other: Tokens) -> int:
    """The length of the longest sequence that both hold, with gaps."""
    longest = [0] * (len(other) + 1)
    for token in one:
        diagonal = 0
        for at, match in enumerate(other, start=1):
            above = longest[at]
            longest[at] = diagonal + 1 if token == match else max(above, longest[at - 1])
            diagonal = above
    return longest[-1]


def _check(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> None:
    if len(hypotheses) != len(references) or not hypotheses:
        raise ValueError(
            "`hypotheses` and `references` must have the same length, which is not 0. "
            f"Received: len(hypotheses)={len(hypotheses)}, len(references)={len(references)}."
        )
    for name, tokens in (("hypotheses", hypotheses), ("references", references)):
        if isinstance(tokens[0], str):
            raise TypeError(f"`{name}` must hold lists of tokens. Received: {tokens[0]!r}.")
    if not all(references):
        raise ValueError("Every picture must have a reference. Received: one without any.")
