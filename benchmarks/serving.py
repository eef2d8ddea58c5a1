"""What a server costs on top of the session that it runs: latency, and throughput of many clients.

python -m benchmarks.serving EXPORTS MODEL --lines SENTENCES
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple

import numpy as np
import tyro

from export import Client, ExportError
from export.serve_flags import import_tensorflow
from export.server_config import METRICS

TURN = 20  # requests
BATCHING = """max_batch_size {{ value: {size} }}
batch_timeout_micros {{ value: {timeout} }}
max_enqueued_batches {{ value: 1000 }}
num_batch_threads {{ value: 2 }}
pad_variable_length_inputs: true
"""


@dataclass(frozen=True)
class Serving:
    """Asks the development server, and the session itself, for one row at a time."""

    exports: Annotated[Path, tyro.conf.Positional]
    """Folder of exported models."""
    model: Annotated[str, tyro.conf.Positional]
    """Which of them is asked; it has one input, of strings."""
    lines: Path
    """Text file: what is asked, a line at a time, again from the start after its end."""
    requests: int = 200
    """How many requests of one client are timed."""
    clients: tuple[int, ...] = (1, 8, 64)
    """How many clients ask at once."""
    seconds: float = 20.0
    """How long they ask."""
    batch_size: int = 64
    """Most rows that the server with batching runs together."""
    batch_timeout_micros: int = 5000
    """How long such a batch waits to be filled."""
    session_config: Path | None = None
    """ConfigProto in text format, for the servers' sessions and for the session itself."""
    json: Path | None = None
    """File to write the results to."""


Ask = Callable[[str], Any]


def main() -> int:
    """Prints latencies and throughputs."""
    given = tyro.cli(Serving, prog="python -m benchmarks.serving")
    import_tensorflow()
    try:
        results = measure(given, given.lines.read_text(encoding="utf-8").splitlines())
    except (ExportError, OSError) as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(given: Serving, lines: Sequence[str]) -> dict[str, Any]:
    """Everything, as printed."""
    with servers(given) as addresses, session(given) as (name, run):
        asks: dict[str, Ask] = {"session": run}
        with contextlib.ExitStack() as stack:
            for protocol in ("grpc", "rest"):
                client = Client(
                    addresses["plain"][protocol], given.model, protocol=protocol, timeout=120.0
                )
                stack.enter_context(client)
                asks[protocol] = asking(client, name)
            single = latencies(asks, lines, given.requests)
        for protocol, mean in within_server(addresses["plain"]["rest"]).items():
            single[protocol]["mean_within_server"] = mean
        print_latencies(single)
        many = {}
        for server, protocol in itertools.product(addresses, ("grpc", "rest")):
            for number in given.clients:
                address = addresses[server][protocol]
                many[f"{server}, {protocol}, {number}"] = crowd(
                    address, protocol, given, name, lines, number
                )
                print_crowd(f"{server:9} {protocol}", number, many)
    return {"single": single, "crowds": many}


def latencies(asks: dict[str, Ask], lines: Sequence[str], count: int) -> dict[str, Any]:
    """Seconds of each way to ask, in turns of so many lines each: p50 and p99.

    A turn begins with a few requests that do not count: what the other process used is in the
    caches until then.
    """
    taken: dict[str, list[float]] = {name: [] for name in asks}
    turns = itertools.cycle(lines)
    for _ in range(0, count, TURN):
        asked = list(itertools.islice(turns, TURN))
        for name, ask in asks.items():
            for line in asked[:5]:
                ask(line)
            for line in asked:
                started = time.perf_counter()
                ask(line)
                taken[name].append(time.perf_counter() - started)
    return {name: summary(seconds) for name, seconds in taken.items()}


def within_server(rest: str) -> dict[str, float]:
    """The mean seconds that a server says a Predict took, from a parsed request to its answer."""
    with urllib.request.urlopen(f"http://{rest}{METRICS}") as answer:
        text = answer.read().decode()
    labels = r'API="[Pp]redict",entrypoint="(\w+)"'
    found = re.findall(rf"request_latency_(sum|count){{.*{labels}}} (\d+)", text)
    values = {(entry.lower(), kind): int(value) for kind, entry, value in found}
    return {
        entry: 1e-6 * values[entry, "sum"] / values[entry, "count"] for entry in ("grpc", "rest")
    }


def crowd(
    address: str, protocol: Any, given: Serving, name: str, lines: Sequence[str], number: int
) -> dict[str, float]:
    """So many clients ask for a while, each when it has its answer; p50, p99, answers a second."""
    taken: list[float] = []
    lock = threading.Lock()
    turns = itertools.cycle(lines)
    with Client(address, given.model, protocol=protocol, timeout=120.0) as client:
        ask = asking(client, name)
        ask(lines[0])
        end = time.perf_counter() + given.seconds

        def work() -> None:
            while (started := time.perf_counter()) < end:
                with lock:
                    line = next(turns)
                ask(line)
                with lock:
                    taken.append(time.perf_counter() - started)

        began = time.perf_counter()
        threads = [threading.Thread(target=work) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - began
    return {**summary(taken), "per_second": len(taken) / wall}


def asking(client: Client, name: str) -> Ask:
    """Asks a client for one row."""
    return lambda line: client.predict({name: [line]})


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """The median, what one in a hundred exceeds, and the mean."""
    p50, p99 = np.percentile(seconds, [50, 99])
    return {"p50": float(p50), "p99": float(p99), "mean": float(np.mean(seconds))}


@contextlib.contextmanager
def session(given: Serving) -> Iterator[tuple[str, Ask]]:
    """The name of the model's input, and a call of the session itself, in this process."""
    from export.dev_server.servable import Servable
    from export.dev_server.session import read_session_config
    from export.layout import newest_version

    newest = newest_version(given.exports / given.model)
    if newest is None:
        raise ExportError(f"{given.exports / given.model}: expected a version. Received: none.")
    config = read_session_config(given.session_config) if given.session_config else None
    with Servable(newest[1], config=config) as servable:
        names = list(servable.signature("").inputs)
        if len(names) != 1:
            raise ExportError(f"Expected a model of one input. Received: {sorted(names)}.")
        yield names[0], lambda line: servable.predict({names[0]: np.array([line.encode()], object)})


@contextlib.contextmanager
def servers(given: Serving) -> Iterator[dict[str, dict[str, str]]]:
    """Two servers in processes of their own, without batching and with it: their addresses."""
    file = given.exports / ".benchmark_batching.config"
    file.write_text(BATCHING.format(size=given.batch_size, timeout=given.batch_timeout_micros))
    config = given.session_config
    flags = [] if config is None else ["--tensorflow-session-config-file", config]
    try:
        with (
            started(given.exports, *flags) as plain,
            started(given.exports, *flags, "--batching", file) as other,
        ):
            yield {"plain": plain.addresses, "batching": other.addresses}
    finally:
        file.unlink()


class Started(NamedTuple):
    """A server: the address of each protocol, and its process."""

    addresses: dict[str, str]
    process: subprocess.Popen[str]


@contextlib.contextmanager
def started(exports: Path, *flags: object, log: IO[bytes] | None = None) -> Iterator[Started]:
    """A server on free ports; what it logs goes to `log`, or where this process writes."""
    command = [sys.executable, "-m", "export", "serve", exports, *flags]
    ports = ["--grpc-port", "0", "--rest-port", "0", "--poll-seconds", "0"]
    with subprocess.Popen(
        [str(part) for part in [*command, *ports]], stdout=subprocess.PIPE, stderr=log, text=True
    ) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            found = re.search(r"gRPC (\S+), REST http://(\S+)", line)
            if found is None:
                raise ExportError(f"The server did not start: {line}")
            yield Started({"grpc": found[1], "rest": found[2]}, process)
        finally:
            process.terminate()


def print_latencies(single: dict[str, Any]) -> None:
    """One line for each way to ask one after another."""
    base = single["session"]["p50"]
    for name, each in single.items():
        print(
            f"one client, {name:8} p50 {1e3 * each['p50']:7.2f} ms, p99 {1e3 * each['p99']:7.2f} ms"
            f"   {each['p50'] / base:.3f} times the session"
        )
        if "mean_within_server" in each:
            print(
                f"{'':12} {name:8} mean {1e3 * each['mean']:6.2f} ms, of which "
                f"{1e3 * each['mean_within_server']:.2f} ms within the server's methods"
            )


def print_crowd(label: str, number: int, many: dict[str, Any]) -> None:
    """One line for what was measured last."""
    each = list(many.values())[-1]
    print(
        f"{label}, {number:3} clients: {each['per_second']:8.1f} a second, "
        f"p50 {1e3 * each['p50']:8.1f} ms, p99 {1e3 * each['p99']:8.1f} ms",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
