"""What a report consists of, for the page to lay out: sections of sentences, figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scarlet_models.terminal import short

from .theme import Draw, Image, render


@dataclass(frozen=True)
class Figure:
    """An image with the stem of its PNG's name and a caption. A wide one gets a row of its own."""

    name: str
    image: Image
    caption: str
    wide: bool = False

    @staticmethod
    def drawn(name: str, draw: Draw, caption: str, wide: bool = False) -> Figure:
        """The figure of a drawing, light and dark."""
        return Figure(name, render(draw), caption, wide)

    @property
    def alt(self) -> str:
        """A text for those who cannot see it."""
        return self.caption or self.name


@dataclass(frozen=True)
class Listing:
    """A table. A column whose heading starts with ">" is right-aligned, as in `terminal.table`."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    source: str
    text: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    listing: Listing | None = None
    code: str = ""


def amount(name: str, value: float | None) -> str:
    """A figure of a network as people write it; empty if it is not known."""
    if value is None:
        return ""
    if name in ("macs", "params"):
        return short(int(value))
    return f"{value:.2f} ms" if name == "latency" else f"{value:.2f}"
