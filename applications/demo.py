"""The whole road in one go: train on dates, look, export, serve, ask, stop.

Every stage is a command that a user would type, and is shown as such. Run it by `make demo`, or
`python -m applications.demo`; what it writes is in ./demo.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from export import Client

FOLDER = Path("demo")
RUN, EXPORTS = FOLDER / "run", FOLDER / "exports"
QUESTIONS = ("3. November 2026", "le 14 juillet 1989", "Friday, May 8, 2009", "2011年4月5日")


def main() -> int:
    """Runs all stages; returns the exit status of the first that failed, or 0."""
    started = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        command("train", "translation", "--preset", "dates", "--run-dir", str(RUN))
        command("export", str(RUN), "--to", str(EXPORTS), "--max-length", "40")
        with server() as (grpc_address, rest_address):
            ask(grpc_address, "grpc")
            ask(rest_address, "rest")
    except subprocess.CalledProcessError as error:
        return error.returncode
    metrics = json.loads((RUN / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    print(f"\nexact match on held-out dates: {100 * metrics['exact_match']:.1f} %")
    print(f"attention on the right field: {100 * metrics['mass_on_right_field']:.1f} %")
    print(f"alignments to look at: {RUN / 'figures' / 'alignments.html'}")
    print(f"everything took {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


def command(*arguments: str) -> None:
    """Shows and runs one `keras-attention` command."""
    print("\n$ " + shlex.join(["keras-attention", *arguments]), flush=True)
    subprocess.run([sys.executable, "-m", "applications.cli", *arguments], check=True)


@contextmanager
def server() -> Iterator[tuple[str, str]]:
    """A development server on free ports, stopped at the end: its gRPC and REST addresses."""
    arguments = ["serve", str(EXPORTS), "--grpc-port", "0", "--rest-port", "0"]
    print("\n$ " + shlex.join(["keras-attention", *arguments]), flush=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "applications.cli", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()  # "Serving …: gRPC host:port, REST http://…"
        if not line:
            raise subprocess.CalledProcessError(process.wait(), arguments)
        print(line)
        grpc, rest = line.split(": ", 1)[1].split(", ")
        yield grpc.removeprefix("gRPC "), rest.removeprefix("REST ")
    finally:
        process.terminate()
        process.wait()


def ask(address: str, protocol: Literal["grpc", "rest"]) -> None:
    """Sends the questions over one protocol and prints the answers."""
    with Client(address, "translation", protocol=protocol) as client:
        answers = client.predict({"sentences": list(QUESTIONS)})
    print(f"\nover {protocol}:")
    for question, answer in zip(QUESTIONS, answers["translations"], strict=True):
        print(f"  {question:>24}  →  {answer[0].decode('utf-8')}")


if __name__ == "__main__":
    sys.exit(main())
