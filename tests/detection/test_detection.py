"""SCARLET networks in torchvision's detectors: they train, freeze what they should, and see images of any size."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn

from scarlet_models.detection.models import DETECTORS, ScarletFPN
from scarlet_models.errors import UserError

MINI_PICTURES: dict[str, dict[str, Any]] = {
    "retinanet": {"out_channels": 32, "min_size": 64, "max_size": 96},
    "fasterrcnn": {"out_channels": 32, "min_size": 64, "max_size": 96},
    "ssdlite": {"size": 96},
}


@pytest.mark.parametrize("kind", DETECTORS)
def test_trains_on_images_of_any_size_with_and_without_boxes_and_reloads(kind: str) -> None:
    model = DETECTORS[kind]("scarlet_c", 4, **MINI_PICTURES[kind])
    images = [torch.rand(3, 70, 90), torch.rand(3, 64, 50)]
    boxes = {"boxes": torch.tensor([[5.0, 5.0, 40.0, 40.0]]), "labels": torch.tensor([2])}
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    losses = model(images, [boxes, nothing])
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert total.isfinite()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    again = DETECTORS[kind]("scarlet_c", 4, **MINI_PICTURES[kind])
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        found, same = (net.eval()([torch.rand(3, 33, 51).fill_(0.3)])[0] for net in (model, again))
    assert torch.equal(found["boxes"], same["boxes"]) and torch.equal(found["scores"], same["scores"])
    assert set(found["labels"].tolist()) <= {1, 2, 3}


def test_a_pyramid_gives_ordered_levels_of_its_channels_and_strides() -> None:
    pyramid = ScarletFPN("scarlet_a", out_channels=24, taps=(1, 2, 3, 4), extra_levels=2)
    levels = pyramid(torch.rand(1, 3, 128, 192))
    assert isinstance(levels, OrderedDict) and list(levels) == ["0", "1", "2", "3", "p6", "p7"]
    assert pyramid.strides == [4, 8, 16, 32, 64, 128]
    for level, stride in zip(levels.values(), pyramid.strides, strict=True):
        assert level.shape == (1, 24, 128 // stride, -(-192 // stride))


def test_frozen_stages_and_norms_do_not_move() -> None:
    pyramid = ScarletFPN("scarlet_a", out_channels=8, trainable_stages=2, frozen_norm=True).train()
    before = {key: tensor.clone() for key, tensor in pyramid.body.state_dict().items()}
    pyramid(torch.rand(2, 3, 64, 64))["0"].sum().backward()
    trained = {".".join(name.split(".")[:2]) for name, p in pyramid.body.named_parameters() if p.requires_grad}
    assert trained == {"blocks.3", "blocks.4", "blocks.5", "blocks.6"}, "what lies behind the tap of stride 8"
    assert all(torch.equal(tensor, before[key]) for key, tensor in pyramid.body.state_dict().items())


def test_frozen_stages_keep_their_statistics_while_the_others_learn_theirs() -> None:
    body = ScarletFPN("scarlet_a", out_channels=8, trainable_stages=2).train().body
    norms = [m for m in body.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not [name for name, m in body.blocks[:3].named_modules() if isinstance(m, nn.BatchNorm2d)]


def test_weights_of_the_backbone_are_the_packages() -> None:
    with pytest.warns(UserWarning, match="Tiny-ImageNet"):
        one = ScarletFPN("scarlet_a", out_channels=8, weights_backbone=True)
    with pytest.warns(UserWarning, match="Tiny-ImageNet"):
        other = ScarletFPN("scarlet_a", out_channels=8, weights_backbone=True)
    assert torch.equal(one.body.conv_stem.weight, other.body.conv_stem.weight)


@pytest.mark.parametrize(
    "options",
    [{"name": "scarlet_x"}, {"taps": (3, 2)}, {"trainable_stages": 6}, {"extra_levels": 3}],
    ids=lambda options: next(iter(options)),
)
def test_mistakes_are_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        ScarletFPN(**options)
    assert "\n" not in str(caught.value)


def test_a_genotype_is_a_backbone() -> None:
    pyramid = ScarletFPN("7,6,7,12,12,0,11,6,6,1,8,2,6,8,6,12,9,11,10", out_channels=8)
    assert list(pyramid(torch.rand(1, 3, 64, 64))) == ["0", "1", "2"]
