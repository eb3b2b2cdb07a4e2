"""Commands of scarlet-models run in this process."""

from __future__ import annotations

import pytest

from scarlet_models.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command, run in this process."""
    status = main(arguments)
    return status, *capsys.readouterr()


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr of a command that must exit with 2 and print nothing else."""
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    (line,) = (line for line in err.splitlines() if " images, " not in line)  # which says what the data hold
    assert "Traceback" not in line
    return err.strip()
