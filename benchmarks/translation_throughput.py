"""How fast the translator trains and translates, beside the same model in plain PyTorch.

Both run in this one process, in turns, so that slow drift of the machine cancels; each number is
the median of its turns. The machine must be idle otherwise. See README.md for commands and results.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from applications.training import console
from applications.training.errors import UserError
from applications.translation.config import PRESETS

VOCABULARY_SIZE = 8000
BATCH_SIZE = 64  # to train with
NUM_PAIRS = 29_000
NUM_SENTENCES = 1000
SEARCH_BATCH = 100


@dataclass(frozen=True)
class Settings:
    """Measures training; and decoding, where it is told what to decode with."""

    data_dir: Path | None = None
    """Multi30k's folder; without it, training is on random ids of similar lengths."""
    run: Path | None = None
    """A finished run on Multi30k; its weights are given to the peer, to decode alike."""
    saved_model: Path | None = None
    """The version folder exported from that run, to measure decoding with. Needs --data-dir."""
    steps: int = 40
    """Training steps of one turn."""
    repeats: int = 5
    """Turns of each side, after one that is not counted."""
    threads: int = 2
    """Threads of either side."""
    skip_peer: bool = False
    """Measure ours only, without PyTorch."""
    profile: bool = False
    """Tell where the time of a training step goes."""

    def __post_init__(self) -> None:
        for name in ("steps", "repeats", "threads"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1. Received: {getattr(self, name)}")
        if self.saved_model and not self.data_dir:
            raise UserError("--saved-model needs --data-dir, for sentences to translate.")
        if self.run and not self.saved_model:
            raise UserError("--run needs --saved-model, the run's export.")
        if not self.skip_peer and importlib.util.find_spec("torch") is None:
            raise UserError("The peer needs PyTorch: pip install torch==2.13.0, or --skip-peer.")


def main() -> int:
    """Measures and prints; returns the exit status."""
    try:
        settings = tyro.cli(Settings, prog="python -m benchmarks.translation_throughput")
        set_threads(settings)
        console.import_tensorflow_quietly()
        console.say(f"load average before: {os.getloadavg()[0]:.2f}; it should be near 0")
        measure_training(settings)
        if settings.saved_model:
            measure_decoding(settings)
        return 0
    except UserError as error:
        print(f"translation_throughput: {error}", file=sys.stderr)
        return 2


def set_threads(settings: Settings) -> None:
    """As many for ours as for the peer; TensorFlow reads its numbers as it is imported."""
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(
        settings.threads
    )
    if not settings.skip_peer:
        import torch

        torch.set_num_threads(settings.threads)


def measure_training(settings: Settings) -> None:
    """Prints how many target tokens a second each side trains on, padding not counted."""
    from applications.translation import model

    config, facts, dataset = training_data(settings)
    ours = model.build(config, facts)
    batches = list(dataset.as_numpy_iterator())
    sides: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours.fit(dataset, verbose=0, shuffle=False).history["loss"][0]
    }
    if not settings.skip_peer:
        from benchmarks.peers import translator_torch as peer

        theirs = peer.transplant(ours, config.dropout)
        trainer = peer.Trainer(theirs, config.label_smoothing, config.learning_rate)
        given = [peer.tensors({**inputs, "labels": labels}) for inputs, labels, _ in batches]
        sides["PyTorch"] = lambda: np.mean([trainer.step(batch) for batch in given])
    seconds, losses = take_turns(sides, settings.repeats)
    tokens = sum(weights.sum() for _, _, weights in batches)
    report("training", "target tokens/s", tokens, seconds)
    told = ", ".join(f"{name} {found[0]:.3f}" for name, found in losses.items())
    console.say(f"  mean loss of the first turn, from the same weights: {told}")
    if settings.profile:
        from benchmarks import step_profile

        step_profile.report(ours, dataset)


def training_data(settings: Settings):
    """The settings and facts of a run, and a data set with the batches of one turn."""
    from applications.training.data import epoch_counter
    from applications.translation import data
    from applications.translation.encoded import Most

    config = dataclasses.replace(
        PRESETS["multi30k"],
        data="multi30k" if settings.data_dir else "dates",  # Whose pairs are not read here.
        data_dir=settings.data_dir,
        vocabulary_size=VOCABULARY_SIZE,
        batch_size=BATCH_SIZE,
        subword_dropout=0.0,
        average=0.0,
    )
    if settings.data_dir:
        found = data.datasets(config, epoch_counter())
        facts, train = found.facts, found.train
    else:
        facts, pairs = random_pairs()
        train = pairs.shuffled(Most(BATCH_SIZE), config.seed, epoch_counter())
    return config, facts, train.take(settings.steps).cache()


def random_pairs():
    """Tokenizers, and as many pairs of random ids as Multi30k has, with lengths like its own."""
    from applications.training import text
    from applications.translation.data import Facts
    from applications.translation.encoded import Encoded

    rng = np.random.default_rng(1)
    first = len(text.SPECIAL)

    def side(mean: float, deviation: float) -> list[np.ndarray]:
        lengths = rng.normal(mean, deviation, NUM_PAIRS).round().clip(4, 40).astype(int)
        return [rng.integers(first, VOCABULARY_SIZE, n, np.int32) for n in lengths]

    words = [f"word{number}" for number in range(first, VOCABULARY_SIZE)]
    tokenizer = text.VocabularyTokenizer("words", words, lowercase=False)
    sources = [np.append(ids, text.END) for ids in side(13.0, 4.0)]
    return Facts(tokenizer, tokenizer), Encoded(sources, side(14.0, 5.0))


def measure_decoding(settings: Settings) -> None:
    """Prints how many sentences a second each side translates, by beams of the same width.

    Ours takes strings and returns strings; the peer is spared both, it takes and returns ids.
    """
    from applications.translation import data
    from export.dev_server.servable import Servable

    assert settings.saved_model is not None
    if not (settings.saved_model / "saved_model.pb").is_file():
        raise UserError(f"--saved-model: {settings.saved_model} holds no saved_model.pb.")
    config = dataclasses.replace(PRESETS["multi30k"], data_dir=settings.data_dir)
    pairs = sorted(data.read(config).test, key=lambda pair: len(pair.source))[:NUM_SENTENCES]
    sentences = np.array([pair.source.encode() for pair in pairs], object)
    batches = np.split(sentences, range(SEARCH_BATCH, len(sentences), SEARCH_BATCH))
    with Servable(settings.saved_model) as servable:

        def translate() -> list[str]:
            found = [servable.predict({"sentences": batch}) for batch in batches]
            return [each.decode() for batch in found for each in batch["translations"][:, 0]]

        sides: dict[str, Callable[[], Any]] = {"ours": translate}
        if settings.run and not settings.skip_peer:
            sides["PyTorch"], to_text = peer_search(settings.run, pairs)
        seconds, found = take_turns(sides, settings.repeats)
    report("decoding, beam 5", "sentences/s", len(pairs), seconds)
    if "PyTorch" in found:
        same = np.mean(np.array(found["ours"][0]) == np.array(to_text(found["PyTorch"][0])))
        console.say(f"  the same translation: {same:.1%} of sentences")


def peer_search(run_dir: Path, pairs):
    """The peer's search with the weights of a run, and what makes text of the ids it finds."""
    import tensorflow as tf

    from applications.training import run
    from applications.translation.config import TranslationExport
    from applications.translation.encoded import Encoded, Most
    from applications.translation.train import TASK
    from benchmarks.peers import translator_torch as peer

    trained = run.load(TASK, run_dir)
    theirs, options = peer.transplant(trained.model).eval(), TranslationExport()
    dataset = Encoded.of(pairs, trained.facts).in_order(Most(SEARCH_BATCH))
    batches = [inputs for inputs, _, _ in dataset.as_numpy_iterator()]
    difference = peer.largest_difference(theirs, trained.model, batches[0])
    console.say(f"logits of ours and of the peer differ by {difference:.1e} at most")

    def translate() -> list[list[int]]:
        return [
            ids
            for batch in map(peer.tensors, batches)
            for ids in peer.beam_search(
                theirs,
                batch["source"],
                batch["source_lengths"],
                beam_width=options.beam_width,
                max_length=options.max_length,
                length_penalty=options.length_penalty,
                target_size=trained.facts.target.size,
            )
        ]

    def to_text(rows: list[list[int]]) -> list[str]:
        ids = tf.ragged.constant(rows, dtype=tf.int32).to_tensor(peer.PAD)
        return [each.decode() for each in trained.facts.target.decode(ids).numpy()]

    return translate, to_text


def take_turns(
    sides: Mapping[str, Callable[[], Any]], repeats: int
) -> tuple[dict[str, list[float]], dict[str, list[Any]]]:
    """The seconds of each side's turns but the first, and what all its turns returned."""
    returned: dict[str, list[Any]] = {name: [] for name in sides}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(1 + repeats):
        for name, work in sides.items():
            begun = time.perf_counter()
            returned[name].append(work())
            seconds[name].append(time.perf_counter() - begun)
    return {name: each[1:] for name, each in seconds.items()}, returned


def report(what: str, unit: str, amount: float, seconds: Mapping[str, list[float]]) -> None:
    """One line a side, and one with the ratio."""
    rates = {name: amount / statistics.median(each) for name, each in seconds.items()}
    for name, rate in rates.items():
        slowest, fastest = amount / max(seconds[name]), amount / min(seconds[name])
        console.say(f"{what}: {name} {rate:,.0f} {unit} ({slowest:,.0f} to {fastest:,.0f})")
    if "PyTorch" in rates:
        console.say(f"{what}: ratio {rates['ours'] / rates['PyTorch']:.2f}")


if __name__ == "__main__":
    sys.exit(main())
