"""Images: noise, and folders that are quickly learnt; and a data config."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ("blue", "green", "red")
CLASSES = ("ant", "bee", "cow")
CONFIG = {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
}


def random_image(seed: int, size: int = 32) -> Image.Image:
    """Noise."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def write_colours(root: Path, size: int = 32) -> Path:
    """Noisy images of three colours: train/ with 40 of each, test/ with 10. Returns the folder."""
    noise = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 10)):
        for channel, name in enumerate(reversed(COLOURS)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = noise.integers(0, 120, (size, size, 3))
                pixels[..., channel] += 100
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{i}.png")
    return root
