"""How processes share the trainings of the known networks, and how their costs are kept."""

from __future__ import annotations

import json
from pathlib import Path

import jobs
import known_accuracies
import pytest
import study

ROW = {**dict.fromkeys(("train_top1", "holdout_top1", "test_top1"), 50), "cpu_seconds": 9}


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the trainings, which are made up; another process works on network 01."""
    monkeypatch.setattr(study, "HERE", tmp_path)
    study.results("scarlet_cifar").mkdir(parents=True)
    names: list[str] = []

    def train(name: str, genotype: str, seed: int, *_: object) -> dict[str, object]:
        if name == "01":
            raise jobs.InUse("runs/01_s0 is in use by another process")
        names.append(name)
        return {"network": name, "genotype": genotype, "seed": seed, **ROW}

    monkeypatch.setattr(known_accuracies, "train", train)
    wanted = [("donor", "9", 0), ("00", "0", 0), ("01", "1", 0), ("02", "2", 0)]
    monkeypatch.setattr(known_accuracies, "jobs", lambda: wanted)
    return names


def test_two_processes_share_the_work(trained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = {"network": "00", "genotype": "0", "seed": 0, **ROW}
    study.append(known_accuracies.table(), first)
    known_accuracies.main("cifar10", tmp_path, backwards=True)
    assert trained == ["02", "donor"]
    assert capsys.readouterr().out == "runs/01_s0 is in use by another process; it is skipped\n"
    assert [row["network"] for row in study.read(known_accuracies.table())] == ["00", "02", "donor"]


def test_a_donor_without_weights_is_trained_again(trained: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        known_accuracies.main("cifar10", tmp_path)
    assert trained == ["donor", "00", "02", "donor"]
    assert [row["network"] for row in study.read(known_accuracies.table())] == ["00", "02", "donor"]


class _Done:
    """A command that ends at once."""

    def __init__(self, command: list[str]) -> None:
        assert command[-2:] == ["--out", command[-1]]
        (Path(command[-1]) / "config.yaml").touch()

    def wait(self) -> int:
        return 0


def test_costs_add_up_over_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.subprocess, "Popen", _Done)
    for _ in range(2):
        jobs.run(["train"], tmp_path / "new")
        assert jobs.seconds(tmp_path / "new")["train"] is not None
    (tmp_path / "new" / jobs.SECONDS).write_text(json.dumps({"train": 100}))
    jobs.run(["train"], tmp_path / "new")
    assert jobs.seconds(tmp_path / "new")["train"] == pytest.approx(100, abs=1)


def test_the_cost_of_a_run_that_did_not_keep_its_time_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.subprocess, "Popen", _Done)
    (tmp_path / "config.yaml").touch()
    for _ in range(2):
        jobs.run(["train"], tmp_path)
        assert jobs.seconds(tmp_path) == {"train": None}


def test_a_folder_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "in_use", lambda folder: True)
    with pytest.raises(jobs.InUse, match="is in use by another process"):
        jobs.run(["train"], tmp_path)
