"""How the figures of a report look: a light and a dark theme, and images of both."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure

DPI = 150
WIDTH = 5.0  # inches: so narrow that a telephone shows the text at a legible size


@dataclass(frozen=True)
class Theme:
    """Colours that go with a background."""

    background: str
    ink: str
    muted: str
    main: str
    second: str
    third: str
    ramp: tuple[float, float]  # the part of viridis that stands out from the background
    heat: str  # colour map of shares

    def settings(self) -> Any:
        """matplotlib's; its stubs list every key, so that no dictionary made here has the type."""
        inked = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.titlecolor")
        return {
            **dict.fromkeys(inked, self.ink),
            **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), self.background),
            "axes.edgecolor": self.muted,
            "grid.color": self.muted,
            "grid.alpha": 0.25,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "legend.frameon": False,
            "legend.fontsize": 8.5,
            "legend.title_fontsize": 8.5,
            "font.size": 9.5,
        }

    def colours(self, count: int) -> np.ndarray:
        """As many colours in order, from early to late."""
        return np.asarray(colormaps["viridis"](np.linspace(*self.ramp, max(count, 1))))

    def scale(self) -> Colormap:
        """The same as a colour map."""
        return ListedColormap(self.colours(256).tolist())


LIGHT = Theme("#ffffff", "#1f2a35", "#75828f", "#1f6fb2", "#d9730d", "#3d9a50", (0.0, 0.9), "Blues")
DARK = Theme("#161b22", "#e6edf3", "#8b98a5", "#58a6ff", "#f0a04b", "#56c271", (0.25, 1.0), "cividis")

Draw = Callable[[Theme], Figure]


@dataclass(frozen=True)
class Image:
    """A figure as PNG files: light, and dark if there is one of its own."""

    light: bytes
    dark: bytes | None = None

    @property
    def width(self) -> int:
        """In CSS pixels, 96 to an inch; a PNG's header has its own at byte 16."""
        return int.from_bytes(self.light[16:20], "big") * 96 // DPI


def render(draw: Draw) -> Image:
    """The figure as images; the same figure gives the same bytes."""
    images = []
    for theme in (LIGHT, DARK):
        with matplotlib.rc_context(theme.settings()):
            images.append(png(draw(theme)))
    return Image(*images)


def png(figure: Figure) -> bytes:
    """The figure's file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def new_axes(width: float = WIDTH, height: float = 3.5) -> tuple[Figure, Axes]:
    """A figure of that many inches with one plot."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def colour_bar(figure: Figure, axes: Axes, shown: Any, label: str, aspect: int = 30) -> Any:
    """What the colours of a plot mean, beside it."""
    bar = figure.colorbar(shown, ax=axes, pad=0.02, aspect=aspect)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return bar
