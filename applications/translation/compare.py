"""Draws BLEU by source length of several runs: the figure by which attention made its case.

python -m applications.translation.compare --to bleu_by_length.png \
    "attention=runs/multi30k/metrics.json" "no attention=runs/none/metrics.json"
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from applications.training import console
from applications.training.errors import UserError


@dataclass(frozen=True)
class Compare:
    """Draw BLEU by source length of several runs."""

    results: Annotated[tuple[str, ...], tyro.conf.Positional]
    """NAME=metrics.json of each run."""
    to: Path
    """The picture to write."""


def main() -> int:
    """Draws what the command line asks for; returns the exit status."""
    try:
        given = tyro.cli(Compare, prog="python -m applications.translation.compare")
        results = dict(_read(item) for item in given.results)
    except (UserError, OSError, ValueError) as error:
        console.complain(str(error))
        return 2
    console.import_tensorflow_quietly()
    from applications.translation import figures
    from keras_attention import visualization

    visualization.save(given.to, figures.bleu_by_length(results))
    return 0


def _read(item: str) -> tuple[str, dict]:
    name, found, path = item.partition("=")
    if not found:
        raise UserError(f"Expected NAME=metrics.json. Received: {item}")
    return name, json.loads(Path(path).read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
