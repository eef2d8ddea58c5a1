"""Every command that a README shows exists, and knows the flags it is given there."""

import re
import shlex
from pathlib import Path

import pytest

from applications import cli
from applications.training import exporting, flags
from export import __main__ as export_cli
from export.serve_flags import ServeFlags

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", *ROOT.glob("*/README.md"), *ROOT.glob("applications/*/README.md")]
OURS = ("python -m export ", "keras-attention ")


def commands():
    """What a shell would run of ours, in the code blocks that are of no language."""
    for readme in sorted(READMES):
        text = readme.read_text(encoding="utf-8").replace("\\\n", " ")
        for block in re.findall(r"^```(.*?)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            if block[0] in ("", "sh", "bash"):
                for command in re.split(r"\n|&&|\|", block[1]):
                    if command.strip().startswith(OURS):
                        words = shlex.split(re.split("[<>]", command)[0], comments=True)
                        yield pytest.param(words, id=f"{readme.parent.name}: {' '.join(words)}")


@pytest.mark.parametrize("words", [*commands()])
def test_a_command_is_understood(words):
    if words[0] == "python":
        assert export_cli._parser().parse_args(words[3:]).run
        return
    command, *rest = ["translation" if word == "TASK" else word for word in words[1:]]
    if command == "serve":
        ServeFlags.parse(rest, "keras-attention serve")
    elif command == "train":
        task = cli._task(rest[0])
        flags.parse(cli._train_flags(task, rest), "train", rest[1:])
    elif command == "export":
        task = cli._task("translation")
        flags.parse(exporting.flags_of(task), "export", rest[1:])
    else:
        flags.parse({"predict": cli.Predict}.get(command, cli.Run), command, rest)
        assert command in cli.COMMANDS


def test_there_are_commands_of_both():
    found = {parameter.values[0][0] for parameter in commands()}
    assert found == {"python", "keras-attention"}
