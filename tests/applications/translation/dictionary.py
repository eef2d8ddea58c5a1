"""A pronouncing dictionary in the format of the CMU's, whose words are said letter by letter."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SAID = {"a": "AE1", "b": "B", "c": "K", "d": "D", "e": "EH1", "g": "G", "i": "IH2", "m": "M"}


def write(folder: Path, num_words: int) -> Path:
    """Writes `cmudict.dict` into a folder: every fifth word has another pronunciation, too."""
    rng = np.random.default_rng(3)
    words = {"".join(rng.choice([*SAID], rng.integers(2, 6))) for _ in range(2 * num_words)}
    lines = ["a.m. EY2 EH1 M", "o'clock AH0 K L AA1 K # with a sign"]
    for number, word in enumerate(sorted(words)[:num_words]):
        lines.append(" ".join([word, *(SAID[letter] for letter in word)]))
        if number % 5 == 0:
            lines.append(" ".join([f"{word}(2)", *(SAID[letter] for letter in word), "ER0"]))
    (folder / "cmudict.dict").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
