"""How good translations are, as text and as alignments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from applications.training import metrics
from applications.translation.config import TranslationConfig, TranslationExport
from applications.translation.data import Facts, Pair
from applications.translation.translate import Translate, Translation


class TranslateValidation(keras.callbacks.Callback):
    """Translates the validation sentences after each epoch, for real: nothing is teacher-forced.

    Adds `val_chrf` to the log, chrF from 0 to 100 of greedy translations, by which the best epoch
    is chosen; of a pronouncing dictionary, `val_phone_error_rate`. The loss would choose one too
    early: it overfits before the translations do.
    """

    def __init__(self, facts: Facts, pairs: Sequence[Pair], config: TranslationConfig):
        super().__init__()
        self._facts, self._pairs, self._config = facts, pairs, config
        self._translate: Translate | None = None

    def on_epoch_end(self, epoch, logs=None):
        if self._translate is None:
            options = TranslationExport(beam_width=1, max_length=self._config.max_length)
            self._translate = Translate(self.model, self._facts, options)
        found = self._translate.all([pair.source for pair in self._pairs], batch_size=256)
        if self._config.data == "cmudict":
            results = dict(pronunciations(found, self._pairs, self._config))
            logs["val_phone_error_rate"] = results["phone_error_rate"]
            return
        logs["val_chrf"] = metrics.chrf(
            [each.translation for each in found],
            [pair.target for pair in self._pairs],
            lowercase=self._config.lowercase,
        ).value


def evaluate(
    found: Sequence[Translation], pairs: Sequence[Pair], config: TranslationConfig
) -> Iterator[tuple[str, Any]]:
    """Every result of one test set, by name."""
    if config.data == "cmudict":
        yield from pronunciations(found, pairs, config)
        return
    hypotheses = [each.translation for each in found]
    references = [pair.target for pair in pairs]
    tokenize = "char" if config.sides[1] == "characters" else "13a"
    bleu = metrics.bleu(hypotheses, references, lowercase=config.lowercase, tokenize=tokenize)
    chrf = metrics.chrf(hypotheses, references, lowercase=config.lowercase)
    yield "bleu", bleu.value
    yield "bleu_signature", bleu.signature
    yield "chrf", chrf.value
    yield "chrf_signature", chrf.signature
    if config.lowercase:
        references = [reference.lower() for reference in references]
    yield "exact_match", metrics.exact_match(hypotheses, references)
    lengths = [len(each.source_tokens) - 1 for each in found]
    buckets = metrics.bleu_by_length(
        hypotheses, references, lengths, lowercase=config.lowercase, tokenize=tokenize
    )
    yield "bleu_by_length", [bucket._asdict() for bucket in buckets]
    yield from _alignment(found, pairs, config)


def pronunciations(
    found: Sequence[Translation], pairs: Sequence[Pair], config: TranslationConfig
) -> Iterator[tuple[str, float]]:
    """The share of words said in a way that is right, and that of phones that are wrong.

    Errors are substitutions, deletions and insertions by the nearest of a word's pronunciations,
    the first of them where two are as near, and their share is of that one's phones.
    """
    import jiwer  # No other data needs it.

    right = errors = phones = 0
    for each, pair in zip(found, pairs, strict=True):
        answers = [pair.target, *pair.others]
        if config.lowercase:
            answers = [answer.lower() for answer in answers]
        if each.translation in answers:
            right += 1
            phones += len(each.translation.split())
            continue
        compared = (jiwer.process_words(answer, each.translation) for answer in answers)
        distances = [c.substitutions + c.deletions + c.insertions for c in compared]
        errors += min(distances)
        phones += len(answers[distances.index(min(distances))].split())
    yield "word_accuracy", right / len(pairs)
    yield "phone_error_rate", errors / phones


def _alignment(
    found: Sequence[Translation], pairs: Sequence[Pair], config: TranslationConfig
) -> Iterator[tuple[str, Any]]:
    """Alignments against the truth, over the right translations, where characters are tokens."""
    judged = [
        (each, pair.truth.alignment)
        for each, pair in zip(found, pairs, strict=True)
        if pair.truth is not None and each.translation == pair.target
    ]
    known = config.sides == ("characters", "characters") and not config.lowercase
    if not (judged and known and config.attention != "none"):
        return
    weights = [each.weights for each, _ in judged]
    sure = [truth.sure for _, truth in judged]
    possible = [truth.possible for _, truth in judged]
    predicted = [metrics.hard_alignment(matrix) for matrix in weights]
    uniform = [np.full_like(matrix, 1.0 / matrix.shape[1]) for matrix in weights]
    yield "alignment_error_rate", metrics.alignment_error_rate(predicted, sure, possible)
    yield "mass_on_right_field", metrics.mass_on_truth(weights, possible)
    yield "mass_on_right_field_if_uniform", metrics.mass_on_truth(uniform, possible)
