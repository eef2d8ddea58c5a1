"""Measures of captions, against numbers worked out by hand and against the COCO evaluation."""

import math

import numpy as np
import pytest

from applications.captioning import metrics


def split(*lines):
    return [line.split() for line in lines]


def test_words_are_lower_case_without_punctuation():
    assert (
        metrics.words('Two dogs, "Rex" and Bo\'s pup; run!')
        == "two dogs rex and bo's pup run".split()
    )
    assert metrics.words(" ... ") == []


def test_bleu_counts_each_word_as_often_as_one_reference_has_it():
    # Papineni's example: 2 of 7.
    scores = metrics.bleu(split("the " * 7), [split("the cat is on the mat", "there is a cat")])
    assert scores[0] == pytest.approx(2 / 7, rel=1e-6)


def test_bleu_is_over_the_corpus_and_takes_the_nearest_length():
    hypotheses = split("a b c d", "a b")
    references = [split("a b c e f g", "a b c d e"), split("a b x y")]
    found = metrics.bleu(hypotheses, references)
    # 6 of 6 words, 4 of 4 pairs, 2 of 2 triples, 1 of 1; lengths 6 of 5 + 4.
    assert found == pytest.approx([math.exp(1 - 9 / 6)] * 4, rel=1e-6)


def test_bleu_of_equal_distances_takes_the_shorter():
    found = metrics.bleu(split("a b c"), [split("a b c d", "a b")])
    assert found[0] == pytest.approx(1.0, rel=1e-6)  # held to length 2, it is not too short


def test_rouge_l_takes_the_best_precision_and_the_best_recall():
    found = metrics.rouge_l(split("a b c d"), [split("a x c y d z", "b c")])
    precision, recall = 3 / 4, 1.0
    expected = 2.44 * precision * recall / (recall + 1.44 * precision)
    assert found == pytest.approx(expected)
    assert metrics.rouge_l(split("a"), [split("b")]) == 0.0


def test_cider_d_weighs_what_is_rare():
    references = [split("a red bus"), split("a blue dog")]
    # Of "a blue dog", "a" is in both pictures and weighs 0; so do not its pairs and triples.
    found = metrics.cider_d(split("a red bus", "a dog"), references)
    cosines = [1.0, 1.0, 1.0, 0.0]
    first = 10 * sum(cosines) / 4
    second = 10 * math.exp(-1 / 72) * (1 / math.sqrt(2)) / 4  # "dog" of "blue" and "dog"
    assert found == pytest.approx((first + second) / 2)


def test_cider_d_cuts_what_is_said_too_often():
    references = [split("dog cat"), split("bus")]
    once = metrics.cider_d(split("dog cat", "bus"), references)
    often = metrics.cider_d(split("dog dog", "bus"), references)
    # Counts 2 against 1 and 1: the smaller, 1 times 1, over the lengths 2 and sqrt(2).
    assert once - often == pytest.approx((10 * 2 / 4 - 10 / (2 * math.sqrt(2)) / 4) / 2)


def test_exact_match_takes_any_reference():
    references = [split("a b", "c d"), split("e")]
    assert metrics.exact_match(split("c d", "e f"), references) == 0.5


def test_novelty_is_of_whole_captions():
    assert metrics.novelty(split("a b", "a c", "a"), {"a b", "a c d"}) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "measure", [metrics.bleu, metrics.rouge_l, metrics.cider_d, metrics.exact_match]
)
def test_what_cannot_be_measured_is_refused(measure):
    with pytest.raises(ValueError, match="the same length, which is not 0. Received: len"):
        measure([["a"]], [])
    with pytest.raises(ValueError, match="must have the same length, which is not 0"):
        measure([], [])
    with pytest.raises(TypeError, match="`hypotheses` must hold lists of tokens. Received: 'a b'"):
        measure(["a b"], [[["a"]]])
    with pytest.raises(ValueError, match="Every picture must have a reference"):
        measure([["a"], ["b"]], [[["a"]], []])


def test_all_are_what_the_coco_evaluation_computes():
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    draw = np.random.default_rng(3)
    vocabulary = "a the dog cat red blue bus runs sits on under mat two".split()

    def sentence():
        return list(draw.choice(vocabulary, draw.integers(2, 11)))

    references = [[sentence() for _ in range(draw.integers(1, 6))] for _ in range(41)]
    hypotheses = [
        theirs[0] if draw.random() < 0.3 else theirs[-1][::2] + sentence()[:3]
        for theirs in references
    ]
    truth = {n: [" ".join(each) for each in theirs] for n, theirs in enumerate(references)}
    said = {n: [" ".join(each)] for n, each in enumerate(hypotheses)}
    bleu, _ = Bleu(4).compute_score(truth, said, verbose=0)
    assert metrics.bleu(hypotheses, references) == pytest.approx(bleu, rel=1e-9)
    assert metrics.rouge_l(hypotheses, references) == pytest.approx(
        Rouge().compute_score(truth, said)[0], rel=1e-12
    )
    assert metrics.cider_d(hypotheses, references) == pytest.approx(
        Cider().compute_score(truth, said)[0], rel=1e-9
    )
