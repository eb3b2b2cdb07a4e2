"""The comparison of the study's picks with what their cost buys elsewhere, on made-up results."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import picks
import pytest
from known_accuracies import Network
from study import Rows, read

EQUAL = [Network(str(i), "equal", i // 4, 60 + i, 50 + (7 * i) % 16) for i in range(16)]
TRAINING = 600.0  # seconds


@pytest.mark.parametrize("count", [1, 3, 16])
def test_the_best_of_some_is_the_mean_over_all_draws(count: int) -> None:
    draws = [max(drawn, key=lambda network: network.held_out) for drawn in itertools.combinations(EQUAL, count)]
    expected = [np.mean([getattr(network, name) for network in draws]) for name in ("held_out", "test")]
    assert picks.best_of(EQUAL, count) == pytest.approx(expected)


def _row(kind: str, supernet: int, top1: float, seconds: int = 1000) -> dict[str, str]:
    spent = {"supernet_seconds": str(seconds), "search_seconds": "100", "anchors_used": "" if kind == "raw" else "yes"}
    return {"kind": kind, "supernet": f"identity_s{supernet}", "test_top1": str(top1), **spent, "machine": "here"}


def test_a_pick_is_compared_with_what_its_cost_buys() -> None:
    """1,100 s and the donor cost three trainings."""
    raw, anchored = (picks.compare(_row(kind, 0, 70.0), EQUAL, TRAINING) for kind in picks.KINDS)
    assert raw == (3, 4, False, "best of 4 random networks", pytest.approx(70 - picks.best_of(EQUAL, 4).test))
    assert anchored == (3, 14, False, "best of 14 random networks", pytest.approx(70 - picks.best_of(EQUAL, 14).test))
    dear = picks.compare(_row("anchored", 0, 70.0, seconds=5000), EQUAL, TRAINING)
    assert (dear.trainings, dear.random, dear.capped) == (10, 16, True)
    deep = [network._replace(held_out=90 - network.held_out) for network in EQUAL]
    deep[0] = deep[0]._replace(held_out=99)
    assert picks.compare(_row("raw", 0, 70.0), deep, TRAINING).against == "the deepest networks"


@pytest.mark.parametrize(("top1", "worth"), [(90.0, "yes"), (50.0, "not shown")])
def test_the_verdict_needs_a_lower_bound_above_0(top1: float, worth: str) -> None:
    rows = [_row(kind, seed, top1 + seed / 10) for kind in picks.KINDS for seed in range(5)]
    there = {"cpu_seconds": "1", "machine": "there"}
    trainings = [there, *({"cpu_seconds": f"{TRAINING + more}", "machine": "here"} for more in (-9, 0, 9)), there]
    text = picks.verdict(rows, EQUAL, trainings)
    assert text.count(" | 3 | 4 | ") == 5
    with pytest.raises(SystemExit, match="no training has complete cpu_seconds on here"):
        picks.verdict(rows, EQUAL, [there, {"cpu_seconds": "", "machine": "here"}])
    assert text.count(f"| {worth} |\n") == 2
    assert "| identity_s4, anchored | yes |" in text and "| identity_s4, raw | - |" in text


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import study

    monkeypatch.setattr(study, "HERE", tmp_path)
    folder = study.results("scarlet_cifar")
    folder.mkdir(parents=True)
    return folder


def test_without_all_picks_there_is_no_verdict(docs: Path) -> None:
    with pytest.raises(SystemExit, match=r"^10 picks are missing, so there is no verdict: identity_s0 \(raw\), "):
        picks.main()
    assert not (docs / "picks.md").exists()


def test_a_genotype_is_trained_once(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The anchored pick is the raw one where the anchors are not used."""
    trained: list[str] = []

    def train(name: str, genotype: str, seed: int, *_: object) -> dict[str, object]:
        trained.append(name)
        return {**dict.fromkeys(picks.COLUMNS, 1), "network": name, "genotype": genotype, "seed": seed}

    cells = [SimpleNamespace(variant="identity", seed=0, name="identity_s0", folder=tmp_path / "cell")]
    monkeypatch.setattr(picks, "networks", Rows)
    monkeypatch.setattr(picks, "find_cells", lambda _: cells)
    monkeypatch.setattr(picks, "seconds", lambda _: {"train": 10.4, "search": 2.0})
    monkeypatch.setattr(picks, "search", lambda cell, kind, *_: ("1,2", {"raw": "", "anchored": "no"}[kind]))
    monkeypatch.setattr(picks, "train", train)
    picks.pick("data", tmp_path, tmp_path)
    assert trained == ["raw_identity_s0"]
    rows = read(docs / "picks.csv")
    assert [(row["kind"], row["network"], row["anchors_used"]) for row in rows] == [
        ("raw", "raw_identity_s0", ""),
        ("anchored", "raw_identity_s0", "no"),
    ]
    assert {(row["supernet_seconds"], row["search_seconds"]) for row in rows} == {("10", "2")}
