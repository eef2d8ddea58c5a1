"""Workers of one training, started by Ray. TF_CONFIG tells each of them of the others."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

from applications.training import console
from applications.training.errors import UserError


def on_ray(arguments: Sequence[str], workers: int, restarts: int = 3) -> None:
    """Runs `keras-attention train` with these arguments in so many workers of a Ray cluster.

    The cluster is the one that RAY_ADDRESS names, or this machine. Each worker has a GPU where the
    cluster has as many. When one is lost, all begin again from the last checkpoint.

    Args:
        arguments: A task and its flags, --run-dir on storage that all workers share.
        workers: How many.
        restarts: How often to begin again.

    Raises:
        UserError: If Ray is not installed, has no room, or the workers refuse the arguments.
        ConnectionError: If workers were lost too often.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f'--launcher ray needs pip install "keras-attention-layers[ray]". ({error})'
        ) from None
    ray.init(ignore_reinit_error=True, log_to_driver=True)
    have = ray.cluster_resources()
    if have.get("CPU", 0) < workers:
        raise UserError(
            f"--workers {workers} need a CPU each; Ray has {have.get('CPU', 0):.0f} in all."
        )
    worker: Any = ray.remote(_Worker)
    options: dict[str, Any] = {"num_cpus": 1, "num_gpus": int(have.get("GPU", 0) >= workers)}
    options["scheduling_strategy"] = "SPREAD"
    command = ["train", *arguments, "--strategy", "multi_worker"]
    for attempt in range(restarts + 1):
        actors = [worker.options(**options).remote() for _ in range(workers)]
        hosts = ray.get([actor.host.remote() for actor in actors])
        done = [
            actor.train.remote(hosts, index, command, os.getcwd())
            for index, actor in enumerate(actors)
        ]
        statuses = [_status(each) for each in done]
        for actor in actors:
            ray.kill(actor)
        if not any(statuses):
            return
        if 2 in statuses:
            raise UserError("the workers refused: see what they said.")
        if 130 in statuses:
            raise KeyboardInterrupt
        if attempt < restarts:
            console.say(f"a worker was lost; restart {attempt + 1} of {restarts}")
        if "--auto-resume" not in command:
            command = [each for each in command if each != "--resume"] + ["--auto-resume"]
    raise ConnectionError(f"workers were lost {restarts + 1} times.")


class _Worker:
    """One process of the training."""

    def host(self) -> str:
        """Where the others find it."""
        import ray

        with socket.socket() as found:
            found.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{found.getsockname()[1]}"

    def train(self, hosts: list[str], index: int, command: list[str], folder: str) -> int:
        """Runs the command line, and returns its exit status."""
        task = {"type": "worker", "index": index}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": hosts}, "task": task})
        if os.path.isdir(folder):
            os.chdir(folder)
        from applications import cli

        return cli.main(command)


def _status(done: Any) -> int:
    import ray

    try:
        return ray.get(done)
    except ray.exceptions.RayError as error:  # The process is gone, or its machine, or a mistake
        console.complain(str(error))  # of ours: Ray says which.
        return 1
