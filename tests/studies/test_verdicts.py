"""The verdicts of the study follow its criteria, on made-up results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import study as studies
import verdicts
from known_accuracies import Network, draw_anchors
from resampling import Interval, once

SEEDS = 3


@pytest.mark.parametrize(
    ("seeds", "both", "verdict"),
    [
        ((0.02, 0.20), (0.01, 0.22), "helps"),
        ((0.02, 0.20), (-0.01, 0.22), "is unresolved"),
        ((-0.2, -0.02), (-0.22, -0.01), "harms"),
        ((-0.2, 0.02), (-0.22, -0.01), "is unresolved"),
    ],
)
def test_both_intervals_decide(seeds: tuple[float, float], both: tuple[float, float], verdict: str) -> None:
    assert verdicts.judge(Interval(0.0, *seeds), Interval(0.0, *both)) == verdict


def _study(folder: Path, gain: float) -> list[Network]:
    """The results of 40 networks whose stabilized supernets see the known accuracy with `gain` times less noise."""
    rng = np.random.default_rng(0)
    space = studies.SearchSpace.load("scarlet_cifar")
    known = [
        Network(str(space.sample(rng)), "spread" if i < 24 else "equal", 0, test + rng.normal(), test)
        for i, test in enumerate(rng.normal(65, 1, 40))
    ]
    rows: dict[str, studies.Rows] = {"rankings": [], "curves": [], "similarity": []}
    for cell in ({"variant": name, "seed": str(seed)} for name in ("skip", "identity") for seed in range(SEEDS)):
        noise = 1.5 if cell["variant"] == "skip" else 1.5 / gain
        for kind in studies.STATISTICS:
            for network in known:
                score = network.test - 30 + noise * rng.normal()
                figures = {"genotype": network.genotype, "blocks": 19, "known": network.test}
                figures |= {"predicted": score, "loss": 3 - score / 30}
                rows["rankings"].append({**cell, "batch_norm": kind, **{k: str(v) for k, v in figures.items()}})
        for step in range(1, 9):
            figures = {"step": step, "loss": 1, "top1": step, "top1_std": 2}
            rows["curves"].append({**cell, **{key: str(value) for key, value in figures.items()}})
        for layer in [one.index for one in space.layers if one.keeps_shape]:
            for a, b, cosine in (("e3 k3", "e6 k3", 0.8), ("e3 k3", "identity", 0.3), ("e3 k3 se", "identity", 0.0)):
                rows["similarity"].append({**cell, "layer": str(layer), "a": a, "b": b, "cosine": str(cosine)})
    for name, table in rows.items():
        studies.write(folder / f"{name}.csv", table)
    return known


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(studies, "HERE", tmp_path)
    results = studies.results("scarlet_cifar")
    results.mkdir(parents=True)
    return results


def _verdicts(folder: Path, gain: float, draws: int = 1) -> verdicts.Verdicts:
    known = _study(folder, gain)
    return verdicts.Verdicts(studies.Study("scarlet_cifar", "scarlet_cifar"), known, draws)


def test_a_far_better_ranking_helps_and_is_worth_it(folder: Path) -> None:
    text = _verdicts(folder, gain=20).text()
    assert "the stabilizer helps" in text and "over 40 networks and 3 paired seeds" in text.replace("\n", " ")
    for name in ("identity, recalibrated", "identity + 10 anchors"):
        assert text.split(f"| {name} |")[1].splitlines()[0].endswith("| yes |")
    assert "Within 16 networks" in text
    assert "| skip | 0.300 [0.300, 0.300] | 0.300 [0.300, 0.300] | 0.800 [0.800, 0.800] |" in text  # without SE


def test_equal_rankings_are_unresolved(folder: Path) -> None:
    assert "the stabilizer is unresolved" in _verdicts(folder, gain=1).primary()


def test_the_last_quarter_is_the_last_quarter(folder: Path) -> None:
    found = _verdicts(folder, gain=1)
    assert [part.tolist() for part in found.study.last_part(("skip", 0))] == [[7, 8], [2, 2]]


def test_anchors_are_spread_networks_and_are_not_scored(folder: Path) -> None:
    found = _verdicts(folder, gain=1, draws=2)
    for drawn in found.drawn:
        assert len(set(drawn)) == 10 and max(drawn) < 24
    assert not np.array_equal(*found.drawn) and np.array_equal(found.drawn[0], draw_anchors(found.groups, 0))
    weights: list[np.ndarray] = []

    def tau(given: np.ndarray) -> np.ndarray:
        weights.append(given[0])
        return np.array([0.1 * len(weights)])

    assert found._off_anchors([tau, tau])(once(40)) == pytest.approx(0.15)
    for drawn, given in zip(found.drawn, weights, strict=True):
        assert given.sum() == 30 and not given[drawn].any()


def test_a_constant_score_ranks_nothing(folder: Path) -> None:
    assert _verdicts(folder, gain=1)._tau_of(np.ones(40))(once(40)) == 0


def test_a_verdict_needs_all_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = _study(folder, gain=1)
    monkeypatch.setattr(verdicts, "networks", lambda: known)
    assert not verdicts.missing(known, SEEDS)
    others = [network._replace(test=network.test + 1) for network in known]
    assert len(verdicts.missing(others, SEEDS)) == 4 * SEEDS
    with pytest.raises(SystemExit, match=r"^8 parts are missing.*skip_s3: ranking of these networks, recalibrated; "):
        verdicts.main(seeds=SEEDS + 1)
    assert not (folder / "verdicts.md").exists()


def test_known_networks_must_all_be_there(folder: Path) -> None:
    import known_accuracies

    fixed = [{"group": "spread", "identities": "0", "genotype": str(number)} for number in range(3)]
    studies.write(folder / "known_networks.csv", fixed)
    row = {"network": "01", "genotype": "1", "seed": "0", "holdout_top1": "1.5", "test_top1": "2"}
    row |= {"cpu_seconds": "9", "machine": "there"}
    studies.append(known_accuracies.table(), row)
    with pytest.raises(SystemExit, match=r"lacks 2 of 3 known networks: 00, 02"):
        known_accuracies.networks()
    for network, seconds in (("00", "30"), ("02", ""), ("03", "70")):
        studies.append(known_accuracies.table(), row | {"network": network, "cpu_seconds": seconds, "machine": "here"})
    assert known_accuracies.networks()[1] == ("1", "spread", 0, 1.5, 2.0)
    rows = studies.read(known_accuracies.table())
    assert [known_accuracies.training_seconds(rows, machine) for machine in ("here", "there")] == [50, 9]
    known_accuracies.write_known(folder / "known.csv")
    assert (folder / "known.csv").read_text().splitlines() == ["genotype,accuracy", "0,2.0", "1,2.0", "2,2.0"]
    with pytest.raises(SystemExit, match=r"its columns are network, .*, not other; rename or mend the file"):
        studies.append(known_accuracies.table(), {"other": 1})
