"""Samplers: strict fairness as a property, repeatability, and state that survives JSON and checkpoints."""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scarlet_models.search.supernet.sampler import FairSampler, UniformSampler, widest
from scarlet_models.space.space import SearchSpace

SPACES = ["mini", "nas_bench_macro", "scarlet"]
BLOCKS: list[Any] = [{"expand": expand, "kernel": kernel} for expand in (2, 3, 6) for kernel in (3, 5, 7)]


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Spaces whose layers have different numbers of choices, by where identity may stand."""
    stages = draw(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([1, 2])), min_size=1, max_size=3))
    blocks = draw(st.integers(1, len(BLOCKS)))
    return SearchSpace.load(
        {
            "name": "drawn",
            "stem": {"channels": 8, "stride": 2, "act": "relu"},
            "stages": [{"channels": 16, "depth": depth, "stride": stride} for depth, stride in stages],
            "choices": [*BLOCKS[:blocks], "identity"],
            "act": "relu",
            "head": {"channels": 8, "act": "relu"},
        }
    )


@given(space=spaces(), seed=st.integers(0, 2**32), fair_steps=st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_at_any_time_a_layers_choices_were_drawn_equally_often(space: SearchSpace, seed: int, fair_steps: int) -> None:
    sampler = FairSampler(space, seed)
    counts = [dict.fromkeys(layer.choices, 0) for layer in space.layers]
    for _ in range(fair_steps):
        fair_step = sampler.fair_step()
        assert len(fair_step) == widest(space)
        for path in fair_step:
            space.validate(path)
            for layer, choice in enumerate(path):
                counts[layer][choice] += 1
                assert max(counts[layer].values()) - min(counts[layer].values()) <= 1
        for layer in space.layers:
            if len(layer.choices) == len(fair_step):
                assert sorted(path.choices[layer.index] for path in fair_step) == list(layer.choices)


def test_uniform_sampling_is_not_fair() -> None:
    """The property above can fail: it does for uniform sampling."""
    space = SearchSpace.load("mini")
    sampler = UniformSampler(space, 0)
    fair_steps = [sampler.fair_step() for _ in range(20)]
    assert any(len({path.choices[1] for path in fair_step}) < 4 for fair_step in fair_steps)
    assert {path.choices[1] for fair_step in fair_steps for path in fair_step} == {0, 1, 2, 3}
    assert all(len(fair_step) == widest(space) for fair_step in fair_steps)


def test_single_path_uniform_sampling() -> None:
    assert len(UniformSampler(SearchSpace.load("scarlet"), 0, paths=1).fair_step()) == 1


@pytest.mark.parametrize("name", SPACES)
def test_layers_are_shuffled_independently(name: str) -> None:
    """Every pair of choices of two layers of equal width meets about equally often."""
    space = SearchSpace.load(name)
    wide = [layer for layer in space.layers if len(layer.choices) == widest(space)]
    sampler = FairSampler(space, 1)
    fair_steps = 400
    met: Counter[tuple[int, int]] = Counter()
    for _ in range(fair_steps):
        met.update((path.choices[wide[0].index], path.choices[wide[-1].index]) for path in sampler.fair_step())
    width = widest(space)
    expected = fair_steps / width
    pairs = np.array([met[a, b] for a in wide[0].choices for b in wide[-1].choices])
    assert np.abs(pairs - expected).max() < 6 * np.sqrt(expected)


@pytest.mark.parametrize("sampler_class", [FairSampler, UniformSampler])
@pytest.mark.parametrize("name", SPACES)
def test_state_goes_through_json_and_checkpoints(name: str, sampler_class: type[FairSampler]) -> None:
    space = SearchSpace.load(name)
    sampler = sampler_class(space, 3)
    for _ in range(3):
        sampler.fair_step()
    state = json.loads(json.dumps(sampler.state_dict()))
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    ahead = [sampler.fair_step() for _ in range(5)]
    for saved in (state, torch.load(file, weights_only=True)):
        other = sampler_class(space, 99)
        other.load_state_dict(saved)
        assert [other.fair_step() for _ in range(5)] == ahead


@pytest.mark.parametrize("sampler_class", [FairSampler, UniformSampler])
def test_the_seed_decides(sampler_class: type[FairSampler]) -> None:
    space = SearchSpace.load("scarlet")
    first, again, other = (sampler_class(space, seed).fair_step() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_state_is_a_copy() -> None:
    sampler = FairSampler(SearchSpace.load("scarlet"), 0)
    sampler.fair_step()
    state = sampler.state_dict()
    before = json.dumps(state)
    sampler.fair_step()
    assert json.dumps(state) == before
