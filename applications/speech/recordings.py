"""The Free Spoken Digit Dataset: single digits, recorded, of which strings are made.

Its files are `{digit}_{speaker}_{index}.wav`, of 8000 samples a second. Those with the indices 0
to 4 are its official test part; 5 to 9 serve as validation here, and the rest is for training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from applications.speech import wav
from applications.speech.strings import DIGITS, Speaker
from applications.training.errors import DataError

TEST, VALIDATION = range(0, 5), range(5, 10)  # indices

Voices = Mapping[str, list[list[np.ndarray]]]
"""Of each speaker, for each digit, its recordings."""


@dataclass(frozen=True)
class Name:
    """What a file's name says."""

    digit: int
    speaker: str
    index: int

    @classmethod
    def of(cls, path: Path) -> Name:
        """Reads `{digit}_{speaker}_{index}.wav`."""
        found = re.fullmatch(r"([0-9])_([^_]+)_([0-9]+)\.wav", path.name)
        if not found:
            raise DataError(f"{path}: expected a name like 7_jackson_32.wav")
        return cls(int(found[1]), found[2], int(found[3]))


class Parts(NamedTuple):
    """Recordings, each in one part."""

    train: Voices
    validation: Voices
    test: Voices


def read(folder: Path, held_out_speaker: str, sample_rate: int) -> Parts:
    """All recordings of a folder, or of `recordings` in it.

    With a `held_out_speaker`, all of theirs are for test, and only the validation of the others'
    is not for training.
    """
    inner = folder / "recordings"
    folder = inner if inner.is_dir() else folder
    named = {path: Name.of(path) for path in sorted(folder.glob("*.wav"))}
    if not named:
        raise DataError(f"{folder}: expected WAV files like 7_jackson_32.wav here, found none")
    speakers = sorted({name.speaker for name in named.values()})
    if held_out_speaker and (held_out_speaker not in speakers or len(speakers) < 2):
        raise DataError(
            f"{folder}: expected recordings of {held_out_speaker} and of others. "
            f"Found those of: {', '.join(speakers)}"
        )
    parts: tuple[dict[str, list[list[np.ndarray]]], ...] = ({}, {}, {})
    for path, name in named.items():
        part = parts[_part(name, held_out_speaker)]
        voice = part.setdefault(name.speaker, [[] for _ in DIGITS])
        voice[name.digit].append(wav.read(path, sample_rate))
    for part, what in zip(parts, Parts._fields, strict=True):
        _check(part, what, folder)
    return Parts(*parts)


def speaker(rng: np.random.Generator, voices: Voices) -> Speaker:
    """One of the speakers: a function that says a digit, as in any recording of theirs."""
    voice = voices[sorted(voices)[rng.integers(len(voices))]]
    return lambda digit: voice[digit][rng.integers(len(voice[digit]))]


def _part(name: Name, held_out_speaker: str) -> int:
    """The place in `Parts`."""
    is_test = name.speaker == held_out_speaker if held_out_speaker else name.index in TEST
    return 2 if is_test else int(name.index in VALIDATION)


def _check(part: Voices, what: str, folder: Path) -> None:
    if not part:
        raise DataError(f"{folder}: expected recordings for {what}, found none")
    for who, voice in sorted(part.items()):
        missing = [str(digit) for digit, sounds in enumerate(voice) if not sounds]
        if missing:
            raise DataError(
                f"{folder}: expected all ten digits of {who} for {what}. "
                f"Missing: {', '.join(missing)}"
            )
