"""How all figures look: the colours of a light and a dark theme, axes, and image files."""

import colorsys
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.rcsetup import cycler

from scarlet_models.errors import UserError
from scarlet_models.files import write_atomically

FORMATS = (".png", ".svg", ".pdf")
TIMES = "\N{MULTIPLICATION SIGN}"
DPI = 150

P = ParamSpec("P")


@dataclass(frozen=True)
class Theme:
    """Colours of a page, of its text and lines, of areas that stand out from it, and of data; and the name of the
    colour map: the part of viridis whose upper end contrasts most with the page."""

    paper: str
    ink: str
    muted: str
    line: str
    card: str
    colours: tuple[str, ...]
    ramp: str

    def settings(self) -> Any:
        """The theme as matplotlib's settings."""
        inked = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
        return {
            **dict.fromkeys(inked, self.ink),
            **dict.fromkeys(("figure.facecolor", "axes.facecolor"), self.paper),
            "axes.prop_cycle": cycler(color=self.colours),
            "axes.edgecolor": self.muted,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.grid": True,
            "axes.axisbelow": True,
            "figure.constrained_layout.use": True,
            "figure.figsize": (5.0, 4.0),  # so narrow that a telephone shows the text at a legible size
            "font.size": 9.5,
            "grid.color": self.line,
            "hatch.linewidth": 0.8,
            "image.cmap": self.ramp,
            "legend.fontsize": 8,
            "legend.frameon": False,
            "legend.title_fontsize": 8,
        }


_HUES = ("#1f6fb2", "#d9730d", "#2f8f46", "#c8352b", "#8250c4", "#8a6d1c", "#c2448f", "#12808a", "#6b7683")
_BRIGHT = ("#58a6ff", "#f0a04b", "#56c271", "#ff7b72", "#b794f6", "#d4b04a", "#f28ac2", "#4cc2cc", "#a3aebb")
LIGHT = Theme("#ffffff", "#1f2a35", "#5b6875", "#d8dfe6", "#f2f5f8", _HUES, "scarlet_light")
DARK = Theme("#161b22", "#e6edf3", "#9aa7b4", "#343c46", "#1f262e", _BRIGHT, "scarlet_dark")
for _theme, _part in ((LIGHT, (0.93, 0.0)), (DARK, (0.3, 1.0))):
    _colours = matplotlib.colormaps["viridis"](np.linspace(*_part, 256))
    matplotlib.colormaps.register(ListedColormap(_colours), name=_theme.ramp, force=True)

_current: ContextVar[Theme] = ContextVar("theme", default=LIGHT)
theme = _current.get


@contextmanager
def using(wanted: Theme) -> Iterator[None]:
    """Draw and save in a theme inside the block."""
    before = _current.set(wanted)
    try:
        with matplotlib.rc_context(wanted.settings()):
            yield
    finally:
        _current.reset(before)


def themed(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a function draw in the current theme, which is the light one outside of `using`."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with using(theme()):
            return draw(*args, **kwargs)

    return drawn


def new_axes(title: str = "", x: str = "", y: str = "", size: tuple[float, float] | None = None) -> tuple[Figure, Axes]:
    """A figure of `size` inches with one plot."""
    figure = Figure(size)
    return figure, figure.add_subplot(title=title, xlabel=x, ylabel=y)


def ramp(count: int) -> np.ndarray:
    """So many colours of the ramp (N, 4), the last stands out most."""
    return np.asarray(matplotlib.colormaps[theme().ramp](np.linspace(0, 1, count)))


def annotate_cells(axes: Axes, image: AxesImage, form: str, size: float) -> None:
    """Write the values of a heat map into its cells."""
    axes.grid(False)
    for (row, column), value in np.ma.ndenumerate(image.get_array()):
        colour = ink_on(image.to_rgba(value))
        axes.text(column, row, format(value, form), ha="center", va="center", size=size, color=colour)


def ink_on(colour: Any) -> str:
    """Black or white, whichever stands out from a colour: the contrast is at least 4.5."""
    linear = (np.array(to_rgb(colour)) ** 2.2) @ (0.2126, 0.7152, 0.0722)
    return "black" if linear > 0.18 else "white"


def label_colour(label: int) -> str:
    """The colour of a class by its number: neighbours are far apart."""
    return to_hex(colorsys.hsv_to_rgb(label * 0.618 % 1, 1, 0.85))


@dataclass(frozen=True)
class Image:
    """A figure as PNG files, light and dark."""

    light: bytes
    dark: bytes

    @property
    def width(self) -> int:
        """In CSS pixels, 96 to an inch; a PNG's header has its own at byte 16."""
        return int.from_bytes(self.light[16:20], "big") * 96 // DPI


def render(draw: Callable[P, Figure], *args: P.args, **kwargs: P.kwargs) -> Image:
    """What a themed function draws, light and dark; the same figure gives the same bytes."""
    files = []
    for wanted in (LIGHT, DARK):
        file = io.BytesIO()
        with using(wanted):
            draw(*args, **kwargs).savefig(file, format="png", dpi=DPI, metadata={"Software": None})
        files.append(file.getvalue())
    return Image(*files)


def save(figure: Figure, path: Path) -> None:
    """Write a figure atomically, in the format of the file's suffix. The same figure gives the same bytes."""
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise UserError(f"{path}: the name must end in {', '.join(FORMATS)}, which says what to write")
    undated = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}[kind]
    with using(theme()), matplotlib.rc_context({"svg.hashsalt": "scarlet-models"}):
        write_atomically(path, lambda file: figure.savefig(file, format=kind[1:], dpi=DPI, metadata={undated: None}))
