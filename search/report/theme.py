"""How the figures of a page look: matplotlib's settings for a light and a dark page, and PNG files of both."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

DPI = 150


def _settings(background: str, ink: str, muted: str, ramp: str, *colours: str) -> Any:
    inked = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.titlecolor")
    return {
        **dict.fromkeys(inked, ink),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), background),
        "axes.prop_cycle": cycler(color=colours),
        "axes.edgecolor": muted,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "figure.figsize": (5.0, 4.0),  # so narrow that a telephone shows the text at a legible size
        "font.size": 9.5,
        "grid.color": muted,
        "image.cmap": ramp,
        "legend.frameon": False,
    }


LIGHT = _settings("#ffffff", "#1f2a35", "#75828f", "viridis", "#1f6fb2", "#d9730d", "#3d9a50", "#c8352b")
DARK = _settings("#161b22", "#e6edf3", "#8b98a5", "cool", "#58a6ff", "#f0a04b", "#56c271", "#ff7b72")


@dataclass(frozen=True)
class Image:
    """A figure as PNG files: light, and dark if there is one of its own."""

    light: bytes
    dark: bytes | None = None

    @property
    def width(self) -> int:
        """In CSS pixels, 96 to an inch; a PNG's header has its own at byte 16."""
        return int.from_bytes(self.light[16:20], "big") * 96 // DPI


def render(draw: Callable[..., Figure], *arguments: Any) -> Image:
    """What a function draws, light and dark; the same figure gives the same bytes."""
    images = []
    for settings in (LIGHT, DARK):
        with matplotlib.rc_context(settings):
            images.append(png(draw(*arguments)))
    return Image(*images)


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()
