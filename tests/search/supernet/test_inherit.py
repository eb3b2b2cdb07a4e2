"""First weights for a supernet from a trained network of its space."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.weights import settled_net

from scarlet_models.errors import UserError
from scarlet_models.search.supernet.inherit import inherit_supernet
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import SearchSpace
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


def test_a_supernet_refuses_a_network_of_another_space() -> None:
    with pytest.raises(UserError, match="no network of the space 'mini'"):
        inherit_supernet(Supernet(MINI), "scarlet_a.c10")
