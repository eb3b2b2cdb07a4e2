"""Images with what was found on them: boxes, labels and scores, by torchvision."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

from matplotlib import font_manager
from PIL import Image
from torchvision.transforms.v2 import functional as F
from torchvision.utils import draw_bounding_boxes

from .detector import Found

_TURN = 0.618  # of the colour circle: neighbouring labels get colours far apart


def draw(image: Image.Image, found: Found, names: Sequence[str]) -> Image.Image:
    """A copy with a box for each thing, in its label's colour, with its name and score.

    Args:
        image: RGB.
        found: In pixels of the image.
        names: Of each thing found.
    """
    if not len(found.boxes):
        return image.copy()
    unit = max(1, round(min(image.size) / 240))  # thickness and text that stay readable on large images
    drawn = draw_bounding_boxes(
        F.pil_to_tensor(image),
        found.boxes,
        [f"{name} {score:.2f}" for name, score in zip(names, found.scores.tolist(), strict=True)],
        colors=[_colour(label) for label in found.labels.tolist()],
        width=unit,
        font=font_manager.findfont("DejaVu Sans"),  # it comes with matplotlib
        font_size=10 * unit,
    )
    result: Image.Image = F.to_pil_image(drawn)
    return result


def _colour(label: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(label * _TURN % 1, 1, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)
