"""Freed memory is kept: the next step's activations cost no page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from scarlet_models.training.device import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(3)
for _ in range(3):
    torch.zeros(64 * 2**20)  # 256 MiB, freed at once
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.zeros(64 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("this C library is not glibc")
    assert not done.returncode, done.stderr
    return int(done.stdout)


def test_memory_that_was_freed_costs_no_page_faults_again() -> None:
    assert _faults("keep") * 10 < _faults("system")
