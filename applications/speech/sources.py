"""Recordings with transcripts, as they lie on disk: WAV files, and TensorFlow Datasets.

Those for training are read as late as can be, in every epoch anew, so that they need not fit into
memory. Whatever is wrong is a `DataError` whose message begins with the file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from applications.speech import wav
from applications.speech.strings import Recording
from applications.training import text_files
from applications.training.errors import DataError, UserError

SPLITS = {
    "librispeech": ("train_clean100+train_clean360+train_other500", "dev_clean", "test_clean"),
}
"""The names of the parts, where they are not those of most data sets."""


@dataclass(frozen=True)
class Training:
    """The recordings for training."""

    of_epoch: Callable[[int], Iterable[Recording]]  # in the order of this epoch
    texts: Sequence[str]  # that tell the vocabulary
    count: int  # of the recordings of every epoch
    seconds: float  # of all of them
    left_out: int = 0  # as they are too long


class Longer(NamedTuple):
    """Strings that are longer than those of training: some to choose by, others to tell of."""

    validation: Sequence[Recording]
    test: Sequence[Recording]


class Parts(NamedTuple):
    """A data set."""

    train: Training
    validation: Sequence[Recording]
    test: Sequence[Recording]
    longer: Mapping[int, Longer] = {}  # by how many times longer they are


Stream = Callable[[], Iterator[Recording]]
"""A part of a data set, read anew by every call."""


class Source(NamedTuple):
    """A WAV file, and what was said."""

    path: Path
    text: str
    length: int  # in samples

    def read(self, sample_rate: int) -> Recording:
        """Its recording."""
        return Recording(wav.read(self.path, sample_rate), self.text)


def files(
    given: Sequence[Sequence[Path]], sample_rate: int, max_seconds: float, seed: int
) -> Parts:
    """TSVs of WAV file and transcript, for training, validation and test.

    Each epoch reads those for training in another order.
    """
    train, *held_out = (
        [line for path in paths for line in _lines(path, sample_rate)] for paths in given
    )
    kept = [source for source in train if source.length <= max_seconds * sample_rate]

    def of_epoch(at: int) -> Iterator[Recording]:
        for place in np.random.default_rng([5, seed, at]).permutation(len(kept)):
            yield kept[place].read(sample_rate)

    seconds = sum(source.length for source in kept) / sample_rate
    texts = [source.text for source in kept]
    validation, test = ([source.read(sample_rate) for source in part] for part in held_out)
    training = Training(of_epoch, texts, len(kept), seconds, len(train) - len(kept))
    return Parts(training, validation, test)


def tfds(name: str, data_dir: Path | None, sample_rate: int, max_seconds: float) -> Parts:
    """A TensorFlow data set with `speech` or `audio`, and `text` or `label`.

    Each epoch reads those for training in the order in which they are stored, which is random.
    """
    train, validation, test = _streams(name, data_dir, sample_rate)
    texts, samples, left_out = [], 0, 0
    for recording in train():
        if len(recording.audio) > max_seconds * sample_rate:
            left_out += 1
        else:
            texts.append(recording.text)
            samples += len(recording.audio)

    def of_epoch(at: int) -> Iterator[Recording]:
        return (each for each in train() if len(each.audio) <= max_seconds * sample_rate)

    training = Training(of_epoch, texts, len(texts), samples / sample_rate, left_out)
    return Parts(training, list(validation()), list(test()))


def _streams(name: str, data_dir: Path | None, sample_rate: int) -> list[Stream]:
    """The parts of a TensorFlow data set."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise UserError(
            f'--data tfds: needs pip install "keras-attention-layers[data]". ({error})'
        ) from None
    splits = list(SPLITS.get(name.split("/")[0].split(":")[0], ("train", "validation", "test")))
    try:
        loaded, info = tensorflow_datasets.load(
            name, split=splits, data_dir=data_dir, with_info=True
        )
    except (ValueError, tensorflow_datasets.core.registered.DatasetNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"tfds:{name}: expected the splits {splits}. {reason}") from None
    audio, words = _features(name, info.features)
    found = getattr(info.features[audio], "sample_rate", None)
    if found not in (None, sample_rate):
        raise DataError(f"tfds:{name}: expected {sample_rate} samples a second. Found: {found}")
    classes = getattr(info.features[words], "names", None)
    return [functools.partial(_recordings, part, audio, words, classes) for part in loaded]


def _features(name: str, features: Mapping[str, Any]) -> tuple[str, str]:
    """The names of what is heard and of what was said."""
    audio = next((each for each in ("speech", "audio") if each in features), None)
    words = next((each for each in ("text", "label") if each in features), None)
    if audio is None or words is None:
        raise DataError(
            f"tfds:{name}: expected speech or audio, and text or label. "
            f"Found: {', '.join(features)}"
        )
    return audio, words


def _recordings(
    part: Any, audio: str, words: str, classes: Sequence[str] | None
) -> Iterator[Recording]:
    """What a part of a TensorFlow data set holds; a class such as _silence_ is a word."""
    for example in part.as_numpy_iterator():
        samples, said = example[audio], example[words]
        if np.issubdtype(samples.dtype, np.integer):
            samples = samples / 2.0**15
        if samples.ndim > 1:
            samples = samples.mean(axis=1)
        if classes is not None:
            text = classes[said].strip("_")
        else:
            text = said.decode("utf-8") if isinstance(said, bytes) else str(said)
        yield Recording(samples.astype(np.float32), text)


def _lines(path: Path, sample_rate: int) -> Iterator[Source]:
    for number, line in enumerate(text_files.read_lines(path), start=1):
        columns = line.split("\t")
        if len(columns) != 2 or not columns[1].strip():
            raise DataError(f"{path}:{number}: expected WAV file, tab, transcript. Found: {line!r}")
        recording = path.parent / columns[0]
        yield Source(recording, columns[1].strip(), wav.length(recording, sample_rate))
