"""What is counted, and that Prometheus can read it."""

import math
import re
import urllib.request

import pytest

from export import Client, DevServer, ServingError
from export.dev_server.metrics import BOUNDS, Metrics

LINE = re.compile(r'(:[a-z:_]+)\{((?:[A-Za-z_]+="(?:[^"\\]|\\.)*",?)*)\} (\S+)')


def read(text):
    """Name and labels -> value."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = LINE.fullmatch(line).groups()
            found[name.removeprefix(":tensorflow:serving:"), labels] = float(value)
    return found


def test_requests_are_counted_by_model_and_status():
    metrics = Metrics()
    for _ in range(3):
        with metrics.request("m", "Predict", "GRPC"):
            pass
    for _ in range(2):
        with pytest.raises(ServingError), metrics.request("m", "predict", "REST"):
            raise ServingError("NOT_FOUND", "no")
    found = read(metrics.text())
    assert found["request_count", 'model_name="m",status="OK"'] == 3
    assert found["request_count", 'model_name="m",status="NOT_FOUND"'] == 2


def test_latencies_are_a_cumulative_histogram_of_what_was_answered(monkeypatch):
    metrics = Metrics()
    times = iter([0.0, 15e-6, 0.0, 1e-3, 0.0, 1e6])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    for _ in range(3):
        with metrics.request("m", "Predict", "GRPC"):
            pass
    found = read(metrics.text())
    labels = 'model_name="m",API="Predict",entrypoint="GRPC"'
    buckets = [value for (name, _), value in found.items() if name == "request_latency_bucket"]
    assert buckets == sorted(buckets) and len(buckets) == len(BOUNDS) + 1 == 34
    assert found["request_latency_bucket", f'{labels},le="10"'] == 0
    assert found["request_latency_bucket", f'{labels},le="18"'] == 1
    assert found["request_latency_bucket", f'{labels},le="+Inf"'] == 3
    assert found["request_latency_count", labels] == 3
    assert math.isclose(found["request_latency_sum", labels], 1e12 + 1015)


def test_labels_are_quoted():
    metrics = Metrics()
    with metrics.request('a"\\\n', "Predict", "GRPC"):
        pass
    assert r'model_name="a\"\\\n"' in metrics.text()


def test_a_server_tells_them_and_does_not_grow_by_names_made_up(exports):
    with DevServer(exports, grpc_port=0, rest_port=0) as server:
        for protocol, port in (("grpc", server.grpc_port), ("rest", server.rest_port)):
            with Client(f"127.0.0.1:{port}", "half_plus_two", protocol=protocol) as client:
                client.predict({"x": [1.0]})
        url = f"http://127.0.0.1:{server.rest_port}"
        for name in ("foo", "bar"):
            request = urllib.request.Request(f"{url}/v1/models/{name}:predict", b"{}")
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=10)
            caught.value.close()
        with urllib.request.urlopen(f"{url}/monitoring/prometheus/metrics", timeout=10) as page:
            assert page.headers["Content-Type"] == "text/plain"
            text = page.read().decode()
    assert "# TYPE :tensorflow:serving:request_count counter" in text
    found = read(text)
    assert found["request_count", 'model_name="half_plus_two",status="OK"'] == 2
    assert found["request_count", 'model_name="",status="NOT_FOUND"'] == 2
    for api, entrypoint in (("Predict", "GRPC"), ("predict", "REST")):
        labels = f'model_name="half_plus_two",API="{api}",entrypoint="{entrypoint}"'
        assert found["request_latency_count", labels] == 1
