"""Which trials of reliability are done, and what their rows say of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import reliability
import study


def test_more_examples_are_asked_for_again() -> None:
    assert reliability.is_done({"result": "ok 1000"}, 1000)
    assert not reliability.is_done({"result": "ok 1000"}, 2000)
    assert reliability.is_done({"result": "ok"}, 2000)
    assert not reliability.is_done({"result": "another result"}, 1)
    assert not reliability.is_done({}, 1)


def test_each_row_has_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reliability, "RESULTS", tmp_path)
    old = {"trial": "train 1", "result": "ok", "seconds": "1"}
    study.write(tmp_path / "clock.csv", [old, {**old, "trial": "train 2", "machine": "a machine"}])
    study.write(
        tmp_path / "fuzz.csv", [{**old, "trial": name, "result": f"ok {n}"} for name, n in (("a", 9), ("b", 7))]
    )
    lines = reliability.table().splitlines()
    assert lines[-1] == "Machine: not recorded (3 trials); a machine (1 trials). One thread a process."
    assert any(line.endswith("| 2 | 2 of 2 |") for line in lines)
    assert any(line.endswith("| 2, at least 7 examples each | 2 of 2 |") for line in lines)
