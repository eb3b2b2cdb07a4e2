"""The hold-out split: stratified, and a function of names and seed alone."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from scarlet_models.errors import UserError
from scarlet_models.training.split import split_holdout

GOLDEN_HOLDOUT = [5, 13, 21]
GOLDEN_HASH = "582dde562806a96555023a21e30596f7230936d89a65dc65f8dfe4210d8693f1"


def _names(count: int) -> list[str]:
    return [f"class_{i % 3}/{i:04d}.jpg" for i in range(count)]


def _labels(names: list[str]) -> list[int]:
    return [int(name[6]) for name in names]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.25, 0.5])
def test_the_split_is_stratified_disjoint_and_complete(share: float) -> None:
    names = _names(300)
    split = split_holdout(names, _labels(names), share, 0)
    assert sorted(split.train + split.holdout) == list(range(300))
    counts = Counter(_labels([names[i] for i in split.holdout]))
    assert counts == Counter({label: round(100 * share) for label in range(3) if share})


def test_the_split_depends_on_names_and_seed_alone() -> None:
    names = _names(300)
    split = split_holdout(names, _labels(names), 0.1, 0)
    shuffled = random.Random(1).sample(names, len(names))
    other = split_holdout(shuffled, _labels(shuffled), 0.1, 0)
    assert {shuffled[i] for i in other.holdout} == {names[i] for i in split.holdout}
    assert other.hash == split.hash
    assert split_holdout(names, _labels(names), 0.1, 1).hash != split.hash
    assert split_holdout(names, _labels(names), 0.2, 0).hash != split.hash


def test_the_split_never_changes_between_versions() -> None:
    """Checkpoints and evaluations on file name the split by this hash."""
    split = split_holdout(_names(30), _labels(_names(30)), 0.1, 0)
    assert split.holdout == GOLDEN_HOLDOUT
    assert split.hash == GOLDEN_HASH


def test_an_image_that_is_added_moves_few_others() -> None:
    names = _names(300)
    more = [*names, "class_0/9999.jpg"]
    before = {names[i] for i in split_holdout(names, _labels(names), 0.1, 0).holdout}
    after = {more[i] for i in split_holdout(more, _labels(more), 0.1, 0).holdout}
    assert len(before - after) <= 1


@pytest.mark.parametrize(("share", "message"), [(1.0, "below 1"), (-0.1, "below 1"), (0.001, "holds out none")])
def test_a_share_that_makes_no_sense_is_refused(share: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_holdout(_names(30), _labels(_names(30)), share, 0)
