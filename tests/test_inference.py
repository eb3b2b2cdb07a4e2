"""Batch norms folded for inference."""

from __future__ import annotations

from typing import ClassVar

import pytest
import timm
import torch
from torch import nn

import scarlet_models  # noqa: F401  # registers the models with timm
from scarlet_models.inference import fast, fold_batch_norms


def _settled(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5).train()
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64))
    return model.eval()


def _norms(model: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())


@pytest.mark.parametrize("name", ["scarlet_a", "test_efficientnet", "test_resnet"])
def test_folding_keeps_the_logits_and_the_model(name: str) -> None:
    model, images = _settled(name), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before = model(images)
        folded = fast(model, torch.device("cpu"))
        assert _norms(folded) < _norms(model) and (name == "test_resnet" or not _norms(folded))
        torch.testing.assert_close(folded(images), before, rtol=1e-3, atol=1e-4)
        assert torch.equal(model(images), before) or torch.allclose(model(images), before, atol=1e-5)


class _Swapped(nn.Module):
    """Runs its batch norm before the convolution in front of which it does not stand."""

    pretrained_cfg: ClassVar = {"input_size": (3, 8, 8)}

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.conv(self.norm(images).relu())


def test_what_cannot_be_folded_stays_whole() -> None:
    model = _Swapped().eval()
    model.norm.running_mean += 1
    assert fast(model, torch.device("cpu")) is model
    assert isinstance(fold_batch_norms(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)).eval())[1], nn.BatchNorm2d)
