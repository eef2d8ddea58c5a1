"""A folder laid out as bAbI is."""

from __future__ import annotations

LINES = """\
1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 Mary got the milk, the football.
5 What does Mary hold?\tmilk,football\t4
1 Daniel travelled to the office.
2 Where is Daniel?\toffice\t1
"""


def write(folder, tasks=(1, 2), variant="en", stories=8):
    """Writes files of a few stories for each task, and returns the folder."""
    (folder / variant).mkdir(parents=True)
    for task in tasks:
        for part in ("train", "test"):
            path = folder / variant / f"qa{task}_a-name_{part}.txt"
            path.write_text(LINES * stories, encoding="utf-8")
    return folder
