"""From a PIL image to a network's input: random for training, fixed for evaluation."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data import create_transform
from timm.data.auto_augment import posterize as timm_posterize
from torchvision import transforms

from scarlet_models.errors import UserError, first_line

from .options import CropOptions


def _posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """Keeps the upper bits; 0 bits, which policies of timm ask for and newer versions of Pillow refuse, is black."""
    return ImageOps.posterize(image, bits) if bits else Image.new(image.mode, image.size)


def _repair_posterize(stage: Any) -> None:
    """Gives the operations of timm's policies this module's posterize; timm's own stays as it is for others."""
    policies = getattr(stage, "ops", None) or itertools.chain.from_iterable(getattr(stage, "policy", ()))
    for operation in policies:
        if operation.aug_fn is timm_posterize:
            operation.aug_fn = _posterize


class _RandomShift:
    """torchvision's RandomCrop with reflected padding, draw for draw and pixel for pixel, in a fraction of its time."""

    def __init__(self, size: int, padding: int) -> None:
        self.size, self.range = size, 2 * padding + 1
        self.source = np.pad(np.arange(size), padding, mode="reflect")

    def __call__(self, image: Image.Image) -> Image.Image:
        top, left = (int(torch.randint(0, self.range, (1,))) for _ in range(2))
        rows, columns = self.source[top : top + self.size], self.source[left : left + self.size]
        pixels = np.asarray(image).take(rows, 0).take(columns, 1)
        return Image.frombytes(image.mode, (self.size, self.size), pixels.tobytes())


def train_transform(
    size: int, data_config: dict[str, Any], options: CropOptions, auto_augment: str = ""
) -> transforms.Compose:
    """PIL image to a normalised, augmented float tensor (3, size, size).

    Args:
        size: Side in pixels.
        data_config: timm's data config of the model: mean, std, interpolation.
        options: What to vary.
        auto_augment: timm's policy string; empty for none.

    Raises:
        UserError: timm knows no such policy.
    """
    try:
        stages = create_transform(
            size,
            is_training=True,
            scale=None if options.crop == "pad" else options.crop,
            hflip=options.hflip,
            color_jitter=options.color_jitter or None,  # type: ignore[arg-type]  # timm: None switches it off
            auto_augment=auto_augment or None,
            interpolation="random",
            mean=data_config["mean"],
            std=data_config["std"],
            separate=True,
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise UserError(f"--auto-augment {auto_augment!r} is unknown to timm: {first_line(error)}") from error
    if options.crop == "pad":
        mode = transforms.InterpolationMode(data_config["interpolation"])
        pad = [transforms.Resize(size, mode), transforms.CenterCrop(size), _RandomShift(size, size // 8)]
        stages = (transforms.Compose([*pad, transforms.RandomHorizontalFlip(options.hflip)]), *stages[1:])
    steps = [step for stage in stages for step in stage.transforms]
    for step in steps:
        _repair_posterize(step)
    return transforms.Compose(steps)


def eval_transform(size: int, data_config: dict[str, Any]) -> transforms.Compose:
    """PIL image to a normalised float tensor (3, size, size): resize by the config's crop_pct, centre crop."""
    keys = ("interpolation", "mean", "std", "crop_pct", "crop_mode")
    return create_transform(size, is_training=False, **{key: data_config[key] for key in keys if key in data_config})
