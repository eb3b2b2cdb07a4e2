"""From images to a network's input: random for training, fixed for evaluation.

The host gives bytes; what can be done to a whole batch at once is done on the device: crops of images of one size,
flips, colours, normalising. Random numbers are a pure function of (seed, epoch, index), whoever draws them.
"""

import hashlib
import itertools
import math
import random
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data import create_transform
from timm.data.auto_augment import posterize as timm_posterize
from torch import Tensor
from torchvision import transforms

from scarlet_models.errors import as_user_error

from .options import CropOptions

_RATIO = 3 / 4, 4 / 3  # of a random crop's sides
_LUMA = 0.2989, 0.587, 0.114  # of red, green and blue
_FILTERS = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
_MOST_WHOLE = {True: 256, False: 96}  # pixels of a side, with and without a GPU: the host crops larger images


def mix_seed(*numbers: int) -> int:
    """A 63-bit seed from whole numbers, unrelated for neighbouring numbers."""
    packed = struct.pack(f"<{len(numbers)}q", *numbers)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


class Transform:
    """A fixed function of an image, or (`is_random`) one whose randomness is that of the global generators.

    `host` makes a PIL image of the network's size from one; the rest follows from timm's data config of the model.
    """

    def __init__(self, host: transforms.Compose, data_config: dict[str, Any], is_random: bool = False) -> None:
        self.host, self.is_random = host, is_random
        self.mean, self.std = (torch.tensor(data_config[key]).reshape(3, 1, 1) for key in ("mean", "std"))

    def takes_whole(self, width: int, height: int) -> bool:
        """Whether `finish` takes images of this size as they are."""
        return False

    def draw(self, seeds: Sequence[int], sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Random numbers for images of these widths and heights, one row each; empty where `pixels` draws them."""
        return torch.empty(len(seeds), 0)

    def pixels(self, image: Image.Image, row: Tensor) -> np.ndarray:
        """The host's part: uint8 of shape (size, size, 3)."""
        return np.asarray(self.host(image))

    def finish(self, pixels: Tensor, rows: Tensor, whole: bool = False) -> Tensor:
        """From `pixels` or `whole` images, uint8 (N, H, W, 3), on the device to the input (N, 3, size, size)."""
        return self.normalise(pixels.permute(0, 3, 1, 2).float())

    def normalise(self, values: Tensor) -> Tensor:
        """Values in [0, 255] to the network's; rounds as torchvision does."""
        return values.div_(255).sub_(self.mean.to(values.device)).div_(self.std.to(values.device))

    def __call__(self, image: Image.Image) -> Tensor:
        """The network's input (3, size, size) of one image."""
        row = torch.empty(0)
        return self.finish(torch.from_numpy(self.pixels(image, row).copy())[None], row[None])[0]


class Augment(Transform):
    """A random crop, a flip and changes of colour, distributed as timm's and torchvision's, of whole batches.

    Saturation, contrast and brightness change in this order, with one clamp; torchvision draws the order, with three.
    """

    def __init__(self, size: int, data_config: dict[str, Any], options: CropOptions) -> None:
        super().__init__(transforms.Compose(_square(size, data_config)), data_config)
        self.size, self.options, self.pads = size, options, options.crop == "pad"

    def takes_whole(self, width: int, height: int) -> bool:
        """Whether the device can crop images of this size."""
        if self.pads:
            return width == height == self.size
        return max(width, height) <= _MOST_WHOLE[torch.cuda.is_available()]

    def draw(self, seeds: Sequence[int], sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Rows of top, left, height, width, cubic and flip of the crop, and factors of colour."""
        crops, rest, rows = random.Random(), torch.Generator(), []
        strength = self.options.color_jitter
        for seed, (width, height) in zip(seeds, sizes, strict=True):
            crops.seed(seed)
            rest.manual_seed(seed)
            if self.options.crop == "pad":
                row = [torch.randint(0, 2 * (self.size // 8) + 1, (1,), generator=rest).numpy()[0] for _ in range(2)]
                row += [self.size, self.size, 0]
            else:
                row = [*_random_crop(crops, width, height, *self.options.crop), crops.choice((0, 1))]
            row.append(torch.rand(1, generator=rest).numpy()[0] < self.options.hflip)
            rows.append(row + [crops.uniform(max(0, 1 - strength), 1 + strength) for _ in range(3)])
        return torch.from_numpy(np.array(rows, dtype=np.float32))

    def pixels(self, image: Image.Image, row: Tensor) -> np.ndarray:
        """The crop, of images that `finish` does not take whole."""
        if self.pads:
            return super().pixels(image, row)
        top, left, height, width, cubic, flip = row[:6].int().numpy()
        part = image.crop((left, top, left + width, top + height)).resize((self.size, self.size), _FILTERS[cubic])
        return np.asarray(part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else part)

    def finish(self, pixels: Tensor, rows: Tensor, whole: bool = False) -> Tensor:
        """Crops and flips images that are whole, changes colours and normalises."""
        if self.pads:
            pixels = _shift(pixels, *rows[:, [0, 1, 5]].long().unbind(1))
        values = pixels.permute(0, 3, 1, 2).contiguous().float()
        if whole and not self.pads:
            values = _resample(values, rows, self.size)
        if self.options.color_jitter:
            values = _recolour(values, *rows[:, 6:, None, None, None].unbind(1))
        return self.normalise(values)


def _square(size: int, data_config: dict[str, Any]) -> list[Any]:
    """What makes any image a square without chance."""
    mode = transforms.InterpolationMode(data_config["interpolation"])
    return [transforms.Resize(size, mode), transforms.CenterCrop(size)]


def _random_crop(draw: random.Random, width: int, height: int, least: float, most: float) -> tuple[int, int, int, int]:
    """Top, left, height and width of a part of an image; draws like torchvision's RandomResizedCrop."""
    for _ in range(10):
        area = draw.uniform(least, most) * width * height
        shape = math.exp(draw.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        across, down = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if across <= width and down <= height:
            return draw.randint(0, height - down), draw.randint(0, width - across), max(down, 1), max(across, 1)
    across, down = min(width, round(height * _RATIO[1])), min(height, round(width / _RATIO[0]))
    return (height - down) // 2, (width - across) // 2, down, across


def _shift(pixels: Tensor, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
    """Square images (N, S, S, 3) padded by an eighth, reflected, cropped from there and flipped."""
    count, size = pixels.shape[:2]
    source = torch.from_numpy(np.pad(np.arange(size), size // 8, mode="reflect")).to(pixels.device)
    number, span = torch.arange(count, device=pixels.device), torch.arange(size, device=pixels.device)
    down, across = source[top[:, None] + span], source[left[:, None] + span]
    across = torch.where(flip[:, None] > 0, across.flip(1), across)
    return pixels[number[:, None, None], down[:, :, None], across[:, None, :]]


def _resample(values: Tensor, rows: Tensor, size: int) -> Tensor:
    """The crops of images (N, 3, H, W), resized with Pillow's filters by products with weights, and flipped."""
    top, left, height, width, cubic, flip = rows[:, :6].unbind(1)
    down = _weights(top, height, cubic.bool(), values.shape[2], size)[:, None]
    across = _weights(left, width, cubic.bool(), values.shape[3], size)[:, None]
    across = torch.where(flip[:, None, None, None] > 0, across.flip(2), across)
    return (down @ (values @ across.transpose(2, 3)).clamp_(0, 255)).clamp_(0, 255)


def _weights(start: Tensor, length: Tensor, cubic: Tensor, full: int, size: int) -> Tensor:
    """How much each of `full` pixels of a line adds to each of `size`: (N, size, full)."""
    scale = (length / size)[:, None, None]
    pixel = torch.arange(full, device=start.device) + 0.5
    centre = start[:, None, None] + (torch.arange(size, device=start.device)[:, None] + 0.5) * scale
    x = ((pixel - centre) / scale.clamp(min=1)).abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2  # Keys' cubic, a = -0.5
    curve = torch.where(x < 1, near, torch.where(x < 2, far, 0))
    weights = torch.where(cubic[:, None, None], curve, (1 - x).clamp(min=0))
    inside = (pixel > start[:, None]) & (pixel < (start + length)[:, None])
    weights = weights * inside[:, None]
    return weights / weights.sum(2, keepdim=True)


def _recolour(values: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Images with values in [0, 255] and a factor each, of shape (N, 1, 1, 1)."""
    grey = (values * torch.tensor(_LUMA, device=values.device)[:, None, None]).sum(1, keepdim=True)
    values = torch.lerp(grey.mean((2, 3), keepdim=True), torch.lerp(grey, values, saturation), contrast)
    return (values * brightness).clamp_(0, 255)


def _posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """Keeps the upper bits; 0 bits, which policies of timm ask for and newer versions of Pillow refuse, is black."""
    return ImageOps.posterize(image, bits) if bits else Image.new(image.mode, image.size)


def train_transform(size: int, data_config: dict[str, Any], options: CropOptions, auto_augment: str = "") -> Transform:
    """What training sees: `Augment`, or with timm's policy string what timm makes of it, image by image."""
    if not auto_augment:
        return Augment(size, data_config, options)
    with as_user_error(f"--auto-augment {auto_augment!r} is unknown to timm", AssertionError, ValueError, KeyError):
        crop, policy, _ = create_transform(
            size,
            is_training=True,
            scale=None if options.crop == "pad" else options.crop,
            hflip=options.hflip,
            auto_augment=auto_augment,
            interpolation="random",
            mean=data_config["mean"],
            separate=True,
        )
    crops = crop.transforms
    if options.crop == "pad":
        shift = transforms.RandomCrop(size, size // 8, padding_mode="reflect")
        crops = [*_square(size, data_config), shift, transforms.RandomHorizontalFlip(options.hflip)]
    for step in policy.transforms:
        for operation in getattr(step, "ops", None) or itertools.chain.from_iterable(getattr(step, "policy", ())):
            if operation.aug_fn is timm_posterize:  # which stays as it is for others
                operation.aug_fn = _posterize
    return Transform(transforms.Compose([*crops, *policy.transforms]), data_config, is_random=True)


def eval_transform(size: int, data_config: dict[str, Any]) -> Transform:
    """What evaluation sees: the image resized by the config's crop_pct, its centre."""
    keys = ("interpolation", "mean", "std", "crop_pct", "crop_mode")
    known = {key: data_config[key] for key in keys if key in data_config}
    *host, _, normalise = create_transform(size, is_training=False, **known).transforms
    return Transform(transforms.Compose(host), {"mean": normalise.mean.tolist(), "std": normalise.std.tolist()})
