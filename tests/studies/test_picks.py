"""The comparison of the study's picks with what their cost buys elsewhere, on made-up results."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "studies" / "scarlet_cifar" / "picks.py"
spec = importlib.util.spec_from_file_location("picks", SCRIPT)
assert spec and spec.loader
picks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(picks)

EQUAL = [picks.Network(60 + i, 50 + (7 * i) % 16, 600, identities=i // 4) for i in range(16)]


@pytest.mark.parametrize("count", [1, 3, 16])
def test_the_best_of_some_is_the_mean_over_all_draws(count: int) -> None:
    draws = [max(drawn) for drawn in itertools.combinations(EQUAL, count)]
    expected = np.mean([network[:2] for network in draws], axis=0)
    assert picks.best_of(EQUAL, count)[:2] == pytest.approx(tuple(expected))


def _row(kind: str, supernet: int, top1: float) -> dict[str, str]:
    spent = {"supernet_seconds": "1000", "search_seconds": "100"}
    return {"kind": kind, "supernet": f"identity_s{supernet}", "test_top1": str(top1), **spent}


def test_a_pick_is_compared_with_what_its_cost_buys() -> None:
    groups = {"equal": EQUAL, "spread": [picks.Network(60, 60, 600)] * 24}
    raw, anchored = (picks.gain(_row(kind, 0, 70.0), groups) for kind in picks.KINDS)
    assert raw == (pytest.approx(70 - picks.best_of(EQUAL, 3).test), "best of 3 random networks")
    assert anchored == (pytest.approx(70 - picks.best_of(EQUAL, 13).test), "best of 13 random networks")
    deep = [network._replace(held_out=90 - network.held_out) for network in EQUAL]
    assert picks.gain(_row("raw", 0, 70.0), {**groups, "equal": [deep[0]._replace(held_out=99), *deep[4:]]})[1] == (
        "the deepest networks"
    )


@pytest.mark.parametrize(("top1", "worth"), [(90.0, "yes"), (50.0, "not shown")])
def test_the_verdict_needs_a_lower_bound_above_0(top1: float, worth: str) -> None:
    groups = {"equal": EQUAL, "spread": [picks.Network(60, 60, 600)] * 24}
    rows = [_row(kind, seed, top1 + seed / 10) for kind in picks.KINDS for seed in range(5)]
    text = picks.verdict(rows, groups)
    assert text.count(f"| {worth} |") == 2
