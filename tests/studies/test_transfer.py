"""The table of docs/fine_tune.md is what docs/results/transfer holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import transfer

PAGE = Path(__file__).parents[2] / "docs" / "fine_tune.md"


def test_the_page_has_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    transfer.table()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(transfer.DATA)
    assert "\n".join(lines) in PAGE.read_text()


def test_few_images_are_linked_and_the_others_stay(tmp_path: Path) -> None:
    for name in ("train/a/1.jpg", "train/a/0.jpg", "train/a/2.jpg", "train/b/0.jpg", "test/a/9.jpg"):
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).write_bytes(b"image")
    found = transfer.few(tmp_path / "all", tmp_path / "few", 2)
    assert transfer.few(tmp_path / "all", tmp_path / "few", 2) == found  # a second time
    files = sorted(str(path.relative_to(found)) for path in found.glob("train/*/*.jpg"))
    assert files == ["train/a/0.jpg", "train/a/1.jpg", "train/b/0.jpg"]
    assert (found / "test" / "a" / "9.jpg").is_file()
