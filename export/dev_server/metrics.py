"""How many requests there were and how long they took, as TensorFlow Serving tells Prometheus."""

from __future__ import annotations

import contextlib
import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import accumulate

from export.errors import ServingError

# Upper bounds of latencies, in microseconds: what is above the last is counted under +Inf.
BOUNDS = tuple(10.0 * 1.8**k for k in range(33))

_COUNT = ":tensorflow:serving:request_count"
_LATENCY = ":tensorflow:serving:request_latency"
_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counts requests by model and status, and latencies of those that were answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[_Labels] = Counter()
        self._latencies: defaultdict[_Labels, _Histogram] = defaultdict(_Histogram)

    @contextlib.contextmanager
    def request(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts what happens inside: an answer, or the `ServingError` that leaves it.

        Args:
            model: name of a model that is served; whoever asks for another is not counted by its
                name, of which there is no end.
            api: such as `Predict`; over REST, the verb of the address.
            entrypoint: `GRPC` or `REST`.
        """
        started = time.perf_counter()
        status = "OK"
        try:
            yield
        except ServingError as error:
            status = error.code
            raise
        except Exception:  # a mistake of ours, which the client is told as this
            status = "INTERNAL"
            raise
        finally:
            micros = 1e6 * (time.perf_counter() - started)
            labels = ("model_name", model), ("API", api), ("entrypoint", entrypoint)
            with self._lock:
                self._requests[("model_name", model), ("status", status)] += 1
                if status == "OK":
                    self._latencies[labels].add(micros)

    def text(self) -> str:
        """All that was counted, in Prometheus' text format."""
        with self._lock:
            lines = [f"# TYPE {_COUNT} counter"]
            for labels, number in sorted(self._requests.items()):
                lines.append(f"{_COUNT}{_braces(labels)} {number}")
            lines.append(f"# TYPE {_LATENCY} histogram")
            for labels, histogram in sorted(self._latencies.items()):
                lines += histogram.lines(labels)
        return "\n".join(lines) + "\n"


class _Histogram:
    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(BOUNDS, value)] += 1
        self._sum += value

    def lines(self, labels: _Labels) -> Iterator[str]:
        bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
        for bound, total in zip(bounds, accumulate(self._counts), strict=True):
            yield f"{_LATENCY}_bucket{_braces((*labels, ('le', bound)))} {total}"
        yield f"{_LATENCY}_sum{_braces(labels)} {self._sum:.0f}"
        yield f"{_LATENCY}_count{_braces(labels)} {sum(self._counts)}"


def _braces(labels: _Labels) -> str:
    quoted = (f'{name}="{_escaped(value)}"' for name, value in labels)
    return "{" + ",".join(quoted) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
