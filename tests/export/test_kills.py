"""An export that is killed at any moment leaves whole versions, or none."""

import random
import subprocess
import sys
import time

import numpy as np

from export.dev_server.servable import Servable
from export.layout import versions

WRITE_FOR_EVER = """
import sys
from tests.export.conftest import half_signature
from export import write
while True:
    print(flush=True)
    write(sys.argv[1], {"serving_default": half_signature()})
"""


def test_a_killed_export_leaves_no_half_version(tmp_path):
    base = tmp_path / "half"
    rng = random.Random(1)
    took = 1.0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, str(base)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            process.stdout.readline()  # one export begins
            started = time.monotonic()
            process.stdout.readline()  # it has ended, and the next begins
            took = time.monotonic() - started
            time.sleep(rng.uniform(0.0, took))
            process.kill()
    found = versions(base)
    assert 2 <= len(found) <= 4 and sorted(found) == list(range(1, len(found) + 1))
    for folder in found.values():
        with Servable(folder) as servable:
            assert servable.predict({"x": np.array([2.0], "float32")})["y"] == [3.0]
