"""The verdicts of the study follow its criteria, on made-up results."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import study as studies
from resampling import Interval

SCRIPT = Path(__file__).parents[2] / "studies" / "scarlet_cifar" / "verdicts.py"
spec = importlib.util.spec_from_file_location("verdicts", SCRIPT)
assert spec and spec.loader
verdicts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(verdicts)


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


def _study(gain: float) -> SimpleNamespace:
    """40 networks whose stabilized supernets see the known accuracy with `gain` times less noise."""
    rng = np.random.default_rng(0)
    space = studies.SearchSpace.load("scarlet_cifar")
    choices = np.array([space.sample(rng).choices for _ in range(40)])
    known = rng.normal(size=40)
    scores, curves = {}, {}
    for variant in ("skip", "identity"):
        for seed in range(5):
            noise = 1.5 if variant == "skip" else 1.5 / gain
            scores[variant, seed] = known + noise * rng.normal(size=40)
            curves[variant, seed] = [np.arange(900), rng.normal(40, 1, 900), np.ones(900)]
    return SimpleNamespace(
        space=space,
        choices=choices,
        known=known,
        scores={"recalibrated": scores, "running": scores},
        curves=curves,
        seeds=lambda variant: range(5),
        labels=lambda: studies.labels_of(space, choices),
        taus=lambda values: verdicts.Pairs(values, known).tau,
        tau=lambda kind, key: float(verdicts.Pairs(scores[key], known).tau(np.ones((1, 40)))[0]),
    )


def test_a_far_better_ranking_helps_and_is_worth_it() -> None:
    text = verdicts.Verdicts(_study(gain=20), ["spread"] * 24 + ["equal"] * 16, epoch=700).text()
    assert "the stabilizer helps" in text and "over 40 networks and 5 paired seeds" in text
    assert "| yes |" in text.split("identity, recalibrated")[1].splitlines()[0] and "Within 16 networks" in text


def test_equal_rankings_are_unresolved() -> None:
    text = verdicts.Verdicts(_study(gain=1), ["spread"] * 24 + ["equal"] * 16, epoch=700).text()
    assert "the stabilizer is unresolved" in text
