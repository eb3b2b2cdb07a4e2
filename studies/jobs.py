"""Commands that a study runs in folders of their own: what they cost, and who else works there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scarlet_models.errors import UserError
from scarlet_models.files import owning, write_json
from scarlet_models.search.ablation.study import SECONDS
from scarlet_models.signals import StopSignals


class InUse(Exception):
    """Another process works in the folder."""


def run(arguments: Sequence[str], folder: Path, stage: str = "train") -> None:
    """Run a subcommand of scarlet-search that writes to a folder, and keep what it cost.

    An interrupted program lets the command write its checkpoint. `InUse` says that another process has the folder; any
    other failure ends the program.
    """
    if in_use(folder):
        raise InUse(f"{folder} is in use by another process")
    known = not (folder / "config.yaml").exists() or (folder / SECONDS).exists()
    before, status = os.times().children_user, None
    process = subprocess.Popen([sys.executable, "-m", "scarlet_models.search", *arguments, "--out", str(folder)])
    try:
        with StopSignals():
            status = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        refused = bool(status) and in_use(folder)
        if not refused:
            kept = seconds(folder)
            total = kept.get(stage, 0.0) if known else None
            spent = None if total is None else total + os.times().children_user - before
            write_json(folder / SECONDS, {**kept, stage: spent})
    if refused:
        raise InUse(f"{folder} is in use by another process")
    if status:
        sys.exit(f"{folder}: scarlet-search {arguments[0]} ended with status {status}; its message stands above")


def in_use(folder: Path) -> bool:
    """Whether another process owns a folder."""
    try:
        with owning(folder):
            return False
    except UserError:
        return True


def seconds(folder: Path) -> dict[str, float | None]:
    """CPU seconds (user time) of each stage in a folder, over all calls; None where earlier calls did not keep it."""
    path = folder / SECONDS
    return dict(json.loads(path.read_text())) if path.exists() else {}
