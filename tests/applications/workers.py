"""Trains the tiny task in a process of its own: as one of several workers, or to be killed.

python -m tests.applications.workers RUN_DIR [flags]
"""

from __future__ import annotations

import sys

from applications import cli


def main() -> int:
    """Begins the run or goes on with it."""
    folder, *flags = sys.argv[1:]
    cli.TASKS["tiny"] = "tests.applications.tiny:TASK"
    return cli.main(["train", "tiny", "--run-dir", folder, "--auto-resume", *flags])


if __name__ == "__main__":
    sys.exit(main())
