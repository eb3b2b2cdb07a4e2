"""Transforms: those of timm, and a faster padded crop."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from helpers.images import CONFIG, random_image
from PIL import Image
from timm.data import auto_augment, create_transform
from torchvision import transforms

from scarlet_models.errors import UserError
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.loading import Transformed
from scarlet_models.training.options import CropOptions
from scarlet_models.training.transforms import eval_transform, train_transform


def test_evaluation_sees_what_timm_prepares(labelled: LabelledImages) -> None:
    ours = Transformed(labelled, eval_transform(28, CONFIG))[11][0]
    theirs = create_transform(28, is_training=False, **CONFIG)(labelled[11][0])
    assert torch.equal(ours, theirs)


def test_pad_crop_shifts_by_at_most_an_eighth(labelled: LabelledImages) -> None:
    """Without flips, pad-crop of an image of the right size is the image moved by up to size // 8 pixels."""
    options = CropOptions(crop="pad", hflip=0.0, color_jitter=0.0)
    dataset = Transformed(labelled, train_transform(32, CONFIG, options))
    whole = eval_transform(32, {**CONFIG, "crop_pct": 1.0})
    padded = torch.nn.functional.pad(whole(labelled[0][0])[None], (4, 4, 4, 4), mode="reflect")[0]
    shifted = dataset[0][0]
    places = [(x, y) for x in range(9) for y in range(9) if torch.equal(padded[:, y : y + 32, x : x + 32], shifted)]
    assert len(places) == 1


def test_pad_crop_is_torchvisions(labelled: LabelledImages) -> None:
    """Draw for draw and pixel for pixel, by the host (for policies) and by the device."""
    options = CropOptions(crop="pad", color_jitter=0.0)
    ours = train_transform(24, CONFIG, options, "rand-m9-mstd0.5").host.transforms[2]
    theirs = transforms.Compose(
        [transforms.RandomCrop(24, padding=3, padding_mode="reflect"), transforms.RandomHorizontalFlip()]
    )
    augment = train_transform(24, CONFIG, options)
    image = labelled[0][0].resize((24, 24))
    flips = 0
    for seed in range(20):
        torch.manual_seed(seed)
        expected = theirs(image)
        torch.manual_seed(seed)
        shifted = ours(image)
        rows = augment.draw([seed], [image.size])
        flips += int(rows[0, 5])
        assert (shifted.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rows[0, 5] else shifted) == expected
        found = augment.finish(torch.from_numpy(np.asarray(image).copy())[None], rows)[0]
        normalise = transforms.Compose([transforms.ToTensor(), transforms.Normalize(CONFIG["mean"], CONFIG["std"])])
        assert torch.equal(found, normalise(expected))
    assert 0 < flips < 20


def test_random_crops_are_timms(labelled: LabelledImages) -> None:
    """The same draws give the same crops: only the rounding of Pillow differs."""
    options = CropOptions(crop=(0.08, 1.0), color_jitter=0.0, hflip=0.5)
    config = {key: CONFIG[key] for key in ("mean", "std")}
    theirs = create_transform(24, is_training=True, hflip=0.5, color_jitter=None, interpolation="random", **config)
    ours, image = train_transform(24, CONFIG, options), labelled[5][0]
    for seed in range(20):
        random.seed(seed)
        torch.manual_seed(seed)
        expected = theirs(image)
        rows = ours.draw([seed], [image.size])
        found = ours.finish(torch.from_numpy(np.asarray(image).copy())[None], rows, whole=True)[0]
        assert (found - expected).abs().max() < 2.1 / 255 / min(CONFIG["std"])


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_changes_of_colour_are_torchvisions(name: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(90, 160, (24, 24, 3), dtype=np.uint8))
    augment = train_transform(24, CONFIG, CropOptions(crop="pad", hflip=0.0, color_jitter=0.4))
    row = [3.0, 3, 24, 24, 0, 0, *(1.3 if name == each else 1 for each in ("brightness", "contrast", "saturation"))]
    found = augment.finish(torch.from_numpy(np.asarray(image).copy())[None], torch.tensor([row]))[0]
    expected = getattr(transforms.functional, f"adjust_{name}")(transforms.functional.to_tensor(image), 1.3)
    assert torch.allclose(found, transforms.Normalize(CONFIG["mean"], CONFIG["std"])(expected), atol=1e-3)


def test_an_unknown_policy_is_one_line() -> None:
    with pytest.raises(UserError, match="--auto-augment 'nosuch' is unknown to timm"):
        train_transform(24, CONFIG, CropOptions(), "nosuch")


@pytest.mark.parametrize("policy", ["v0", "rand-m0-n8-mstd0.5", "augmix-m9-w8-d3"])
def test_posterize_to_no_bits_is_black_here_and_left_alone_in_timm(policy: str) -> None:
    """timm's policies ask for 0 bits, which newer versions of Pillow refuse."""
    kept = auto_augment.posterize
    steps = train_transform(24, CONFIG, CropOptions(), policy).host.transforms
    (made,) = (step for step in steps if hasattr(step, "ops") or hasattr(step, "policy"))
    operations = getattr(made, "ops", None) or itertools.chain.from_iterable(made.policy)
    posterize = {operation.aug_fn for operation in operations if "Posterize" in operation.name}
    assert len(posterize) == 1 and kept not in posterize
    assert not np.asarray(posterize.pop()(random_image(0), 0)).any()
    assert auto_augment.NAME_TO_OP["Posterize"] is kept
