"""Pictures of a recognizer: what it listened to for each token, under what there was to hear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from applications.speech import features
from applications.speech.data import Examples
from applications.speech.recognize import Recognize, Transcript
from applications.speech.strings import Recording
from keras_attention import visualization

AS_PICTURES = 3


def draw(recognize: Recognize, examples: Examples, folder: Path) -> None:
    """Draws alignments of the first test recordings, and of the first longer one."""
    chosen = {f"alignment_{n}": each for n, each in enumerate(examples.test[:AS_PICTURES], start=1)}
    chosen |= {
        f"{factor}_times_longer": longer.test[0] for factor, longer in examples.longer.items()
    }
    for name, recording in chosen.items():
        (found,) = recognize.all([recording.audio])
        figure = alignment(
            found, recording, recognize.facts.heard, recognize.seconds_per_annotation
        )
        visualization.save(folder / f"{name}.png", figure)


def alignment(found: Transcript, recording: Recording, heard: features.Heard, step: float) -> Any:
    """The spectrogram, and below it each token's weights over the same time.

    Args:
        found: What was recognised.
        recording: What was said; where each word was is drawn, if known.
        heard: How it was heard.
        step: Seconds from one annotation to the next.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    seconds = len(recording.audio) / heard.sample_rate
    spectrum = features.log_mels(recording.audio[None], heard.sample_rate, heard.num_mels)[0]
    rows = max(len(found.tokens), 1)
    figure = Figure(figsize=(8.0, 2.2 + 0.22 * min(rows, 40)), layout="constrained")
    heights = (1.5, 0.2 * min(rows, 40) + 0.3)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    above.imshow(
        np.transpose(spectrum),
        origin="lower",
        aspect="auto",
        extent=(0.0, seconds, 0, heard.num_mels),
    )
    above.set(ylabel="mel band", title=recording.text if rows <= 20 else None)
    end = len(found.times) * step
    below.imshow(
        found.weights.reshape(rows, -1) if found.tokens else np.zeros((1, 1)),
        aspect="auto",
        cmap="Blues",
        vmin=0.0,
        vmax=1.0,
        interpolation="nearest",
        extent=(0.0, end, rows - 0.5, -0.5),
    )
    for row, span in enumerate(recording.spans or ()):
        below.plot([span.start, span.end], [row, row], color="tab:orange", linewidth=1.5, alpha=0.6)
    below.set(xlabel="seconds", ylim=(rows - 0.5, -0.5), xlim=(0.0, seconds))
    if rows <= 40:
        below.set_yticks(range(len(found.tokens)), found.tokens)
    return figure
