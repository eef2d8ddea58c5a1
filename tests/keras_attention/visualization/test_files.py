"""A file is written whole or not at all, under a name that suits it."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_attention.visualization import Alignment, alignment_page, heatmap, save
from tests.keras_attention.visualization.examples import example


def test_saving_makes_the_folder_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "er" / "page.html"
    for tokens in (["old"], ["néw"]):
        page = alignment_page([Alignment(tokens, ["x"], [[1.0]])])
        assert save(str(path), page) == path
        assert path.read_text(encoding="utf-8") == page
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = save(tmp_path / "page.html", "old")

    def full_disk(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_name_must_suit_what_is_saved(tmp_path):
    with pytest.raises(ValueError, match="name of a page must end in .html. Received: .*a.png'"):
        save(tmp_path / "a.png", "<!DOCTYPE html>")
    with pytest.raises(ValueError, match="name of a figure must end in .png or .pdf or .svg. Rec"):
        save(tmp_path / "a.html", heatmap(example()))
    with pytest.raises(TypeError, match="figure or a page as a string. Received: bytes"):
        save(tmp_path / "a.html", b"<!DOCTYPE html>")
    assert list(tmp_path.iterdir()) == []
