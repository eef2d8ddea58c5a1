"""How good transcripts are, and whether their tokens were heard where they were said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jiwer
import keras
import numpy as np

from applications.speech.config import SpeechConfig, SpeechExport
from applications.speech.data import Examples, Facts
from applications.speech.recognize import Recognize, Transcript
from applications.speech.strings import Recording


class TranscribeValidation(keras.callbacks.Callback):
    """Transcribes the validation recordings after each epoch, for real: nothing is teacher-forced.

    Adds `val_error_rate` to the log, the share of tokens that greedy transcripts have wrong, by
    which the best epoch is chosen.
    """

    def __init__(self, facts: Facts, part: Sequence[Recording], config: SpeechConfig):
        super().__init__()
        self._facts, self._part, self._config = facts, part, config
        self._recognize: Recognize | None = None

    def on_epoch_end(self, epoch, logs=None):
        if self._recognize is None:
            self._recognize = Recognize(self.model, self._facts, SpeechExport(beam_width=1))
        found = self._recognize.all([recording.audio for recording in self._part])
        logs["val_error_rate"] = error_rate(found, self._part, self._config)


def evaluate(
    recognize: Recognize, examples: Examples, config: SpeechConfig
) -> Iterator[tuple[str, Any]]:
    """Every result on the test recordings, by name, and on longer validation strings, to choose
    settings by; rates are of 1."""
    found = recognize.all([recording.audio for recording in examples.test])
    yield from _errors(found, examples.test, config)
    yield from _heard(found, examples.test)
    for factor, longer in examples.longer.items():
        for prefix, part in (("validation_", longer.validation), ("", longer.test)):
            # Fewer at once: they are as much longer, too.
            found = recognize.all([recording.audio for recording in part], batch_size=10)
            for name, value in _errors(found, part, config):
                yield f"{prefix}{name}_{factor}_times_longer", value


def error_rate(
    found: Sequence[Transcript], part: Sequence[Recording], config: SpeechConfig
) -> float:
    """Substitutions, deletions and insertions, by the tokens there are: words, or characters."""
    measure = jiwer.wer if config.tokens == "words" else jiwer.cer
    return float(measure([each.text for each in part], [each.text for each in found]))


def _errors(
    found: Sequence[Transcript], part: Sequence[Recording], config: SpeechConfig
) -> Iterator[tuple[str, Any]]:
    said, heard = [each.text for each in part], [each.text for each in found]
    yield "error_rate", error_rate(found, part, config)
    yield "word_error_rate", float(jiwer.wer(said, heard))
    yield (
        "exact_match",
        float(np.mean([one == other for one, other in zip(said, heard, strict=True)])),
    )


def _heard(found: Sequence[Transcript], part: Sequence[Recording]) -> Iterator[tuple[str, Any]]:
    """Over the right transcripts whose words' times are known: how often a word's largest weight,
    and how much of its weight, is on frames where it was said; and were it spread evenly."""
    pointed, mass, uniform, judged = [], [], [], 0
    for each, recording in zip(found, part, strict=True):
        if recording.spans is None or each.tokens != recording.text.split():
            continue
        judged += 1
        width = each.times[1] - each.times[0] if len(each.times) > 1 else 0.0
        for weights, span in zip(each.weights, recording.spans, strict=True):
            said = (each.times + width > span.start) & (each.times < span.end)
            pointed.append(said[weights.argmax()])
            mass.append(weights[said].sum())
            uniform.append(said.mean())
    if pointed:
        yield "transcripts_judged_by_time", judged
        yield "pointing_game", float(np.mean(pointed))
        yield "mass_on_word", float(np.mean(mass))
        yield "mass_on_word_if_uniform", float(np.mean(uniform))
