"""Transforms: those of timm, and a faster padded crop."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers.images import CONFIG, random_image
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
    ours = train_transform(24, CONFIG, CropOptions(crop="pad", color_jitter=0.0)).transforms[2]
    theirs = transforms.RandomCrop(24, padding=3, padding_mode="reflect")
    image = labelled[0][0].resize((24, 24))
    for seed in range(20):
        torch.manual_seed(seed)
        expected = theirs(image)
        torch.manual_seed(seed)
        assert ours(image).tobytes() == expected.tobytes()


def test_an_unknown_policy_is_one_line() -> None:
    with pytest.raises(UserError, match="--auto-augment 'nosuch' is unknown to timm"):
        train_transform(24, CONFIG, CropOptions(), "nosuch")


@pytest.mark.parametrize("policy", ["v0", "rand-m0-n8-mstd0.5", "augmix-m9-w8-d3"])
def test_posterize_to_no_bits_is_black_here_and_left_alone_in_timm(policy: str) -> None:
    """timm's policies ask for 0 bits, which newer versions of Pillow refuse."""
    kept = auto_augment.posterize
    steps = train_transform(24, CONFIG, CropOptions(), policy).transforms
    (made,) = (step for step in steps if hasattr(step, "ops") or hasattr(step, "policy"))
    operations = getattr(made, "ops", None) or itertools.chain.from_iterable(made.policy)
    posterize = {operation.aug_fn for operation in operations if "Posterize" in operation.name}
    assert len(posterize) == 1 and kept not in posterize
    assert not np.asarray(posterize.pop()(random_image(0), 0)).any()
    assert auto_augment.NAME_TO_OP["Posterize"] is kept
