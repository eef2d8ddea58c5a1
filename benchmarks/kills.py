"""Kills a training at random moments, goes on with it, and compares it with one left alone.

python -m benchmarks.kills
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from applications.training import checksums


@dataclass(frozen=True)
class Kills:
    """Trains recognition by glimpses, whose every step draws at random, and kills it: -9."""

    kills: int = 50
    """How many."""
    epochs: int = 8
    """How long a run is: with so many killed, each run is gone through several times."""
    most_seconds: float = 12.0
    """A process lives a random time, of at most so many seconds after it began to train."""
    seed: int = 1
    """Fixes the lengths of lives, not what is being done when they end."""


def main() -> int:
    """Prints what was lost; returns 1 if anything was."""
    given = tyro.cli(Kills, prog="python -m benchmarks.kills")
    chance = random.Random(given.seed)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary, "whole")
        _train(whole, given.epochs).wait()
        left, runs, wrong = given.kills, 0, []
        while left > 0:
            cut = Path(temporary, f"cut{runs}")
            runs += 1
            finished = False
            while not finished:
                process = _train(cut, given.epochs)
                if left > 0:
                    killed = _kill(process, cut, chance.uniform(0.0, given.most_seconds))
                    left -= killed
                finished = process.wait() == 0
                if process.returncode not in (0, -9):
                    wrong.append(f"{cut.name}: exit status {process.returncode}")
                    finished = True
                wrong += [f"{cut.name}: {name} is damaged" for name in checksums.damaged(cut)]
            wrong += _differences(whole, cut)
        print(
            f"{given.kills} kills in {runs} runs, {time.monotonic() - begun:.0f} s: "
            f"{len(wrong)} things wrong"
        )
        for each in wrong:
            print(each)
    return 1 if wrong else 0


def _train(folder: Path, epochs: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "applications.cli", "train", "recognition", "--auto-resume"]
    flags = ["--run-dir", str(folder), "--epochs", str(epochs), "--checkpoint-steps", "3"]
    return subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL)


def _kill(process: subprocess.Popen, folder: Path, seconds: float) -> bool:
    """Kills `process` so long after its first write; False if it had finished."""
    before = _written(folder)
    while process.poll() is None and _written(folder) == before:
        time.sleep(0.02)
    ends = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < ends:
        time.sleep(0.005)
    if process.poll() is not None:
        return False
    process.kill()
    return True


def _written(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


def _differences(whole: Path, cut: Path) -> list[str]:
    """What is not bit for bit the same: the last checkpoint, with the best weights in it."""
    newest = [max((folder / "checkpoint").glob("epoch_*.npz")) for folder in (whole, cut)]
    with np.load(newest[0]) as one, np.load(newest[1]) as other:
        if set(one) != set(other):
            return [f"{cut.name}: other variables"]
        return [
            f"{cut.name}: {name} differs"
            for name in one
            if one[name].tobytes() != other[name].tobytes()
        ]


if __name__ == "__main__":
    sys.exit(main())
