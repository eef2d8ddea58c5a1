"""Whether a served translator says what the Keras model says, on a whole test set.

python -m benchmarks.served_parity RUN EXPORTS --data-dir MULTI30K
"""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from applications.training import console
from applications.training.errors import UserError
from export import Client, DevServer, ExportError

BATCH_SIZE = 100


@dataclass(frozen=True)
class Parity:
    """Translates the test set by the development server over gRPC and by the Keras model."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a finished run."""
    exports: Annotated[Path, tyro.conf.Positional]
    """What `keras-attention export RUN --to EXPORTS` wrote, with default options."""
    data_dir: Path | None = None
    """Where the data is now, if it has moved since the training."""


def main() -> int:
    """Prints how many translations are equal; returns 1 if any is not."""
    given = tyro.cli(Parity, prog="python -m benchmarks.served_parity")
    console.import_tensorflow_quietly()
    try:
        sentences, ours = by_keras(given)
        started = time.monotonic()
        served = by_server(given.exports, sentences)
        seconds = time.monotonic() - started
    except (UserError, ExportError) as error:
        print(f"served_parity: {error}", file=sys.stderr)
        return 2
    equal = sum(a == b for a, b in zip(ours, served, strict=True))
    print(f"{equal} of {len(ours)} translations equal; served in {seconds:.1f} s")
    return 0 if equal == len(ours) else 1


def by_keras(given: Parity) -> tuple[list[str], list[str]]:
    """The test sentences, and what the Keras model makes of them."""
    from applications.training import run
    from applications.translation import data
    from applications.translation.config import TranslationExport
    from applications.translation.train import TASK
    from applications.translation.translate import Translate

    trained = run.load(TASK, given.run)
    config = trained.config
    if given.data_dir is not None:
        config = dataclasses.replace(config, data_dir=given.data_dir)
    sentences = [pair.source for pair in data.read(config).test]
    translate = Translate(trained.model, trained.facts, TranslationExport())
    return sentences, [each.translation for each in translate.all(sentences, BATCH_SIZE)]


def by_server(exports: Path, sentences: list[str]) -> list[str]:
    """What the development server answers, sentences of similar length in one request."""
    order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
    answers: dict[int, str] = {}
    with DevServer(exports, grpc_port=0, rest_port=0) as server:
        with Client(f"127.0.0.1:{server.grpc_port}", "translation", timeout=120.0) as client:
            for indices in np.array_split(order, -(-len(order) // BATCH_SIZE)):
                found = client.predict({"sentences": [sentences[index] for index in indices]})
                best = [row[0].decode("utf-8") for row in found["translations"]]
                answers.update(zip(indices, best, strict=True))
    return [answers[index] for index in range(len(sentences))]


if __name__ == "__main__":
    sys.exit(main())
