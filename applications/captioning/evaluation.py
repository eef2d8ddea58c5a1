"""How good captions are, as text, and whether their words looked where they should."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras

from applications.captioning import metrics, pointing
from applications.captioning.caption import Caption, Describe
from applications.captioning.config import CaptioningConfig, CaptioningExport
from applications.captioning.data import Examples, Facts, Part
from applications.captioning.model import captioner_of
from applications.captioning.pointing import Looked


class DescribeValidation(keras.callbacks.Callback):
    """Captions the validation pictures after each epoch, for real: nothing is teacher-forced.

    Adds `val_cider_d` to the log, of greedy captions, by which the best epoch is chosen.
    """

    def __init__(self, facts: Facts, part: Part, config: CaptioningConfig):
        super().__init__()
        self._facts, self._part, self._config = facts, part, config
        self._describe: Describe | None = None

    def on_epoch_end(self, epoch, logs=None):
        if self._describe is None:
            options = CaptioningExport(beam_width=1, max_length=self._config.max_length)
            self._describe = Describe(captioner_of(self.model), self._facts, options)
        hypotheses, references = texts(self._describe.all(self._part.arrays), self._part)
        logs["val_cider_d"] = metrics.cider_d(hypotheses, references)
        logs["val_exact_match"] = metrics.exact_match(hypotheses, references)


def evaluate(found: Sequence[Caption], examples: Examples) -> Iterator[tuple[str, Any]]:
    """Every result on the test pictures, by name."""
    hypotheses, references = texts(found, examples.test)
    for order, score in enumerate(metrics.bleu(hypotheses, references), start=1):
        yield f"bleu_{order}", score
    yield "rouge_l", metrics.rouge_l(hypotheses, references)
    yield "cider_d", metrics.cider_d(hypotheses, references)
    yield "exact_match", metrics.exact_match(hypotheses, references)
    yield "novelty", metrics.novelty(hypotheses, examples.known)
    yield from _pointing(found, examples.test)


def texts(found: Sequence[Caption], part: Part) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Captions and what people wrote, as words."""
    return (
        [metrics.words(each.caption) for each in found],
        [[metrics.words(caption) for caption in picture.captions] for picture in part.pictures],
    )


def _pointing(found: Sequence[Caption], part: Part) -> Iterator[tuple[str, Any]]:
    """Where words looked, over the right captions, whose words' regions are known.

    The headline is of the words that name a thing; the others, which may be told from what was
    seen before, are given by kind.
    """
    by_kind: dict[str, list[Looked]] = {}
    judged = 0
    for each, picture in zip(found, part.pictures, strict=True):
        names = [word.text for word in picture.sentence]
        if each.tokens != names or not each.weights.size:
            continue
        judged += 1
        for weights, word in zip(each.weights, picture.sentence, strict=True):
            if word.boxes:
                by_kind.setdefault(word.kind, []).append(Looked(weights, word.boxes))
    if "digit" not in by_kind:
        return
    looked = by_kind["digit"]
    yield "captions_judged_by_region", judged
    for name, measure in (
        ("pointing_game", pointing.pointing_game),
        ("mass_in_region", pointing.mass_in_region),
    ):
        yield name, measure(looked)
        yield f"{name}_if_uniform", measure(pointing.uniform(looked))
        yield f"{name}_if_central", measure(pointing.central(looked))
        yield f"{name}_by_kind", {kind: measure(words) for kind, words in sorted(by_kind.items())}
