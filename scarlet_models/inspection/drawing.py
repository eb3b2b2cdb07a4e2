"""A network drawn as a row of blocks: kernel by colour, expansion by height, squeeze-and-excitation by outline.

A fused block, whose expansion is a dense convolution, is hatched. A universal block has a strip on the left or right
for the depthwise convolution in front of its expansion or behind its projection; it is grey without one in the middle.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle
from matplotlib.textpath import TextPath

from scarlet_models.errors import UserError
from scarlet_models.files import write_atomically

from .layout import Block

FORMATS = (".png", ".svg", ".pdf")

INK, MUTED, LINE, BAND, GREY = "#1f2a35", "#75828f", "#9aa5b1", "#f2f5f8", "#d3dae2"
KERNELS = {3: ("#a6d5e8", INK), 5: ("#4f9fcf", "white"), 7: ("#1b4f80", "white")}  # colour, and that of text on it
SE = "#f08a24"
HATCH = "////"
_STRIP = "depthwise before expansion"
EXPANDING = ("inverted residual", "fused", "universal")
TIMES = "\N{MULTIPLICATION SIGN}"

# Lengths in inches: the axes cover the whole figure, one unit an inch.
PITCH, WIDTH, EXPANSION, PLAIN, DOT, SAMPLE, STRIP = 0.52, 0.36, 0.235, 0.42, 0.16, 0.19, 0.07
MARGIN, LABELS, HEADING, LEGEND = 0.5, 0.42, 1.0, 0.95


def draw(blocks: Sequence[Block], title: str, subtitle: str = "") -> Figure:
    """A figure of the blocks that `layout` returns, from the image on the left to the classifier on the right.

    Above each block stand its channels and the side of its map. Below it stands the number of its searchable layer,
    else its position in the timm model, or its name. Blocks of one map size share a band, labelled with the reduction.
    """
    tallest = max(_height(block) for block in blocks)
    row_width, entries = (len(blocks) + 1) * PITCH, _legend(blocks)
    texts = _text_length(title, 15, "bold"), _text_length(subtitle, 8.5), sum(_length(label) for label, _, _ in entries)
    width = 2 * MARGIN + max(row_width, *texts)
    height = LEGEND + 0.7 + tallest + LABELS + HEADING
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    axes.text(MARGIN, height - 0.42, title, size=15, weight="bold", color=INK, va="center")
    axes.text(MARGIN, height - 0.72, subtitle, size=8.5, color=MUTED, va="center")
    middle, left = LEGEND + 0.62 + tallest / 2, (width - row_width) / 2
    _draw_bands(axes, blocks, left + PITCH, LEGEND + 0.08, middle + tallest / 2 + LABELS + 0.12)
    axes.plot([left + PITCH / 2, left + (len(blocks) + 0.5) * PITCH], [middle, middle], color=LINE, lw=1.6, zorder=1)
    row = middle - tallest / 2 - 0.2
    _box(axes, left + PITCH / 2, middle, PLAIN, "white", edgecolor=LINE, lw=1.2)
    axes.text(left + PITCH / 2, row, "input", size=7.5, color=INK, ha="center", va="center")
    _shape(axes, left + PITCH / 2, middle + PLAIN / 2, blocks[0].in_channels, blocks[0].in_size)
    for number, block in enumerate(blocks, 1):
        _draw_block(axes, block, left + (number + 0.5) * PITCH, middle, row)
    _draw_legend(axes, entries, MARGIN, 0.45)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure atomically, in the format of the file's suffix. The same figure gives the same bytes."""
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise UserError(f"{path}: the name must end in {', '.join(FORMATS)}, which says what to write")
    dated = "CreationDate" if kind == ".pdf" else "Date"
    metadata = {} if kind == ".png" else {dated: None}
    with matplotlib.rc_context({"svg.hashsalt": "scarlet-models"}):
        write_atomically(path, lambda file: figure.savefig(file, format=kind[1:], dpi=160, metadata=metadata))


def _height(block: Block) -> float:
    if block.kind == "identity":
        return DOT
    return EXPANSION * block.expand if block.kind in EXPANDING else PLAIN


def _draw_bands(axes: Axes, blocks: Sequence[Block], left: float, bottom: float, top: float) -> None:
    start = left
    for number, (size, group) in enumerate(itertools.groupby(blocks[:-1], key=lambda block: block.size)):
        width = PITCH * len(list(group))
        colour = BAND if number % 2 == 0 else "white"
        axes.add_patch(Rectangle((start, bottom), width, top - bottom, facecolor=colour, lw=0, zorder=0))
        reduction = f"1/{round(blocks[0].in_size / size)}" if size > 1 or blocks[0].in_size <= 32 else "pooled"
        axes.text(start + width / 2, bottom + 0.12, reduction, size=7, color=MUTED, ha="center", va="center")
        start += width


def _draw_block(axes: Axes, block: Block, x: float, y: float, row: float) -> None:
    height = _height(block)
    colour, ink = KERNELS.get(block.kernel, (GREY, INK)) if block.kind in EXPANDING else (GREY, INK)
    if block.kind == "identity":
        axes.add_patch(_dot(x, y))
    else:
        edge, hatch = SE if block.se else "none", HATCH if block.kind == "fused" else ""
        _box(axes, x, y, height, colour, hatch=hatch, edgecolor=edge, lw=2.4)
        for kernel, side in ((block.start, -1), (block.end, 1)):
            if kernel:
                place = x + side * (WIDTH + STRIP + 0.03) / 2
                _box(axes, place, y, height, KERNELS.get(kernel, (GREY, INK))[0], STRIP, lw=0)
        text = f"{block.kernel}{TIMES}{block.kernel}" if block.kernel else f"1{TIMES}1"
        axes.text(x, y, text, size=6.5, color=ink, ha="center", va="center", zorder=4)
    if block.shortcut:
        reach, low = PITCH / 2 - 0.035, y - height / 2 - 0.08
        axes.plot([x - reach, x - reach, x + reach, x + reach], [y, low, low, y], color=LINE, lw=0.9, zorder=2)
    _shape(axes, x, y + height / 2, block.channels, block.size)
    axes.text(x, row, _name(block), size=7.5, color=INK, ha="center", va="center")


def _box(
    axes: Axes, x: float, y: float, height: float, colour: str, width: float = WIDTH, hatch: str = "", **edge: Any
) -> None:
    style, corner = f"round,pad=0,rounding_size={min(0.05, width / 3)}", (x - width / 2, y - height / 2)
    box = FancyBboxPatch(corner, width, height, style, facecolor=colour, zorder=3, **{"edgecolor": "none"} | edge)
    if hatch:
        box.set(hatch=hatch, hatchcolor="white", hatch_linewidth=0.8)
    axes.add_patch(box)


def _dot(x: float, y: float) -> Circle:
    return Circle((x, y), DOT / 2, facecolor="white", edgecolor=MUTED, lw=1.4, zorder=3)


def _shape(axes: Axes, x: float, top: float, channels: int, size: int) -> None:
    axes.text(x, top + 0.27, str(channels), size=8, weight="bold", color=INK, ha="center", va="center")
    axes.text(x, top + 0.12, f"{TIMES}{size}²" if size > 1 else "", size=7, color=MUTED, ha="center", va="center")


def _name(block: Block) -> str:
    if block.layer is not None:
        return str(block.layer)
    place = block.module.removeprefix("blocks.")
    return {"separable": "sep", "classifier": "linear"}.get(block.kind, place if place != block.module else block.kind)


def _legend(blocks: Sequence[Block]) -> list[tuple[str, str, float]]:
    """The legend's entries: label, and colour and height of the sample."""
    searched = [block for block in blocks if block.kind in EXPANDING]
    fused = [block for block in searched if block.kind == "fused"]
    depthwise = {k for block in searched if block not in fused for k in (block.kernel, block.start, block.end)}
    kernels = {"depthwise": depthwise - {0}, "fused": {block.kernel for block in fused}}
    expansions = sorted({block.expand for block in searched})
    return [
        *(
            (f"{kernel}{TIMES}{kernel} {what}", KERNELS.get(kernel, (GREY, INK))[0], SAMPLE)
            for what, each in kernels.items()
            for kernel in sorted(each)
        ),
        *([(_STRIP, KERNELS[3][0], SAMPLE * 1.2)] if any(block.start or block.end for block in blocks) else []),
        *((f"expansion {expand:g}", GREY, SAMPLE * expand / 4) for expand in expansions),
        *([("squeeze-and-excitation", SE, SAMPLE)] if any(block.se for block in blocks) else []),
        *([("identity", "white", DOT)] if any(block.kind == "identity" for block in blocks) else []),
    ]


def _draw_legend(axes: Axes, entries: Sequence[tuple[str, str, float]], x: float, y: float) -> None:
    for label, colour, height in entries:
        if label == "identity":
            axes.add_patch(_dot(x + SAMPLE / 2, y))
        elif colour == SE:
            _box(axes, x + SAMPLE / 2, y, height, "white", SAMPLE, edgecolor=SE, lw=2)
        else:
            width, hatch = (STRIP, "") if label == _STRIP else (SAMPLE, HATCH if label.endswith("fused") else "")
            _box(axes, x + SAMPLE / 2, y, height, colour, width, hatch, lw=0)
        axes.text(x + SAMPLE + 0.09, y, label, size=8, color=INK, va="center")
        x += _length(label)


def _length(label: str) -> float:
    return SAMPLE + 0.09 + _text_length(label, 8) + 0.3


def _text_length(text: str, size: float, weight: str = "normal") -> float:
    font = FontProperties(weight=weight)
    return TextPath((0, 0), text, size=size, prop=font).get_extents().width / 72 if text else 0
