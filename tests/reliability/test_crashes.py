"""A sample of the trials of studies/reliability.py, each in forked processes; in the slow suite all of a kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STUDIES = Path(__file__).parents[2] / "studies"
CODE = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from reliability import GOOD, Trials
torch.set_num_threads(1)
trials = Trials(Path(sys.argv[2]))
for asked in sys.argv[3:]:
    kind, _, name = asked.partition(" ")
    for name in [name] if name else trials.names(kind):
        result = trials.carry_out(kind, name, 100)
        if result != GOOD:
            print(kind, name, result)
"""
SAMPLE = """
crash retrain 2
crash retrain 60
crash retrain 131
crash evolve 90
full retrain 1
full retrain 40
readonly retrain 40
damage retrain config.yaml list
damage retrain env.json list
damage retrain metrics.csv row
damage retrain exported/run/config.json empty
checkpoint retrain newest half
checkpoint retrain both binary
two retrain 0
clock retrain 0
signal retrain SIGINT 0
signal retrain SIGTERM 1
"""


def failures(root: Path, *asked: str) -> str:
    """What went wrong in these trials, or in all of a kind."""
    command = [sys.executable, "-c", CODE, str(STUDIES), str(root), *asked]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_sample_of_the_trials(tmp_path: Path) -> None:
    """In one process, as it takes seconds to start."""
    assert not failures(tmp_path, *SAMPLE.strip().splitlines())


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["crash", "full", "readonly", "damage", "checkpoint", "two", "clock", "signal", "ranks"]
)
def test_all_trials(tmp_path: Path, kind: str) -> None:
    assert not failures(tmp_path, kind)
