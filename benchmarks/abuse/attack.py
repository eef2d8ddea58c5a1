"""The abuse of one server from several threads, and the good client beside it."""

from __future__ import annotations

import functools
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

from benchmarks.abuse import cuts, rest, rpc
from export import Client, ExportError

_THREADS = 2  # of each kind


@dataclass
class Seen:
    """What became of the requests: how many there were, and those whose answers were wrong."""

    requests: int = 0
    aborted: int = 0
    slowest: tuple[float, str] = (0.0, "")
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, sent: object, ask: Callable[[], str | None]) -> None:
        """Makes a request and counts it."""
        began = time.perf_counter()
        problem = ask()
        seconds = time.perf_counter() - began
        with self.lock:
            self.requests += 1
            if seconds > self.slowest[0]:
                self.slowest = seconds, repr(sent)[:500]
            if problem:
                self.failures.append(f"{problem}\n    to {repr(sent)[:2000]}")


def attack(
    addresses: Mapping[str, str], exports: Path, requests: int, aborted: int, seed: str, seen: Seen
) -> None:
    """Sends so many wrong requests and cuts so many connections, half of each by REST."""
    rest_address, grpc_address = _pair(addresses["rest"]), _pair(addresses["grpc"])

    def by_rest(rng: random.Random, count: int) -> None:
        for _ in range(count):
            sent = rest.request(rng)
            seen.add(sent, functools.partial(rest.ask, rest_address, sent))

    def by_grpc(rng: random.Random, count: int) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(addresses["grpc"], options) as channel:
            for _ in range(count):
                call = rpc.request(rng, exports)
                seen.add(call, functools.partial(rpc.ask, channel, call))

    def cut(rng: random.Random, count: int) -> None:
        for number in range(count):
            if number % 2:
                cuts.cut_rest(rng, rest_address)
            else:
                cuts.cut_grpc(rng, grpc_address)
        with seen.lock:
            seen.aborted += count

    jobs: Sequence[tuple[Callable[[random.Random, int], None], int]] = (
        (by_rest, requests // 2),
        (by_grpc, requests - requests // 2),
        (cut, aborted),
    )
    threads = []
    for work, total in jobs:
        for number in range(_THREADS):
            rng = random.Random(f"{seed} {work.__name__} {number}")
            count = total // _THREADS + (number < total % _THREADS)
            threads.append(threading.Thread(target=_guarded, args=(work, rng, count, seen)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class GoodClient:
    """Asks all the time by both protocols, checks the answers, and counts those it missed.

    Args:
        addresses: of the protocols.
        models: which it asks, in turns: copies of half-plus-two.
    """

    def __init__(self, addresses: Mapping[str, str], models: Sequence[str]) -> None:
        self.answered, self.slowest = 0, 0.0
        self.lost: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, args=(protocol, address, model))
            for protocol, address in addresses.items()
            for model in models
        ]

    def __enter__(self) -> GoodClient:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, protocol: str, address: str, model: str) -> None:
        rng = np.random.default_rng(1)
        with Client(address, model, protocol=protocol, retries=0, timeout=60.0) as client:  # type: ignore[arg-type]
            while not self._stop.wait(0.01):
                x = rng.integers(0, 1000, 3).astype(np.float32)
                began = time.perf_counter()
                try:
                    y = client.predict({"x": x})["y"]
                    wrong = None if np.array_equal(y, x * 0.5 + 2.0) else f"{x} -> {y}"
                except ExportError as error:
                    wrong = str(error)
                with self._lock:
                    self.answered += 1
                    self.slowest = max(self.slowest, time.perf_counter() - began)
                    if wrong:
                        self.lost.append(f"{protocol}, {model}: {wrong}")


def _pair(address: str) -> tuple[str, int]:
    host, port = address.rsplit(":", 1)
    return host, int(port)


def _guarded(
    work: Callable[[random.Random, int], None], rng: random.Random, count: int, seen: Seen
) -> None:
    try:
        work(rng, count)
    except Exception as error:  # such as a server that no longer listens
        with seen.lock:
            seen.failures.append(f"{work.__name__}: {error!r}")
