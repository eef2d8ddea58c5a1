"""Pictures of a translator: what it read for each token, and how it fares with length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from applications.translation.config import TranslationConfig
from applications.translation.data import Pair
from applications.translation.translate import Translation
from keras_attention import visualization

ON_THE_PAGE = 100
AS_PICTURES = 4


def draw(
    found: Sequence[Translation], pairs: Sequence[Pair], config: TranslationConfig, folder: Path
) -> None:
    """Draws the alignments of the first test sentences: a page of many, and a few pictures."""
    if config.attention == "none":
        return
    alignments = [
        _alignment(each, pair, config)
        for each, pair in zip(found[:ON_THE_PAGE], pairs, strict=False)
        if each.target_tokens
    ]
    page = visualization.alignment_page(alignments, title="What was read for each token")
    visualization.save(folder / "alignments.html", page)
    for number, alignment in enumerate(alignments[:AS_PICTURES], start=1):
        heatmap = visualization.heatmap(alignment)
        visualization.save(folder / f"alignment_{number}.png", heatmap)


def bleu_by_length(results: Mapping[str, Mapping[str, Any]]) -> Any:
    """A curve for each run: BLEU against the length of the source, as in Bahdanau et al., figure 2.

    Args:
        results: The contents of metrics.json of each run, by the name it is to have.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, result in results.items():
        buckets = result["metrics"]["bleu_by_length"]
        labels = [_range(bucket) for bucket in buckets]
        axes.plot(labels, [bucket["bleu"] for bucket in buckets], marker="o", label=name)
    axes.set(xlabel="source length in tokens", ylabel="BLEU", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _range(bucket: Mapping[str, Any]) -> str:
    if bucket["high"] is None:
        return f"≥ {bucket['low']}"
    return f"{bucket['low']}-{bucket['high'] - 1}"


def _alignment(
    found: Translation, pair: Pair, config: TranslationConfig
) -> visualization.Alignment:
    truth = None
    known = config.sides == ("characters", "characters") and not config.lowercase
    if pair.truth is not None and known and found.translation == pair.target:
        truth = np.zeros(found.weights.shape, bool)
        for source, target in pair.truth.alignment.possible:
            truth[target, source] = True
    caption = f"{pair.source} → {found.translation}"
    return visualization.Alignment(
        found.source_tokens, found.target_tokens, found.weights, truth, caption
    )
