"""What a translation run can be told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from applications.training.config import TrainConfig, flag
from applications.training.errors import UserError
from applications.training.task import ExportOptions, Source

MONOTONIC = ("monotonic", "mocha", "milk")
"""The kinds of attention that go on along the source and never back."""

# What there is to set of some kinds of attention alone.
ONLY = {"chunk": ("mocha",), "initial_bias": MONOTONIC, "pre_sigmoid_noise": MONOTONIC}

FOLDERS = {"multi30k": "its files", "cmudict": "cmudict.dict"}
"""What is in the --data-dir of the data that need one."""


@dataclass(frozen=True)
class TranslationConfig(TrainConfig):
    """Trains a recurrent translator, with attention or without."""

    run_dir: Path = Path("runs/translation")
    """Folder the run is written to."""
    data: str = "dates"
    """dates; multi30k or cmudict, the CMU Pronouncing Dictionary, in --data-dir; tfds:NAME; or
    files, named by --train-files and its like."""
    languages: tuple[str, str] = ("en", "de")
    """Source and target, as the data set names them."""
    train_files: tuple[Path, ...] = ()
    """For --data files: two aligned files, source and target, or one TSV of pairs."""
    validation_files: tuple[Path, ...] = ()
    """As --train-files, to choose the best weights by."""
    test_files: tuple[Path, ...] = ()
    """As --train-files, for the final results."""
    num_examples: int = 40_000
    """For --data dates: how many pairs to train on."""
    max_length: int = 60
    """Longer training pairs are left out, in tokens of either side."""
    stream: int = 0
    """For files and tfds: larger than memory: read training pairs as they are needed, and hold and
    shuffle so many at a time; vocabularies are of the first so many. 0: hold all."""
    steps_per_epoch: int = 0
    """For --stream: so many steps make an epoch, wherever in the data it ends."""
    tokens_per_batch: int = 0
    """Most tokens of either side of a batch, with padding, all devices together: short sentences
    make large batches, of --batch-size sentences at most. 0: batches of --batch-size sentences."""

    tokens: Literal["words", "subwords", "characters"] = "words"
    """What a sentence is cut into; subwords need tensorflow-text."""
    target_tokens: Literal["words", "subwords", "characters"] | None = None
    """What a translation is cut into; phones are words. Like the source, unless given."""
    vocabulary_size: int = 8000
    """Most tokens of either side."""
    subword_dropout: float = 0.0
    """Share of the merges that fail as training sentences are cut into subwords, for every epoch
    anew (BPE dropout), such as 0.05; more makes them longer."""
    lowercase: bool = False
    """Lower-case all text."""

    attention: Literal["additive", "bilinear", "monotonic", "mocha", "milk", "none"] = "additive"
    """How the decoder looks at the source; monotonic: goes on along it and never back (Raffel et
    al.); mocha: the same, and reads a chunk (Chiu & Raffel); milk: the same, and reads all up to
    there (Arivazhagan et al.); none: it sees one summary, as before attention."""
    chunk: int = 2
    """For mocha: source tokens of a chunk."""
    initial_bias: float = -1.0
    """For monotonic, mocha and milk: first bias of the scores; the lower, the further it goes."""
    pre_sigmoid_noise: tuple[float, float] = (2.0, 5.0)
    """For monotonic, mocha and milk: deviation of the noise added to the scores in training, in the
    first epoch and in the last, which has them decide clearly."""
    input_feeding: bool = False
    """Update, then look, and feed the result back (Luong), not look, then update (Bahdanau)."""
    embedding_units: int = 256
    """Width of the embeddings, and of the deep output."""
    units: int = 256
    """Width of the encoder in each direction, of the decoder and of the additive score."""
    dropout: float = 0.2
    """Share of embeddings, annotations and deep output dropped in training."""
    label_smoothing: float = 0.0
    """Share of the target probability spread over the whole vocabulary."""
    output_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the products of the output layers, in training only. bfloat16 takes half the
    time on processors that multiply it (AVX-512 BF16, AMX), and longer on others."""
    average: float = 0.0
    """Evaluate a moving average of the weights with this momentum, such as 0.999; 0: do not."""

    beam_width: int = 5
    """Hypotheses kept in the search for a translation."""
    length_penalty: float = 1.0
    """Exponent of the length penalty (Wu et al.); 0 favours short translations."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_data()
        self._check_batches()
        for name, kind in zip(("tokens", "target_tokens"), self.sides, strict=True):
            if self.subword_dropout and kind != "subwords":
                raise UserError(f"--subword-dropout needs {flag(name)} subwords, not {kind}.")
        self._shares("dropout", "subword_dropout", "label_smoothing", "average")
        self._at_least(1, "chunk")
        self._require("pre_sigmoid_noise", min(self.pre_sigmoid_noise) > 0.0, "positive")

    def without_effect(self) -> Iterator[tuple[str, str]]:
        yield from self._for_others("attention", ONLY)

    @property
    def sides(self) -> tuple[str, str]:
        """What source and target are cut into."""
        return self.tokens, self.target_tokens or self.tokens

    def _check_data(self) -> None:
        given = (self.train_files, self.validation_files, self.test_files)
        if self.data == "files" and not all(1 <= len(paths) <= 2 for paths in given):
            raise UserError(
                "--data files needs --train-files, --validation-files and --test-files, each with "
                "two aligned files or one TSV."
            )
        if self.data != "files" and any(given):
            raise UserError(f"--train-files and its like need --data files, not {self.data}.")
        if self.data in FOLDERS and self.data_dir is None:
            raise UserError(
                f"--data {self.data} needs --data-dir, the folder of {FOLDERS[self.data]}."
            )
        if self.data not in ("dates", *FOLDERS, "files") and not self.data.startswith("tfds:"):
            raise UserError(
                "--data must be dates, multi30k, cmudict, files or tfds:NAME. "
                f"Received: {self.data}"
            )

    def _check_batches(self) -> None:
        if (self.stream > 0) != (self.steps_per_epoch > 0) or self.stream < 0:
            raise UserError(
                "--stream and --steps-per-epoch need each other, and must be at least 1. "
                f"Received: --stream {self.stream} --steps-per-epoch {self.steps_per_epoch}"
            )
        if self.stream and self.data != "files" and not self.data.startswith("tfds:"):
            raise UserError(f"--stream is for --data files or tfds:NAME, not {self.data}.")
        if 0 < self.stream < self.batch_size:
            raise UserError(
                f"--stream must be at least --batch-size, {self.batch_size}. "
                f"Received: {self.stream}"
            )
        if self.tokens_per_batch and self.tokens_per_batch <= self.max_length:
            raise UserError(
                "--tokens-per-batch must be 0 or hold a sentence of --max-length and its end, "
                f"{self.max_length + 1} tokens. Received: {self.tokens_per_batch}"
            )


@dataclass(frozen=True)
class TranslationExport(ExportOptions):
    """Exports a trained translator; what is fixed here cannot be set per request."""

    beam_width: int = 5
    """Hypotheses kept in the search."""
    num_translations: int = 1
    """How many of them are returned, best first."""
    max_length: int = 60
    """Longest translation, and longest source that is read, in tokens."""
    length_penalty: float = 1.0
    """Exponent of the length penalty (Wu et al.)."""
    coverage_penalty: float = 0.0
    """Weight of the penalty on source tokens left unread (Wu et al.)."""
    early_stopping: bool = True
    """Stop searching when nothing unfinished scores better by the length it has; else only when
    nothing can, which takes about twice as long."""


PRESETS = {
    "dates": TranslationConfig(
        run_dir=Path("runs/dates"),
        tokens="characters",
        embedding_units=64,
        units=128,
        epochs=6,
        learning_rate=2e-3,
        dropout=0.1,
        length_penalty=0.0,
        batch_size=128,
    ),
    "multi30k": TranslationConfig(
        run_dir=Path("runs/multi30k"),
        data="multi30k",
        data_dir=Path("data/multi30k"),
        tokens="subwords",
        vocabulary_size=6000,
        subword_dropout=0.05,
        lowercase=True,
        epochs=32,
        learning_rate=1e-3,
        dropout=0.3,
        output_dtype="bfloat16",
        label_smoothing=0.1,
        average=0.998,
    ),
    "cmudict": TranslationConfig(
        run_dir=Path("runs/cmudict"),
        data="cmudict",
        data_dir=Path("data/cmudict"),
        tokens="characters",
        target_tokens="words",
        max_length=40,
        embedding_units=64,
        units=192,
        epochs=30,
        learning_rate=2e-3,
        batch_size=256,
        dropout=0.2,
        average=0.995,
        length_penalty=0.0,
    ),
    # RNNsearch-50 of Bahdanau et al., in subwords, on the data of Luong et al. Untested at scale.
    "wmt14": TranslationConfig(
        run_dir=Path("runs/wmt14"),
        data="tfds:wmt14_translate/de-en",
        languages=("en", "de"),
        max_length=50,
        tokens_per_batch=8192,
        batch_size=1024,
        tokens="subwords",
        vocabulary_size=32_000,
        embedding_units=620,
        units=1000,
        epochs=10,
        learning_rate=5e-4,
        dropout=0.2,
        precision="mixed_bfloat16",
        label_smoothing=0.1,
        average=0.999,
    ),
}

SOURCES = {
    "dates": Source(
        "dates", "dates of 30 locales, made up in the patterns of the Unicode CLDR", "Unicode-3.0"
    ),
    "multi30k": Source("multi30k", "Multi30k, captions of photographs and their translations"),
    "cmudict": Source(
        "cmudict", "the CMU Pronouncing Dictionary, words in letters and in phones", "BSD-2-Clause"
    ),
    "files": Source("files", "sentence pairs of its maker's own"),
}
"""What `--data` names."""
