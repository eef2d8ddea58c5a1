"""How good are generated texts and their alignments: measures that the text tasks share.

Scores of whole corpora, from finished outputs of a search; nothing here sees a model. BLEU and chrF
are sacreBLEU's, from 0 to 100, with the signature to quote beside them; the rest is from 0 to 1.

Alignments are sets of links (source position, target position), counted from 0, and attention
weights have the shape (target length, source length): one row for each target position.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

Link = tuple[int, int]


class Score(NamedTuple):
    """A score from 0 to 100, and sacreBLEU's account of how it was computed."""

    value: float
    signature: str


class LengthBucket(NamedTuple):
    """BLEU of the sentences with `low <= length < high`; `high` is None in the last bucket."""

    low: int
    high: int | None
    num_sentences: int
    bleu: float


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    lowercase: bool = False,
    tokenize: str = "13a",
) -> Score:
    """Corpus BLEU with one reference a sentence (Papineni et al., 2002; Post, 2018).

    Args:
        hypotheses: the translations to judge, detokenised.
        references: the true translation of each.
        lowercase: compare without regard to capitals.
        tokenize: sacreBLEU's name of a tokeniser; `"none"` for text that is tokenised already.

    Returns:
        `Score(value, signature)`.

    Example:

    >>> score = bleu(["the cat sat on the mat"], ["the cat sat on a mat"])
    >>> round(score.value, 1), score.signature.split("|")[0]
    (53.7, 'nrefs:1')
    """
    _check_texts(hypotheses, references)
    metric = _bleu_metric(lowercase, tokenize)
    value = metric.corpus_score(list(hypotheses), [list(references)]).score
    return Score(value, str(metric.get_signature()))


def chrf(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    lowercase: bool = False,
    word_order: int = 0,
) -> Score:
    """Corpus chrF: F-score of character n-grams (Popović, 2015); chrF++ with `word_order=2`.

    Args:
        hypotheses: the texts to judge.
        references: the true text for each.
        lowercase: compare without regard to capitals.
        word_order: up to how many words in a row count beside the characters.

    Returns:
        `Score(value, signature)`.
    """
    from sacrebleu.metrics.chrf import CHRF

    _check_texts(hypotheses, references)
    metric = CHRF(lowercase=lowercase, word_order=word_order)
    value = metric.corpus_score(list(hypotheses), [list(references)]).score
    return Score(value, str(metric.get_signature()))


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """The share of hypotheses equal to their reference, character for character.

    >>> exact_match(["2026-11-23", "2026-11-02"], ["2026-11-23", "2026-11-20"])
    0.5
    """
    _check_texts(hypotheses, references)
    return sum(map(str.__eq__, hypotheses, references)) / len(references)


def bleu_by_length(
    hypotheses: Sequence[str],
    references: Sequence[str],
    lengths: Sequence[int],
    edges: Sequence[int] = (10, 15, 20, 25, 30),
    *,
    lowercase: bool = False,
    tokenize: str = "13a",
) -> list[LengthBucket]:
    """Corpus BLEU of short, longer and the longest sentences (as Bahdanau et al., 2015, fig. 2).

    Args:
        hypotheses, references, lowercase, tokenize: as `bleu` takes them.
        lengths: the length of each source sentence, in whatever unit `edges` uses.
        edges: where a new bucket begins; the first begins at 0 and the last has no end.

    Returns:
        One `LengthBucket` for each bucket that is not empty, shortest first.
    """
    _check_texts(hypotheses, references)
    _check_same_length(hypotheses=hypotheses, lengths=lengths)
    if min(edges, default=1) < 1 or any(b <= a for a, b in zip(edges, edges[1:], strict=False)):
        raise ValueError(f"`edges` must be positive and increasing. Received: {tuple(edges)}.")
    metric = _bleu_metric(lowercase, tokenize)
    bucket_of = np.searchsorted(np.asarray(edges, dtype=int), lengths, side="right")
    buckets = []
    for number, (low, high) in enumerate(zip([0, *edges], [*edges, None], strict=True)):
        members = np.flatnonzero(bucket_of == number).tolist()
        if members:
            theirs = [hypotheses[k] for k in members], [[references[k] for k in members]]
            buckets.append(
                LengthBucket(low, high, len(members), metric.corpus_score(*theirs).score)
            )
    return buckets


def alignment_error_rate(
    predicted: Sequence[Collection[Link]],
    sure: Sequence[Collection[Link]],
    possible: Sequence[Collection[Link]],
) -> float:
    """Alignment error rate of a corpus; 0 is perfect.

    AER = 1 - (|A ∩ S| + |A ∩ P|) / (|A| + |S|), where each count is of the whole corpus.

    Args:
        predicted: A, the links found in each example.
        sure: S, the links that must be found.
        possible: P, the links that may be found; sure links are possible whether listed or not.

    Returns:
        The rate, between 0 and 1.

    Example:

    >>> alignment_error_rate([{(0, 0), (1, 1)}], [{(0, 0), (1, 2)}], [{(0, 0), (2, 2)}])
    0.5

    Reference: Och and Ney, 2003, A systematic comparison of various statistical alignment models,
    https://aclanthology.org/J03-1002 (its section on evaluation).
    """
    _check_same_length(predicted=predicted, sure=sure, possible=possible)
    agreed = total = 0
    for found, must, may in zip(predicted, sure, possible, strict=True):
        links, must_links = set(found), set(must)
        agreed += len(links & must_links) + len(links & (must_links | set(may)))
        total += len(links) + len(must_links)
    if total == 0:
        raise ValueError(
            "The alignment error rate needs at least one predicted or sure link. "
            f"Received: {len(predicted)} examples without any."
        )
    return 1 - agreed / total


def hard_alignment(weights: Any) -> frozenset[Link]:
    """Link every target position to the source position with the greatest weight.

    Args:
        weights: attention weights, shape (target length, source length). A row of zeros, as padding
            leaves it, links to nothing.

    Returns:
        The links (source position, target position).

    Example:

    >>> sorted(hard_alignment([[0.1, 0.9], [0.6, 0.4]]))
    [(0, 1), (1, 0)]
    """
    matrix = _weight_matrix(weights)
    if matrix.size == 0:
        return frozenset()
    return frozenset((int(i), j) for j, i in enumerate(matrix.argmax(axis=1)) if matrix[j].any())


def mass_on_truth(weights: Sequence[Any], truth: Sequence[Collection[Link]]) -> float:
    """The mean share of attention that falls where it should, over all target positions.

    Args:
        weights: attention weights of each example, shape (target length, source length).
        truth: the true links of each example. A target position without one (a hyphen in a date)
            does not count.

    Returns:
        The mean weight on true source positions, between 0 and 1 if rows sum to one.

    Example:

    >>> mass_on_truth([[[0.1, 0.9], [0.6, 0.4]]], [{(1, 0), (1, 1)}])
    0.65
    """
    _check_same_length(weights=weights, truth=truth)
    masses: list[float] = []
    for number, (example, links) in enumerate(zip(weights, truth, strict=True)):
        matrix = _weight_matrix(example)
        true = np.zeros(matrix.shape, dtype=bool)
        for i, j in links:
            if not (0 <= j < matrix.shape[0] and 0 <= i < matrix.shape[1]):
                raise ValueError(
                    "Each link (source, target) of `truth` must lie within the weights, shaped "
                    f"(target length, source length). Received: truth[{number}] with {(i, j)}, "
                    f"weights[{number}].shape={matrix.shape}."
                )
            true[j, i] = True
        masses.extend((matrix * true).sum(axis=1)[true.any(axis=1)])
    if not masses:
        raise ValueError(f"`truth` must have at least one link. Received: {len(truth)} empty sets.")
    return float(np.mean(masses))


def _bleu_metric(lowercase: bool, tokenize: str) -> BLEU:
    from sacrebleu.metrics.bleu import BLEU

    if tokenize not in BLEU.TOKENIZERS:
        known = ", ".join(sorted(BLEU.TOKENIZERS))
        raise ValueError(f"`tokenize` must be one of {known}. Received: {tokenize!r}.")
    # `force` silences only a hint about text that looks tokenised; the score is the same.
    return BLEU(lowercase=lowercase, tokenize=tokenize, force=True)


def _weight_matrix(weights: Any) -> np.ndarray:
    matrix = np.asarray(weights, dtype=float)
    if matrix.ndim != 2:
        raise ValueError(
            "Attention weights must have the shape (target length, source length). "
            f"Received: shape={matrix.shape}."
        )
    return matrix


def _check_texts(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    for name, texts in {"hypotheses": hypotheses, "references": references}.items():
        if isinstance(texts, (str, bytes)):
            raise TypeError(f"`{name}` must be a sequence of strings. Received: one, {texts!r}.")
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"`{name}` must hold strings. Received: {name}[{number}]={text!r}.")
    _check_same_length(hypotheses=hypotheses, references=references)


def _check_same_length(**sequences: Sequence[Any]) -> None:
    """Raise unless all have the same length, which is not zero."""
    lengths = {name: len(sequence) for name, sequence in sequences.items()}
    received = ", ".join(f"len({name})={length}" for name, length in lengths.items())
    names = " and ".join(f"`{name}`" for name in lengths)
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{names} must have the same length. Received: {received}.")
    if not any(lengths.values()):
        raise ValueError(f"{names} must not be empty. Received: {received}.")
