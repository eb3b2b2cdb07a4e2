"""First weights from another network of the space."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from helpers.weights import settled_net

from scarlet_models.errors import UserError
from scarlet_models.models import GENOTYPES
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.weights import save as saving
from scarlet_models.weights.inherit import donor_of, inherit, inherit_from

MINI = SearchSpace.load("mini")


def _inherit(genotype: str, donor_genotype: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of a network that inherited, and of its donor."""
    model, donor = settled_net(genotype), settled_net(donor_genotype)
    inherit(model, Genotype.parse(genotype, MINI), donor_of(MINI, donor, Genotype.parse(donor_genotype, MINI)))
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        return model(images), donor(images)


def test_equal_networks_end_equal() -> None:
    heir, donor = _inherit("2,3,0,1,3", "2,3,0,1,3")
    assert torch.equal(heir, donor)


def test_a_larger_kernel_changes_nothing() -> None:
    heir, donor = _inherit("1,1,1,1,1", "0,0,0,0,0")
    torch.testing.assert_close(heir, donor, rtol=1e-4, atol=1e-5)


def test_a_block_in_place_of_an_identity_adds_only_a_constant() -> None:
    """Its last scale is zero, so what it adds is the batch norm's bias, which starts at zero in a fresh network."""
    model = timm.create_model("scarlet_net", genotype="0,0,0,0,0", space=MINI, num_classes=10).eval()
    donor = settled_net("0,3,0,0,0")
    inherit(model, Genotype.parse("0,0,0,0,0", MINI), donor_of(MINI, donor, Genotype.parse("0,3,0,0,0", MINI)))
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images), donor(images), rtol=1e-5, atol=1e-5)


def test_repeated_channels_share_out_what_they_pass_on() -> None:
    """Expansion 3 to 6 with an open gate: only the noise and the gate's 0.83 part the two."""
    model, donor = settled_net("2,0,0,0,0"), settled_net("0,0,0,0,0")
    inherit(model, Genotype.parse("2,0,0,0,0", MINI), donor_of(MINI, donor, Genotype.parse("0,0,0,0,0", MINI)))
    block, source = model.blocks[1][0], donor.blocks[1][0]
    passed_on = block.conv_pwl.weight.sum((1, 2, 3))
    torch.testing.assert_close(passed_on, source.conv_pwl.weight.sum((1, 2, 3)), rtol=1e-4, atol=1e-5)


def test_a_narrower_block_keeps_channels_of_the_wider() -> None:
    model, donor = settled_net("0,0,0,0,0"), settled_net("2,0,0,0,0")
    inherit(model, Genotype.parse("0,0,0,0,0", MINI), donor_of(MINI, donor, Genotype.parse("2,0,0,0,0", MINI)))
    kept = model.blocks[1][0].conv_pw.weight.flatten(1)
    wider = donor.blocks[1][0].conv_pw.weight.flatten(1)
    assert (kept[:, None] == wider[None]).all(-1).any(1).all()


def test_the_released_networks_inherit_from_each_other() -> None:
    donor = timm.create_model("scarlet_a", num_classes=10)
    for name in ("scarlet_b", "scarlet_c"):
        model = timm.create_model(name, num_classes=10)
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        genotype = Genotype.parse(GENOTYPES["scarlet_a"])
        inherit(model, Genotype.parse(GENOTYPES[name]), donor_of(genotype.space, donor, genotype))
        after = model.state_dict()
        changed = [key for key in after if key.endswith("conv_dw.weight") and not torch.equal(after[key], before[key])]
        assert len(changed) > 10
        assert all(torch.isfinite(tensor).all() for tensor in after.values())


def test_from_an_exported_folder_with_other_classes(tmp_path: Path) -> None:
    donor = timm.create_model("scarlet_net", genotype="0,0,0,0,0", space=MINI, num_classes=3)
    arguments = {"genotype": "0,0,0,0,0", "space": MINI.to_dict()}
    saving.save(donor, tmp_path / "net", arguments, {"input_size": (3, 32, 32)}, list("abc"))
    model = settled_net("1,3,1,1,1")
    head = model.get_classifier().weight.clone()  # type: ignore[operator]  # every timm model has it
    inherit_from(model, "1,3,1,1,1", "mini", str(tmp_path / "net"))
    assert torch.equal(model.conv_stem.weight, donor.conv_stem.weight)
    assert torch.equal(model.get_classifier().weight, head)  # type: ignore[operator]  # to mypy a network is a Module, which has no such method


def test_networks_of_two_spaces_are_refused() -> None:
    with pytest.raises(UserError, match="no network of the space 'mini'"):
        inherit_from(settled_net("1,3,1,1,1"), "1,3,1,1,1", "mini", "scarlet_a.tiny_in")
    with pytest.raises(UserError, match="no network"):
        inherit_from(settled_net("1,3,1,1,1"), "1,3,1,1,1", "mini", "scarlet_z")
