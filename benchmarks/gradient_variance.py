"""How much each estimator's gradient scatters, on the captioner of scenes with hard attention.

The captioner is trained by a learned baseline. After some epochs its weights are held, and each
estimator's gradient is drawn many times on one batch. An estimator that takes several samples of
each caption is compared with plain REINFORCE of as many. See README.md for commands and results.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro

from applications.captioning.config import PRESETS
from applications.training import console
from applications.training.errors import UserError


@dataclass(frozen=True)
class Settings:
    """Measures the variance of gradient estimators while the captioner trains."""

    epochs: tuple[int, ...] = (1, 4, 8)
    """After how many epochs to measure."""
    repeats: int = 128
    """How often each gradient is drawn."""
    batch_size: int = 32
    """Captions in the batch that is measured."""
    num_examples: int = 12_000
    """Pictures an epoch trains on."""
    seed: int = 1
    """Fixes all chance."""

    def __post_init__(self) -> None:
        for name, least in (("repeats", 2), ("batch_size", 1), ("num_examples", 64)):
            if getattr(self, name) < least:
                flag = "--" + name.replace("_", "-")
                raise UserError(f"{flag} must be at least {least}. Received: {getattr(self, name)}")
        if not self.epochs or min(self.epochs) < 1 or list(self.epochs) != sorted(self.epochs):
            raise UserError(f"--epochs must be positive and in order. Received: {self.epochs}")


def main() -> int:
    """Trains, measures and prints; returns the exit status."""
    try:
        settings = tyro.cli(Settings, prog="python -m benchmarks.gradient_variance")
        console.import_tensorflow_quietly()
        measure(settings)
        return 0
    except UserError as error:
        print(f"gradient_variance: {error}", file=sys.stderr)
        return 2


def measure(settings: Settings) -> None:
    """Prints a table after each of the epochs asked for."""
    import keras

    from applications.captioning import data, model
    from applications.training.data import epoch_counter

    keras.utils.set_random_seed(settings.seed)
    config = dataclasses.replace(
        PRESETS["scenes"],
        attention="hard",
        baseline="learned",
        seed=settings.seed,
        num_examples=settings.num_examples,
        average=0.0,
    )
    epoch = epoch_counter()
    datasets = data.datasets(config, epoch)
    trainer = model.build(config, datasets.facts)
    # Draws alone are to scatter what is measured, and no other chance.
    quiet = dataclasses.replace(config, dropout=0.0, semi_sampling=0.0, withhold_mean=0.0)
    still = model.build(quiet, datasets.facts)
    pairs = data.Pairs.of(datasets.examples.validation, datasets.facts.tokenizer)
    batch = pairs.batch(range(settings.batch_size))
    done = 0
    for wanted in settings.epochs:
        for at in range(done, wanted):
            epoch.assign(at)
            trainer.fit(datasets.train, verbose=0, shuffle=False)
        done = wanted
        still.set_weights(trainer.get_weights())
        inputs, targets, weights = batch
        results = still.evaluate(
            inputs, targets, sample_weight=weights, verbose=0, return_dict=True
        )
        loss = results["logits_loss"]
        console.say(f"after {done} epochs, at a loss of {loss:.3f} by the mode:")
        report(variances(still, batch, settings.repeats))


def variances(trainer: Any, batch: tuple, repeats: int) -> dict[tuple[str, int], float]:
    """The variance of one gradient, summed over the score's weights, by estimator and samples."""
    from keras_attention import score_function

    estimators = {
        ("REINFORCE", 1): score_function.Reinforce(),
        ("learned baseline", 1): trainer.estimator,
        ("self-critical", 1): score_function.SelfCriticalBaseline(),
        ("REINFORCE", 4): score_function.Reinforce(samples=4),
        ("leave-one-out", 4): score_function.LeaveOneOut(samples=4),
    }
    inputs, targets, weights = batch
    found = {}
    for name, estimator in estimators.items():
        moments = score_function.gradient_moments(
            trainer, inputs, targets, weights, repeats=repeats, estimator=estimator
        )
        score = [variance for path, (_, variance) in moments.items() if "/attention/" in path]
        found[name] = float(sum(np.sum(each) for each in score))
    return found


def report(found: dict[tuple[str, int], float]) -> None:
    """Prints each variance, and how many times less it is than plain REINFORCE's."""
    for (name, samples), variance in found.items():
        plain = found["REINFORCE", samples]
        ratio = "" if name == "REINFORCE" else f", {plain / variance:.1f} times less"
        console.say(f"  {name}, {samples} a caption: {variance:.3g}{ratio}")


if __name__ == "__main__":
    sys.exit(main())
