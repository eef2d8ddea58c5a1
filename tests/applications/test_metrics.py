"""Metrics: equal to sacreBLEU where it is theirs, worked by hand where it is ours."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from applications.training.metrics import (
    LengthBucket,
    alignment_error_rate,
    bleu,
    bleu_by_length,
    chrf,
    exact_match,
    hard_alignment,
    mass_on_truth,
)

HYPOTHESES = [
    "Two dogs play in the snow .",
    "A man is riding a red bicycle down the street.",
    "People",
    "the child, who laughs, jumps into a pool",
    "A woman sells fruit at the market in the early morning of a cold day",
]
REFERENCES = [
    "Two dogs are playing in the snow.",
    "A man rides a red bicycle down the street.",
    "People wait.",
    "The child, who is laughing, jumps into the pool.",
    "A woman sells fruit at the market early in the morning of a cold day",
]
LENGTHS = [7, 11, 2, 11, 13]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("tokenize", ["13a", "none", "char", "intl"])
def test_bleu_is_sacrebleus(lowercase, tokenize):
    score = bleu(HYPOTHESES, REFERENCES, lowercase=lowercase, tokenize=tokenize)
    expected = sacrebleu.corpus_bleu(
        HYPOTHESES, [REFERENCES], lowercase=lowercase, tokenize=tokenize, force=True
    )
    assert score.value == expected.score
    case = "lc" if lowercase else "mixed"
    start = f"nrefs:1|case:{case}|eff:no|tok:{tokenize}|smooth:exp|version:"
    assert score.signature == start + sacrebleu.__version__


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("word_order", [0, 2])
def test_chrf_is_sacrebleus(lowercase, word_order):
    score = chrf(HYPOTHESES, REFERENCES, lowercase=lowercase, word_order=word_order)
    expected = sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES], word_order=word_order)
    if not lowercase:
        assert score.value == expected.score
    lowered = [[text.lower() for text in texts] for texts in (HYPOTHESES, REFERENCES)]
    expected = sacrebleu.corpus_chrf(lowered[0], [lowered[1]], word_order=word_order)
    assert (score.value == expected.score) == lowercase
    assert score.signature.startswith("nrefs:1|case:")


def test_perfect_texts_score_100():
    assert bleu(REFERENCES, REFERENCES).value == pytest.approx(100)
    assert chrf(REFERENCES, REFERENCES).value == pytest.approx(100)
    assert exact_match(REFERENCES, REFERENCES) == 1


def test_exact_match_counts_equal_strings():
    assert exact_match(["a", "B", "c ", "d", ""], ["a", "b", "c", "d", ""]) == 3 / 5


def test_bleu_of_many_tokenised_lines_prints_no_hint(caplog):
    bleu(["a b c d ."] * 211, ["a b c e ."] * 211, tokenize="none")
    assert not caplog.records


def test_bleu_by_length_is_the_corpus_bleu_of_each_bucket():
    buckets = bleu_by_length(HYPOTHESES, REFERENCES, LENGTHS, edges=(3, 5, 11, 13))
    members = [[2], [0], [1, 3], [4]]  # nothing has 3 or 4 tokens
    bounds = [(0, 3), (5, 11), (11, 13), (13, None)]
    expected = [
        LengthBucket(
            low,
            high,
            len(group),
            bleu([HYPOTHESES[k] for k in group], [REFERENCES[k] for k in group])[0],
        )
        for (low, high), group in zip(bounds, members, strict=True)
    ]
    assert buckets == expected


def test_bleu_by_length_without_edges_is_corpus_bleu():
    options = {"lowercase": True, "tokenize": "char"}
    (bucket,) = bleu_by_length(HYPOTHESES, REFERENCES, LENGTHS, edges=(), **options)
    assert bucket == (0, None, 5, bleu(HYPOTHESES, REFERENCES, **options).value)


def test_alignment_error_rate_by_hand():
    """|A|=5, |S|=4, |A∩S|=2 and |A∩P|=4 over two sentences: 1 - 6/9."""
    predicted = [{(0, 0), (1, 1), (2, 1)}, {(0, 1), (3, 0)}]
    sure = [{(0, 0), (1, 2)}, {(0, 1), (1, 0)}]
    possible = [{(0, 0), (1, 2), (1, 1)}, {(0, 1), (1, 0), (3, 0)}]
    assert alignment_error_rate(predicted, sure, possible) == pytest.approx(1 / 3)
    assert alignment_error_rate(predicted[:1], sure[:1], possible[:1]) == pytest.approx(2 / 5)


LINKS = st.frozensets(st.tuples(st.integers(0, 4), st.integers(0, 6)))
CORPUS = st.lists(st.tuples(LINKS, LINKS, LINKS), min_size=1, max_size=5)


@given(CORPUS)
def test_alignment_error_rate_is_a_rate_and_sure_links_are_possible(corpus):
    predicted, sure, possible = (list(column) for column in zip(*corpus, strict=True))
    if any(predicted) or any(sure):
        rate = alignment_error_rate(predicted, sure, possible)
        both = [p | s for p, s in zip(possible, sure, strict=True)]
        assert 0 <= rate <= 1
        assert rate == alignment_error_rate(predicted, sure, both)
    if any(sure):
        assert alignment_error_rate(sure, sure, possible) == 0


def test_hard_alignment_takes_the_greatest_weight_of_each_row():
    weights = np.array([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1], [0, 0, 0], [0.1, 0.1, 0.8], [0, 1, 0]])
    assert hard_alignment(weights) == {(1, 0), (0, 1), (2, 3), (1, 4)}
    assert hard_alignment(np.zeros((0, 3))) == hard_alignment(np.zeros((3, 0))) == frozenset()


def test_mass_on_truth_averages_over_target_positions_with_truth():
    weights = [
        [[0.2, 0.5, 0.3], [0.7, 0.2, 0.1], [0.0, 0.4, 0.6]],
        [[0.25, 0.75]],
    ]
    truth = [{(1, 0), (2, 0), (0, 2)}, {(0, 0)}]  # 0.8, nothing for the second row, 0.0; then 0.25
    assert mass_on_truth(weights, truth) == pytest.approx((0.8 + 0.0 + 0.25) / 3)


@given(st.integers(1, 7), st.integers(1, 5), st.randoms(use_true_random=False))
def test_attention_to_its_own_hard_alignment_is_at_least_uniform(num_source, num_target, random):
    raw = np.array([[random.random() + 0.01 for _ in range(num_source)] for _ in range(num_target)])
    weights = raw / raw.sum(axis=1, keepdims=True)
    assert 1 / num_source - 1e-9 <= mass_on_truth([weights], [hard_alignment(weights)]) <= 1 + 1e-9


@pytest.mark.parametrize("measure", [bleu, chrf, exact_match])
def test_text_metrics_refuse_what_they_cannot_score(measure):
    with pytest.raises(
        ValueError, match=r"must have the same length\. Received: len\(hypotheses\)=2, "
    ):
        measure(["a", "b"], ["a"])
    with pytest.raises(ValueError, match=r"`references` must not be empty\. Received: len\(hyp"):
        measure([], [])
    with pytest.raises(TypeError, match=r"`hypotheses` must be a sequence of strings.*one, 'abc'"):
        measure("abc", ["a"])
    with pytest.raises(TypeError, match=r"must hold strings\. Received: references\[1\]=None"):
        measure(["a", "b"], ["a", None])


def test_bleu_names_the_tokenisers_it_knows():
    with pytest.raises(
        ValueError, match=r"`tokenize` must be one of 13a, .*zh\. Received: 'moses'"
    ):
        bleu(["a"], ["a"], tokenize="moses")


@pytest.mark.parametrize("edges", [(5, 5), (7, 3), (0, 5)])
def test_bleu_by_length_refuses_edges_out_of_order(edges):
    with pytest.raises(ValueError, match=r"`edges` must be positive and increasing\. Received: \("):
        bleu_by_length(["a"], ["a"], [1], edges=edges)


def test_bleu_by_length_needs_a_length_for_each_text():
    with pytest.raises(
        ValueError, match=r"same length\. Received: len\(hypotheses\)=2, len\(lengths\)=1"
    ):
        bleu_by_length(["a", "b"], ["a", "b"], [1])


def test_alignment_metrics_refuse_what_they_cannot_score():
    with pytest.raises(ValueError, match=r"len\(predicted\)=1, len\(sure\)=2, len\(possible\)=1"):
        alignment_error_rate([set()], [set(), set()], [set()])
    with pytest.raises(
        ValueError, match=r"at least one predicted or sure link.*Received: 2 examples"
    ):
        alignment_error_rate([set(), set()], [set(), set()], [{(1, 1)}, set()])
    with pytest.raises(ValueError, match=r"shape \(target length, source length\).*shape=\(3,\)"):
        hard_alignment([0.1, 0.2, 0.7])
    with pytest.raises(ValueError, match=r"must not be empty\. Received: len\(weights\)=0"):
        mass_on_truth([], [])
    with pytest.raises(ValueError, match=r"at least one link\. Received: 1 empty sets"):
        mass_on_truth([np.ones((2, 3))], [set()])
    with pytest.raises(ValueError, match=r"truth\[0\] with \(2, 1\), weights\[0\]\.shape=\(3, 2\)"):
        mass_on_truth([np.ones((3, 2))], [{(2, 1)}])
