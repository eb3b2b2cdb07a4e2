"""The console blocks of docs/reliability.md are what the commands print."""

from __future__ import annotations

import re
from pathlib import Path

import first_week
import pytest


def test_answers_replace_what_stood_below_a_command(tmp_path: Path) -> None:
    page = "text\n```console\n$ echo 12:34:56 hi $PWD/a\nold\n$ seq 9; \\\n  exit 3\n```\n```\n$ left as it is\n```\n"
    assert first_week.answer_all(page, tmp_path) == (
        "text\n```console\n$ echo 12:34:56 hi $PWD/a\nhi a\n$ seq 9; \\\n  exit 3\n7\n8\n9\n(exit status 3)\n```\n"
        "```\n$ left as it is\n```\n"
    )


@pytest.mark.slow
def test_the_page_is_what_the_commands_print(tmp_path: Path) -> None:
    """But for numbers: accuracies and latencies are the machine's."""
    first_week.prepare(tmp_path)
    page = first_week.PAGE.read_text()
    anew = first_week.answer_all(page, tmp_path)
    assert "Traceback" not in anew

    def kept(text: str) -> list[str]:
        return re.sub(r"[\d.,]+", "#", re.sub(r"in use by [^;]*", "in use", " ".join(text.split()))).split("$")

    assert kept(anew) == kept(page)
