"""Whether the development server withstands abuse: wrong requests, cut connections, at length.

python -m benchmarks.serving_abuse --requests 100000 --aborted 10000
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from applications.training import console
from benchmarks.serving import BATCHING, started

GROWTH = 0.05  # that memory may show
NOISE = 10  # threads or files that may come and go
_PARTS = 10  # of which the first warms the server up
_SHOWN = 10  # failures


@dataclass(frozen=True)
class Abuse:
    """Abuses two servers, without batching and with it, while a good client asks both."""

    requests: int = 100_000
    """How many wrong requests are sent, half over each protocol, half to each server."""
    aborted: int = 10_000
    """How many connections and calls are cut."""
    seed: int = 1
    """Another seed sends other requests."""
    json: Path | None = None
    """File to write the results to."""


@dataclass(frozen=True)
class Usage:
    """What a process holds: memory in MiB, threads, open files."""

    memory: float
    threads: int
    files: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Of a process on Linux."""
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return cls(int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), files)


def main() -> int:
    """Prints what was seen; 1 if the server failed in any way."""
    given = tyro.cli(Abuse, prog="python -m benchmarks.serving_abuse")
    console.import_tensorflow_quietly()
    results = measure(given)
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 1 if any(result["failures"] for result in results.values()) else 0


def measure(given: Abuse) -> dict[str, Any]:
    """Everything, as printed."""
    from benchmarks.abuse.models import write_models

    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exports = write_models(folder)
        parameters = folder / "batching.config"
        parameters.write_text(BATCHING.format(size=64, timeout=1000))
        for server, flags in (("plain", ()), ("batching", ("--batching", parameters))):
            results[server] = abuse(given, server, exports, folder / f"{server}.log", flags)
            show(server, results[server])
    return results


def abuse(
    given: Abuse, server: str, exports: Path, log: Path, flags: tuple[object, ...]
) -> dict[str, Any]:
    """Half of the abuse, in tenths, of which the first warms the server up."""
    from benchmarks.abuse.attack import GoodClient, Seen, attack

    seen = Seen()
    # As in TensorFlow Serving, requests of different shapes that meet in a batch fail together.
    models = ("steady", "half") if server == "plain" else ("steady",)
    usages = []
    with open(log, "wb") as output, started(exports, *flags, log=output) as (addresses, process):
        began = time.perf_counter()
        with GoodClient(addresses, models) as good:
            for part in range(_PARTS):
                requests, aborted = given.requests // 2 // _PARTS, given.aborted // 2 // _PARTS
                seed = f"{given.seed} {server} {part}"
                attack(addresses, exports, requests, aborted, seed, seen)
                time.sleep(2.0)  # what was cut is noticed
                if process.poll() is None:
                    usages.append(Usage.of(process.pid))
        seconds = time.perf_counter() - began
        alive = process.poll() is None
    failures = seen.failures + [f"lost: {each}" for each in good.lost]
    if not alive:
        failures.append(f"the server ended with {process.returncode}")
    failures += traces(log) + growth(usages)
    return {
        "requests": seen.requests,
        "aborted": seen.aborted,
        "seconds": seconds,
        "good": {"asked": good.answered, "lost": len(good.lost), "slowest": good.slowest},
        "slowest": seen.slowest,
        "usage": [asdict(usage) for usage in usages],
        "failures": failures,
    }


def growth(usages: list[Usage]) -> list[str]:
    """What there is more of at the end than after the first tenth."""
    if len(usages) < 2:
        return []
    before, after = usages[0], usages[-1]
    found = []
    if after.memory > (1 + GROWTH) * before.memory:
        found.append(f"memory grew from {before.memory:.0f} to {after.memory:.0f} MiB")
    for name in ("threads", "files"):
        if getattr(after, name) > getattr(before, name) + NOISE:
            found.append(f"{name} grew from {getattr(before, name)} to {getattr(after, name)}")
    return found


def traces(log: Path) -> list[str]:
    """What a server's log tells of its own mistakes, from the first one on."""
    text = log.read_text(encoding="utf-8", errors="replace")
    start = text.find("Traceback")
    return [] if start < 0 else [f"in the log: {text[max(0, start - 500) : start + 5000]}"]


def show(server: str, result: dict[str, Any]) -> None:
    """A few lines for one server."""
    good = result["good"]
    print(
        f"{server:9} {result['requests']} requests, {result['aborted']} cut, "
        f"{result['seconds']:.0f} s; good client: {good['asked']} asked, {good['lost']} lost, "
        f"slowest {good['slowest']:.2f} s"
    )
    for part, usage in enumerate(result["usage"], 1):
        counts = f"{usage['threads']} threads, {usage['files']} files"
        print(f"{'':9} after {part:2} tenths: {usage['memory']:7.1f} MiB, {counts}")
    for failure in result["failures"][:_SHOWN]:
        print(f"{'':9} FAILED: {failure[:3000]}")
    if len(result["failures"]) > _SHOWN:
        print(f"{'':9} and {len(result['failures']) - _SHOWN} more")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
