"""Costs: torch's flop counter, thop and the genotype agree to the integer, and counting leaves no trace."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from scarlet_models.errors import UserError
from scarlet_models.inspection.counting import count, count_with_thop, macs_by_module, on_meta
from scarlet_models.inspection.layout import feature_taps, layout
from scarlet_models.networks import create_on_meta, genotype_of
from scarlet_models.space.cost import Cost
from scarlet_models.space.space import Genotype, SearchSpace

KNOWN = {  # the published networks, at their own image sizes
    "scarlet_a": Cost(365_307_392, 6_707_720),
    "scarlet_b": Cost(326_853_440, 6_531_556),
    "scarlet_c": Cost(280_082_912, 6_073_684),
    "scarlet_a2": Cost(939_296_104, 13_217_520),
    "scarlet_a4": Cost(4_212_302_968, 27_863_352),
}


@pytest.mark.parametrize("name", KNOWN)
def test_torch_and_thop_agree_with_the_published_costs(name: str) -> None:
    model: Any = create_on_meta(name)
    size = model.pretrained_cfg["input_size"][-1]
    assert count(model, size) == count_with_thop(model, size) == KNOWN[name]


def test_a_thop_that_another_package_has_damaged_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """ultralytics-thop installs the same folder: removing one of them takes files of the other."""
    monkeypatch.setitem(sys.modules, "thop.vision.basic_hooks", None)
    with pytest.raises(UserError, match=r"thop is damaged .* shares its folder with ultralytics-thop: pip install"):
        count_with_thop(create_on_meta("scarlet_a"), 224)


def test_thop_without_our_rules_says_something_else() -> None:
    """Why the rules are there: thop by itself adds the pooling, and misses timm's batch norms."""
    import thop

    macs, params = thop.profile(*_profiled("scarlet_a", 224), verbose=False)
    assert (int(macs), int(params)) == (365_371_392, 6_671_016)


def _profiled(name: str, size: int) -> tuple[nn.Module, tuple[torch.Tensor]]:
    model, image = on_meta(create_on_meta(name), size)
    return model, (image,)


@pytest.mark.parametrize(("space", "size"), [("mini", 32), ("mini", 45), ("nas_bench_macro", 32), ("scarlet", 97)])
def test_genotypes_cost_what_their_networks_cost(space: str, size: int) -> None:
    genotype = SearchSpace.load(space).sample(np.random.default_rng(size))
    model = create_on_meta(str(genotype), space, num_classes=7)
    assert count(model, size) == count_with_thop(model, size) == genotype.cost(size, 7)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = timm.create_model("scarlet_net", genotype="0,1,2,3,0", space="mini").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count(model, 32)
    count_with_thop(model, 32)
    layout(model, 32)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    after = model.state_dict()
    assert after.keys() == before.keys()  # thop would leave total_ops and total_params
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_other_channels_and_types_are_counted() -> None:
    grey = timm.create_model("scarlet_net", genotype="0,1,2,3,0", space="mini", in_chans=1).half()
    colour = timm.create_model("scarlet_net", genotype="0,1,2,3,0", space="mini")
    stem = 9 * 16  # weights of the stem for one input channel
    assert count(colour, 32).params - count(grey, 32).params == 2 * stem
    assert count(colour, 32).macs - count(grey, 32).macs == 2 * stem * 16 * 16


def test_frozen_parameters_are_not_trainable() -> None:
    model = timm.create_model("scarlet_net", genotype="0,1,2,3,0", space="mini")
    whole = count(model, 32).params
    model.classifier.requires_grad_(False)
    assert whole - count(model, 32).params == 128 * 10 + 10


def test_macs_of_modules_add_up() -> None:
    macs = macs_by_module(create_on_meta("0,1,2,3,0", "mini"), 32)
    parts = ["conv_stem", "blocks", "conv_head", "classifier"]
    assert macs[""] == sum(macs[part] for part in parts)
    assert macs["conv_stem"] == 16 * 16 * 16 * 27


@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("scarlet_b", "scarlet"),
        ("0,1,2,3,0", "mini"),
        ("0,0,1,2,0,1,2,0", "nas_bench_macro"),
        ("10,11,10,12,5,7,3,8,9,1,5,4,2,4,1,2,11", "mobilenetv4"),
    ],
)
def test_the_layout_is_the_genotype_and_adds_up(name: str, space: str) -> None:
    genotype = genotype_of(name, space)
    assert genotype is not None
    model: Any = create_on_meta(name, space)
    size = model.pretrained_cfg["input_size"][-1]
    blocks = layout(model, size, genotype)
    cost = Cost(sum(block.macs for block in blocks), sum(block.params for block in blocks))
    assert cost == genotype.cost(size)
    searched = [block for block in blocks if block.layer is not None]
    assert [block.choice for block in searched] == list(genotype)
    for block, layer in zip(searched, genotype.space.layers, strict=True):
        choice = genotype.space.choices[block.choice or 0]
        assert (block.in_channels, block.channels) == (layer.in_channels, layer.out_channels)
        assert -(-block.in_size // layer.stride) == block.size
        if block.kind == "inverted residual":
            assert (block.kernel, block.expand, block.se) == (choice.kernel, choice.expand, choice.se > 0)
            assert block.stride == layer.stride and block.shortcut == layer.keeps_shape
        elif choice.kind in ("er", "uir"):
            assert (block.kernel, block.expand, block.start) == (choice.kernel, choice.expand, choice.start)
            assert block.kind == {"er": "fused", "uir": "universal"}[choice.kind]
        elif choice.kind == "cn":
            assert (block.kind, block.kernel) == ("convolution", choice.kernel)
        else:
            assert choice.identity and block.kind == ("identity" if layer.keeps_shape else "projection")


def test_layout_of_a_scaled_network_has_every_repeat() -> None:
    blocks = layout(create_on_meta("scarlet_a2"), 260)
    assert [block.channels for block in blocks if block.stride == 2] == [32, 32, 48, 88, 208]
    assert len(blocks) == 3 + sum(len(stage) for stage in create_on_meta("scarlet_a2").blocks)


def test_feature_taps_are_the_published_ones() -> None:
    taps = feature_taps(create_on_meta("scarlet_a"))
    assert [tap["reduction"] for tap in taps] == [2, 4, 8, 16, 32]
    assert [tap["channels"] for tap in taps] == [16, 32, 40, 96, 320]


def test_genotype_of_knows_names_tags_and_text() -> None:
    assert genotype_of("scarlet_c.tiny_in") == genotype_of("scarlet_c")
    assert genotype_of("0,1,2,3,0", "mini") == Genotype.parse("0,1,2,3,0", "mini")
    assert genotype_of("scarlet_a4") is None  # scaled: no genotype alone describes it
