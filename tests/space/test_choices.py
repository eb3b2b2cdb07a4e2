"""Choices in timm's words, and what else of a network is data of its space."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import yaml
from timm.models._efficientnet_builder import decode_arch_def

from scarlet_models import UserError
from scarlet_models.space.blocks import Choice
from scarlet_models.space.space import Genotype, SearchSpace

OWN: dict[str, Any] = {
    "name": "own",
    "act": "silu",
    "norm_eps": 0.001,
    "pad": "same",
    "se": {"gate": "sigmoid", "act": "silu", "divisor": 8},
    "stem": {"channels": 16, "stride": 2},
    "stages": [
        {"channels": 16, "depth": 1, "stride": 2, "choices": ["cn_k3"]},
        {"channels": 24, "depth": 3, "stride": 2},
        {"channels": 32, "depth": 2, "stride": 2, "choices": ["ds_k3_noskip", "er_k3_e2.5_nre", "identity"]},
    ],
    "choices": ["ir_k3_e3_se0.25", "uir_a3_k5_p3_e4", "uir_a0_k0_e2", "identity"],
    "head": {"channels": 64, "pool_first": True, "norm": False},
    "input_size": 40,
    "num_classes": 7,
}


@pytest.mark.parametrize("text", ["ir_k3_e6", "ir_k5_e2.5_se0.25_nre_noskip", "er_k3_e4", "uir_a3_k0_e4", "cn_k1_skip"])
def test_a_block_string_is_what_timm_reads(text: str) -> None:
    choice = Choice.parse(text)
    assert choice.block == str(choice) == text
    timms = decode_arch_def([[text.replace("_", "_r1_", 1) + "_s1_c40"]])
    assert timms == decode_arch_def([[choice.string("s1", "c40")]])


def test_the_mapping_form_is_shorthand_with_its_own_share_of_se() -> None:
    short = Choice.inverted_residual(expand=3, kernel=5, se=0.25)
    assert short == Choice.parse("ir_k5_e3_se0.75") and str(short) == "e3 k5 se"
    space = SearchSpace.load("mini")
    data = space.to_dict() | {"choices": ["ir_k3_e3", "ir_k5_e3", "ir_k3_e6_se1.5", "identity"]}
    assert SearchSpace.load(data) == space


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("xy_k3", "timm has no block 'xy' that a layer can be; known are ir, er, uir, ds, dsa, cn, identity"),
        ("ir_k3_e6_z3", "'z3' in 'ir_k3_e6_z3': not what timm knows of ir, once each: k, e, se, nre"),
        ("ir_k3_k5_e6", "'k5' in 'ir_k3_k5_e6'"),
        ("ir_k3.5_e6", "'k3.5' in"),
        ("ir_k3", "'ir_k3' lacks e and its number: ir needs k and e"),
        ("ir_k4_e6", "a kernel is odd"),
        ("ir_k0_e6", "a kernel is odd"),
        ("er_k3_e99", "e is above 0 and at most 16"),
        ("ir_k3_e2_se3", "se at most e"),
        ("ir_k3_e6_s2", "'s2' in"),
        ("", "timm has no block ''"),
    ],
)
def test_a_bad_block_string_is_named_with_its_line(tmp_path: Any, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(SearchSpace.load(OWN).to_yaml().replace("- identity", f"- '{text}'", 1))
    line = 1 + path.read_text().split("\n").index(f"  - '{text}'")
    with pytest.raises(UserError) as error:
        SearchSpace.load(path)
    assert str(error.value).startswith(f"{path}:{line}: choices.3: ") and message in str(error.value)


@pytest.mark.parametrize("name", ["own", *SearchSpace.names()])
def test_a_space_written_as_yaml_is_the_same_space(name: str) -> None:
    space = SearchSpace.load(OWN if name == "own" else name)
    for data in (space.to_dict(), yaml.safe_load(space.to_yaml())):
        again = SearchSpace.load(data)
        assert again == space and again.choices == space.choices
        assert list(map(str, again.choices)) == list(map(str, space.choices))


def test_stages_have_choices_of_their_own() -> None:
    space = SearchSpace.load(OWN)
    assert [choice.block for choice in space.choices][4:] == ["cn_k3", "ds_k3_noskip", "er_k3_e2.5_nre"]
    # Identity where the shape is kept; a universal block without a depthwise convolution where nothing strides.
    assert [layer.choices for layer in space.layers] == [(4,), (0, 1), (0, 1, 2, 3), (0, 1, 2, 3), (5, 6), (3, 5, 6)]
    assert space.size == 2 * 4 * 4 * 2 * 3
    assert space.distinct == len({str(genotype.canonical()) for genotype in space}) == 2 * (1 + 3 + 9) * 2 * 3
    with pytest.raises(UserError, match=r"layer 1: uir_k0_e2 \(choice 2\) cannot stand there"):
        space.validate([4, 2, 0, 0, 5, 5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem": {"channels": 16, "stride": 1}}, "head.pool_first: timm's network with this head"),
        ({"head": {"channels": 64, "norm": False}}, "head.norm: may be false only with pool_first"),
        ({"choices": None}, "choices: missing, and stage 1 has none"),
        ({"choices": ["uir_k0_e2"]}, "layer 1 has no choice but identity that can stand there"),
        ({"se": {"gate": "relu"}}, "se.gate: 'relu' is not one of sigmoid, hard_sigmoid"),
        ({"pad": "valid"}, "pad: 'valid' is not one of"),
    ],
)
def test_a_mistake_in_what_is_new(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SearchSpace.load(OWN | change)


def test_everything_of_the_space_is_in_the_network() -> None:
    model: Any = timm.create_model("scarlet_net", genotype="4,0,1,2,6,5", space=OWN)
    text = repr(model)
    assert text.count("eps=0.001") == text.count("BatchNorm") and "Conv2dSame" in text
    gate = model.blocks[1][0].se
    assert (type(gate.gate).__name__, type(gate.act1).__name__, gate.conv_reduce.out_channels) == ("Sigmoid", "SiLU", 8)
    assert type(model.blocks[2][0].bn1.act).__name__ == "ReLU" and not model.blocks[2][1].has_skip
    assert model.conv_head.bias is not None and isinstance(model.norm_head, torch.nn.Identity)
    images = torch.randn(2, 3, 40, 40)
    assert model(images).shape == (2, 7)
    features = timm.create_model("scarlet_net", genotype="4,0,1,2,6,5", space=OWN, features_only=True)(images)
    assert [(f.shape[1], f.shape[2]) for f in features] == [(16, 20), (16, 10), (24, 5), (32, 3)]
    with pytest.raises(ValueError, match="output_stride must be 32"):
        timm.create_model("scarlet_net", genotype="4,0,1,2,6,5", space=OWN, output_stride=16)


def test_identity_at_every_layer_of_stride_one_as_uninas_reads_the_paper() -> None:
    data = SearchSpace.load("scarlet").to_dict()
    counts = {"same_shape": 13, "stride1": 15, "everywhere": 19}
    for where, count in counts.items():
        space = SearchSpace.load(data | {"identity_at": where})
        assert sum(space.identity in layer.choices for layer in space.layers) == count
    space = SearchSpace.load(data | {"identity_at": "stride1"})
    genotype = Genotype.parse([0, 12, 0, 12, 12, 12, 0, 12, 12, 12, 12, 12, 12, 12, 0, 12, 12, 12, 12], space)
    model: Any = timm.create_model("scarlet_net", genotype=genotype)
    last = model.blocks[-1][0]  # 192 -> 320: a linear 1x1 convolution in the network too
    assert (last.conv.kernel_size, last.conv.out_channels, type(last.bn1.act)) == ((1, 1), 320, torch.nn.Identity)
    assert genotype.cost().params == sum(p.numel() for p in model.parameters())
