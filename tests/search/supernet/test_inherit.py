"""First weights for a supernet from a trained network of its space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from helpers.norms import randomise_norms
from helpers.supernets import write_images
from helpers.weights import settled_net

from scarlet_models.errors import UserError
from scarlet_models.from_timm import space_of
from scarlet_models.search.supernet.options import SupernetOptions
from scarlet_models.search.supernet.sampler import FairSampler
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.search.supernet.training import FairSteps, inherit_supernet
from scarlet_models.space.space import SearchSpace
from scarlet_models.training.distributed import World
from scarlet_models.weights import save as saving

MINI = SearchSpace.load("mini")


def test_a_supernet_inherits_the_whole_network(tmp_path: Path) -> None:
    """The donor's own path gives its logits, and a block where it has an identity adds nothing."""
    donor = settled_net("2,3,0,1,3")
    arguments = {"genotype": "2,3,0,1,3", "space": MINI.to_dict()}
    saving.save(donor, tmp_path / "donor", arguments, {"input_size": (3, 32, 32)}, list("abcdefghij"))
    net = Supernet(MINI, num_classes=10, init="identity").eval()
    inherit_supernet(net, str(tmp_path / "donor"))
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(net(images, "2,3,0,1,3"), donor(images), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net(images, "2,1,0,1,3"), donor(images), rtol=1e-4, atol=1e-5)


def test_paired_variants_start_from_the_same_blocks(tmp_path: Path) -> None:
    """What the stabilizers draw does not change what the blocks inherit."""
    saving.save(settled_net("2,3,0,1,3"), tmp_path / "donor", {"genotype": "2,3,0,1,3", "space": MINI.to_dict()})
    write_images(tmp_path / "data")
    shared = {"data_dir": str(tmp_path / "data"), "inherit": str(tmp_path / "donor"), "batch_size": 8, "workers": 0}
    alone = World(0, 1, torch.device("cpu"))
    plain, stabilized = (
        FairSteps(SupernetOptions(space="mini", stabilizer=kind, **shared), alone).model.state_dict()
        for kind in ("skip", "linear")
    )
    assert plain.keys() < stabilized.keys()
    assert all(torch.equal(tensor, stabilized[name]) for name, tensor in plain.items())


def test_a_supernet_has_a_short_repr() -> None:
    assert repr(Supernet(MINI, num_classes=3)).startswith("Supernet('mini', 3 classes, 'linear', ")


def test_a_supernet_refuses_a_network_of_another_space() -> None:
    with pytest.raises(UserError, match="no network of the space 'mini'"):
        inherit_supernet(Supernet(MINI), "scarlet_a.tiny_in")


# From timm's networks


def _saved(name: str, folder: Path) -> Any:
    """A network of timm's with weights as after training, saved as timm saves them."""
    donor: Any = timm.create_model(name, num_classes=10).eval()
    randomise_norms(donor)
    saving.save(donor, folder)
    return donor


@pytest.mark.parametrize(
    ("name", "added"),
    [
        ("mobilenetv4_conv_small", "uir_a3_k3_e2,er_k3_e2,identity"),
        ("test_efficientnet", "ir_k5_e3,ir_k3_e6_se0.25,er_k5_e2,uir_a3_k5_e4,identity"),
        ("lcnet_050", "dsa_k7,identity"),
    ],
)
def test_the_donor_s_path_gives_the_donor_s_logits(tmp_path: Path, name: str, added: str) -> None:
    """Extracted without training. Every other path runs, and an identity in a residual block's place is one."""
    donor = _saved(name, tmp_path / "donor")
    space, genotype = space_of(str(tmp_path / "donor"), added)
    net = Supernet(space, num_classes=10).eval()
    expects = inherit_supernet(net, str(tmp_path / "donor" / "model.safetensors"))
    assert tuple(expects["mean"]) == donor.pretrained_cfg["mean"]
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = donor(images)
        torch.testing.assert_close(net.extract(genotype)(images), expected, rtol=1e-5, atol=1e-5)
        for path in FairSampler(space).fair_step():
            assert net(images, path).isfinite().all()


def test_another_space_of_the_same_stages_inherits_what_fits(tmp_path: Path) -> None:
    """MobileNetV4-Conv-S in the space that ships: all of its blocks are choices there."""
    donor = _saved("mobilenetv4_conv_small", tmp_path / "donor")
    own, genotype = space_of(donor)
    net = Supernet("mobilenetv4", num_classes=10).eval()
    inherit_supernet(net, str(tmp_path / "donor"))
    blocks = [own.choices[choice] for choice in genotype]
    there = net.space.validate(net.space.choices.index(block) for block in blocks)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(net.extract(there)(images), donor(images), rtol=1e-5, atol=1e-5)


def test_other_activations_or_stages_are_named(tmp_path: Path) -> None:
    _saved("test_efficientnet", tmp_path / "donor")
    with pytest.raises(UserError, match="no network of the space 'mini': their stem differ"):
        inherit_supernet(Supernet(MINI), str(tmp_path / "donor"))
