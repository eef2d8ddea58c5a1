"""What a speech recognition run can be told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from applications.training.config import TrainConfig
from applications.training.errors import UserError
from applications.training.task import ExportOptions, Source

MADE = ("tones", "digit_strings")
"""The data whose strings are made anew for every epoch."""

MONOTONIC = ("monotonic", "mocha", "milk")
"""The kinds of attention that go on along the recording and never back."""

# What there is to set of some kinds of attention alone.
ONLY = {
    "window": ("content", "location", "smooth"),
    "looks_at": ("location", "smooth"),
    "filters": ("location", "smooth"),
    "kernel_size": ("location", "smooth"),
    "chunk": ("mocha",),
    "stops": MONOTONIC,
    "initial_bias": MONOTONIC,
    "pre_sigmoid_noise": MONOTONIC,
}


@dataclass(frozen=True)
class SpeechConfig(TrainConfig):
    """Trains a recognizer of speech, whose attention goes along the recording."""

    run_dir: Path = Path("runs/speech")
    """Folder the run is written to."""
    data: str = "tones"
    """tones; digit_strings, of the Free Spoken Digit recordings in --data-dir; files, named by
    --train-files and its like; or tfds:NAME, such as tfds:librispeech or tfds:speech_commands."""
    held_out_speaker: str = ""
    """For --data digit_strings: tests on this speaker's recordings and trains on all others';
    without one, tests on the official part, which is of all speakers."""
    train_files: tuple[Path, ...] = ()
    """For --data files: TSVs of WAV file and transcript, one recording a line; paths are relative
    to the TSV."""
    validation_files: tuple[Path, ...] = ()
    """As --train-files, to choose the best weights by."""
    test_files: tuple[Path, ...] = ()
    """As --train-files, for the final results."""
    num_examples: int = 4000
    """For tones and digit_strings: how many strings an epoch trains on, made anew for each."""
    shortest: int = 3
    """For tones and digit_strings: digits of the shortest string."""
    longest: int = 8
    """For tones and digit_strings: digits of the longest string."""
    longer: tuple[int, ...] = (5, 10)
    """For tones and digit_strings: also tests on strings that are so many times longer."""
    noise: float = 0.05
    """For tones and digit_strings: level of the background noise, where the digits' is 1."""
    gap: float = 0.3
    """For tones and digit_strings: most seconds of silence around each digit."""
    max_seconds: float = 20.0
    """For files and tfds: longer recordings are not trained on."""
    sample_rate: int = 8000
    """Samples a second that all recordings must have."""
    num_mels: int = 40
    """Bands of frequency that the recognizer hears, spaced as by the ear."""
    deltas: bool = True
    """Let it hear how each band changes, and how that changes, too."""

    tokens: Literal["words", "characters"] = "characters"
    """What a transcript is cut into; phones are words."""
    vocabulary_size: int = 10_000
    """Most tokens."""

    bidirectional: bool = True
    """Encode a recording from both ends; else from its beginning alone, as a stream needs."""
    stacked_frames: int = 3
    """So many frames, of 10 ms each, are one step of the encoder's lowest layer (Sak et al.)."""
    encoder_layers: int = 2
    """Recurrent layers of the encoder, in all."""
    reductions: int = 1
    """So many of these layers, the upper ones, halve the number of steps each (a pyramid, Chan et
    al.); 0: none does."""
    attention: Literal["content", "location", "smooth", "monotonic", "mocha", "milk"] = "location"
    """content: Bahdanau et al.; location: also looks at where it looked last (Chorowski et al.);
    smooth: the same, spread wider; monotonic: goes on along the recording and never back (Raffel
    et al.); mocha: the same, and reads a chunk (Chiu & Raffel); milk: the same, and reads all up to
    there (Arivazhagan et al.)."""
    window: int = 40
    """For content, location and smooth: look so many encoded frames around where the last token
    was heard at most, as far as the next one may be; 0: everywhere."""
    looks_at: Literal["previous", "cumulative", "both"] = "previous"
    """For location and smooth: the weights before, their sum over all tokens before, or both."""
    filters: int = 10
    """For location and smooth: filters of the convolution over the previous weights."""
    kernel_size: int = 81
    """For location and smooth: width of these filters, in encoded frames; odd. Half of it has to
    reach from one token to the next, pauses included."""
    chunk: int = 2
    """For mocha: encoded frames of a chunk."""
    stops: Literal["mode", "median"] = "median"
    """For monotonic, mocha and milk: whether transcripts are written by the mode, as in the papers,
    or by the median of where such attention may stop, which passes nothing that lasts."""
    initial_bias: float = -1.0
    """For monotonic, mocha and milk: first bias of the scores; the lower, the further it goes."""
    pre_sigmoid_noise: tuple[float, float] = (1.0, 1.0)
    """For monotonic, mocha and milk: deviation of the noise added to the scores in training, in the
    first epoch and in the last. It has them decide clearly, which --stops mode needs most."""

    embedding_units: int = 64
    """Width of the embeddings."""
    units: int = 128
    """Width of the encoder in each direction, of the decoder and of the score."""
    forgetting: float = 0.2
    """How probable what the decoder remembers is to be replaced by something random at each token
    in training, which keeps it from counting the tokens it has written."""
    going_on: float = 0.0
    """How probable a recording is to be encoded in training as if it stood among others, which
    prepares the encoder for recordings longer than any in training."""
    dropout: float = 0.1
    """Share of embeddings, annotations and deep output dropped in training."""
    label_smoothing: float = 0.0
    """Share of the target probability spread over the whole vocabulary."""
    average: float = 0.0
    """Evaluate a moving average of the weights with this momentum, such as 0.99; 0: do not."""

    beam_width: int = 5
    """Hypotheses kept in the search for a transcript."""
    length_penalty: float = 0.0
    """Exponent of the length penalty (Wu et al.); 0 favours short transcripts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_data()
        self._at_least(1, "num_examples", "shortest", "num_mels", "stacked_frames")
        self._at_least(1, "encoder_layers", "filters", "kernel_size", "chunk")
        self._at_least(1, "embedding_units", "units", "beam_width")
        self._at_least(self.shortest, "longest")
        self._require("longer", all(each >= 2 for each in self.longer), "whole numbers above 1")
        self._at_least(4000, "sample_rate")
        self._require("max_seconds", self.max_seconds > 0.0, "positive")
        self._at_least(5, "vocabulary_size")
        self._require("kernel_size", self.kernel_size % 2 == 1, "odd")
        between = 0 <= self.reductions <= self.encoder_layers
        self._require("reductions", between, f"from 0 to --encoder-layers, {self.encoder_layers}")
        self._at_least(0, "window", "noise", "gap", "length_penalty")
        self._require("pre_sigmoid_noise", min(self.pre_sigmoid_noise) > 0.0, "positive")
        self._require("going_on", 0.0 <= self.going_on <= 1.0, "in [0, 1]")
        self._shares("forgetting", "dropout", "label_smoothing", "average")

    def without_effect(self) -> Iterator[tuple[str, str]]:
        yield from self._for_others("attention", ONLY)

    def _check_data(self) -> None:
        if self.data not in (*MADE, "files") and not self.data.startswith("tfds:"):
            raise UserError(
                f"--data must be tones, digit_strings, files or tfds:NAME. Received: {self.data}"
            )
        if self.data == "digit_strings" and self.data_dir is None:
            raise UserError("--data digit_strings needs --data-dir, the folder of the recordings.")
        if self.held_out_speaker and self.data != "digit_strings":
            raise UserError(f"--held-out-speaker needs --data digit_strings, not {self.data}.")
        given = (self.train_files, self.validation_files, self.test_files)
        if self.data == "files" and not all(given):
            raise UserError(
                "--data files needs --train-files, --validation-files and --test-files."
            )
        if self.data != "files" and any(given):
            raise UserError(f"--train-files and its like need --data files, not {self.data}.")


@dataclass(frozen=True)
class SpeechExport(ExportOptions):
    """Exports a trained recognizer; what is fixed here cannot be set per request."""

    beam_width: int = 5
    """Hypotheses kept in the search."""
    num_transcripts: int = 1
    """How many of them are returned, best first."""
    max_length: int = 200
    """Longest transcript, in tokens."""
    length_penalty: float = 0.0
    """Exponent of the length penalty (Wu et al.)."""


_DIGIT_STRINGS = SpeechConfig(
    run_dir=Path("runs/digit_strings"),
    data="digit_strings",
    data_dir=Path("data/fsdd"),
    tokens="words",
    epochs=8,
    learning_rate=2e-3,
    batch_size=32,
    average=0.99,
)

PRESETS = {
    "tones": SpeechConfig(
        run_dir=Path("runs/tones"),
        tokens="words",
        epochs=10,
        learning_rate=2e-3,
        batch_size=32,
        average=0.99,
        beam_width=3,
    ),
    "digit_strings": _DIGIT_STRINGS,
    "digit_strings_monotonic": replace(
        _DIGIT_STRINGS,
        run_dir=Path("runs/digit_strings_monotonic"),
        attention="monotonic",
        going_on=0.5,
        forgetting=0.6,
        epochs=12,
    ),
    # The widths of Chorowski et al., on the 960 hours that later work reports. Untested at scale.
    "librispeech": SpeechConfig(
        run_dir=Path("runs/librispeech"),
        data="tfds:librispeech",
        sample_rate=16_000,
        vocabulary_size=64,
        encoder_layers=4,
        reductions=2,
        stacked_frames=2,
        kernel_size=201,
        window=100,  # as far as these filters reach
        embedding_units=256,
        units=256,
        epochs=20,
        learning_rate=5e-4,
        precision="mixed_bfloat16",
        label_smoothing=0.1,
        average=0.999,
        beam_width=10,
        length_penalty=0.6,
    ),
}

SOURCES = {
    "tones": Source("tones", "strings of digits in tones of a telephone, made up"),
    "digit_strings": Source(
        "digit_strings",
        "strings of the recordings of the Free Spoken Digit Dataset",
        "CC-BY-SA-4.0",
    ),
    "files": Source("files", "recordings and transcripts of its maker's own"),
    "tfds:librispeech": Source("tfds:librispeech", "LibriSpeech", "CC-BY-4.0"),
    "tfds:speech_commands": Source("tfds:speech_commands", "Speech Commands", "CC-BY-4.0"),
}
"""What `--data` names."""
