"""timm's networks as spaces and genotypes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from helpers.norms import randomise_norms

from scarlet_models import UserError, space_of
from scarlet_models.from_timm import load_space, parts_of
from scarlet_models.search.commands.space import Options, main
from scarlet_models.space.space import SearchSpace

NETWORKS = {
    "mobilenetv2_100": 3_504_872,
    "mnasnet_100": 4_383_312,
    "fbnetc_100": 5_572_200,
    "spnasnet_100": 4_421_616,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_lite0": 4_652_008,
    "tf_efficientnetv2_b0": 7_139_704,
    "mobilenetv3_large_100": 5_483_032,
    "mobilenetv4_conv_small": 3_774_024,
    "mobilenetv4_conv_medium": 9_715_512,
    "lcnet_050": 1_880_856,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_genotype_s_network_is_timm_s(name: str) -> None:
    """The same parameters, and with timm's weights the same logits."""
    space, genotype = space_of(name)
    theirs: Any = timm.create_model(name).eval()
    ours: Any = timm.create_model("scarlet_net", genotype=str(genotype), space=space.to_dict()).eval()
    assert genotype.cost().params == sum(p.numel() for p in ours.parameters()) == NETWORKS[name]
    randomise_norms(theirs)
    for source, target in zip(parts_of(theirs), parts_of(ours), strict=True):
        target.load_state_dict(source.state_dict())
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)


def test_choices_are_added_where_there_is_a_choice() -> None:
    space, genotype = space_of("efficientnet_b0", "ir_k7_e6, identity")
    assert [choice.block for choice in space.choices] == [
        "ir_k3_e6_se0.25",
        "ir_k5_e6_se0.25",
        "ir_k7_e6",
        "identity",
        "ds_k3_se0.25",
    ]
    assert space.layers[0].choices == (4,) and space.layers[2].choices == (0, 1, 2, 3)
    assert genotype.choices[:4] == (4, 0, 0, 1)


def test_networks_of_our_own_keep_their_space() -> None:
    space, genotype = space_of("scarlet_c.tiny_in")
    assert space == SearchSpace.load("scarlet") and str(genotype).startswith("7,6,7,12")
    assert load_space("mini") == (SearchSpace.load("mini"), None)
    assert load_space("lcnet_050")[0].name == "lcnet_050"
    with pytest.raises(UserError, match="write further choices into a YAML file of its space 'scarlet'"):
        space_of("scarlet_c", ["ir_k3_e3"])


def test_a_folder_hides_no_space_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as that of a run: --space mini --out mini."""
    monkeypatch.chdir(tmp_path)
    Path("mini").mkdir()
    assert load_space("mini") == (SearchSpace.load("mini"), None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "it is a ResNet, not timm's EfficientNet or MobileNetV3"),
        ("mobilenetv4_hybrid_medium", "MobileAttention is no block that a layer can be: InvertedResidual,"),
        ("mixnet_s", "cannot be written as a search space"),
        ("mobilenet_edgetpu_v2_s", "no space says Conv2d.*kernel_size=.5, 5."),
        ("mobilenetv1_100", "cannot be written as a search space"),
        ("no_such", "no network 'no_such'"),
    ],
)
def test_other_networks_are_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        space_of(name)
    assert "\n" not in str(error.value)


def test_the_space_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.yaml"
    main(Options(space="lcnet_050", add_choices="identity", out=str(file), draws=10))
    assert SearchSpace.load(file) == space_of("lcnet_050", "identity")[0]
    assert "lcnet_050  " in capsys.readouterr().out
