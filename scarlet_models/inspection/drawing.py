"""A network drawn as a row of blocks: kernel by colour, expansion by height, squeeze-and-excitation by outline.

A fused block, whose expansion is a dense convolution, is hatched. A universal block has a strip on the left or right
for the depthwise convolution in front of its expansion or behind its projection; it is grey without one in the middle.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle
from matplotlib.textpath import TextPath

from .layout import Block
from .plotting import TIMES, ink_on, theme, themed

KERNELS = {3: "#a6d5e8", 5: "#4f9fcf", 7: "#24619c"}
SE = "#f08a24"
EXPANDING = ("inverted residual", "fused", "universal")

# Lengths in inches: the axes cover the whole figure, one unit an inch.
PITCH, WIDTH, EXPANSION, PLAIN, DOT, SAMPLE, STRIP = 0.52, 0.36, 0.235, 0.42, 0.16, 0.19, 0.07
MARGIN, LABELS, HEADING, LEGEND = 0.5, 0.42, 1.0, 1.3

NOTES = (
    f"Above a block: channels, and the side of their map ({TIMES}28² is 28 {TIMES} 28 pixels). In it: the kernel.",
    "Below it: the searchable layer's number, else the block's name. At the bottom: the map's side, as a share "
    "of the image's.",
)


@themed
def draw(blocks: Sequence[Block], title: str, subtitle: str = "") -> Figure:
    """A figure of the blocks that `layout` returns, from the image on the left to the classifier on the right.

    Above each block stand its channels and the side of its map. Below it stands the number of its searchable layer,
    else its position in the timm model, or its name. Blocks of one map size share a band, labelled with the reduction.
    """
    tallest = max(_height(block) for block in blocks)
    row_width, key = (len(blocks) + 1) * PITCH, _key(blocks)
    notes = max(_text_length(note, 7.5) for note in NOTES)
    texts = _text_length(title, 15, "bold"), _text_length(subtitle, 8.5), notes, sum(map(_length, key))
    width, height = 2 * MARGIN + max(row_width, *texts), LEGEND + 0.7 + tallest + LABELS + HEADING
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    axes.text(MARGIN, height - 0.42, title, size=15, weight="bold", va="center")
    axes.text(MARGIN, height - 0.72, subtitle, size=8.5, color=theme().muted, va="center")
    middle, left = LEGEND + 0.62 + tallest / 2, (width - row_width) / 2
    _draw_bands(axes, blocks, left + PITCH, LEGEND + 0.08, middle + tallest / 2 + LABELS + 0.12)
    axes.plot([left + PITCH / 2, left + (len(blocks) + 0.5) * PITCH], [middle] * 2, color=theme().muted, zorder=1)
    row = middle - tallest / 2 - 0.2
    _box(axes, left + PITCH / 2, middle, PLAIN, theme().paper, edgecolor=theme().muted, lw=1.2)
    axes.text(left + PITCH / 2, row, "input", size=7.5, ha="center", va="center")
    _shape(axes, left + PITCH / 2, middle + PLAIN / 2, blocks[0].in_channels, blocks[0].in_size)
    for number, block in enumerate(blocks, 1):
        _draw_block(axes, block, left + (number + 0.5) * PITCH, middle, row)
    x = MARGIN
    for label, sample in key.items():
        sample(axes, x + SAMPLE / 2, 0.92)
        axes.text(x + SAMPLE + 0.09, 0.92, label, size=8, va="center")
        x += _length(label)
    for note, y in zip(NOTES, (0.5, 0.28), strict=True):
        axes.text(MARGIN, y, note, size=7.5, color=theme().muted, va="center")
    return figure


def _height(block: Block) -> float:
    if block.kind == "identity":
        return DOT
    return EXPANSION * block.expand if block.kind in EXPANDING else PLAIN


def _draw_bands(axes: Axes, blocks: Sequence[Block], left: float, bottom: float, top: float) -> None:
    for number, (size, group) in enumerate(itertools.groupby(blocks[:-1], key=lambda block: block.size)):
        width = PITCH * len(list(group))
        colour = theme().paper if number % 2 else theme().card
        axes.add_patch(Rectangle((left, bottom), width, top - bottom, facecolor=colour, lw=0, zorder=0))
        reduction = f"1/{round(blocks[0].in_size / size)}" if size > 1 or blocks[0].in_size <= 32 else "pooled"
        axes.text(left + width / 2, bottom + 0.12, reduction, size=7, color=theme().muted, ha="center", va="center")
        left += width


def _draw_block(axes: Axes, block: Block, x: float, y: float, row: float) -> None:
    height = _height(block)
    colour = KERNELS.get(block.kernel, theme().line) if block.kind in EXPANDING else theme().line
    if block.kind == "identity":
        _dot(axes, x, y)
    else:
        edge = {"edgecolor": SE, "lw": 2.4} if block.se else {"lw": 0}
        _box(axes, x, y, height, colour, hatched=block.kind == "fused", **edge)
        for kernel, side in ((block.start, -1), (block.end, 1)):
            if kernel:
                place = x + side * (WIDTH + STRIP + 0.03) / 2
                _box(axes, place, y, height, KERNELS.get(kernel, theme().line), STRIP, lw=0)
        text = f"{block.kernel}{TIMES}{block.kernel}" if block.kernel else f"1{TIMES}1"
        axes.text(x, y, text, size=6.5, color=ink_on(colour), ha="center", va="center", zorder=4)
    if block.shortcut:
        _bracket(axes, x, y, PITCH / 2 - 0.035, height / 2 + 0.08)
    _shape(axes, x, y + height / 2, block.channels, block.size)
    axes.text(x, row, _name(block), size=7.5, ha="center", va="center")


def _box(
    axes: Axes, x: float, y: float, height: float, colour: str, width: float = WIDTH, hatched: bool = False, **edge: Any
) -> None:
    style, corner = f"round,pad=0,rounding_size={min(0.05, width / 3)}", (x - width / 2, y - height / 2)
    own = {"edgecolor": "white", "hatch": "////"} if hatched else {"edgecolor": "none"}  # a hatch has the edge's colour
    axes.add_patch(FancyBboxPatch(corner, width, height, style, facecolor=colour, zorder=3, **own | edge))


def _dot(axes: Axes, x: float, y: float) -> None:
    axes.add_patch(Circle((x, y), DOT / 2, lw=1.4, zorder=3, facecolor=theme().paper, edgecolor=theme().muted))


def _bracket(axes: Axes, x: float, y: float, reach: float, depth: float) -> None:
    places = [x - reach, x - reach, x + reach, x + reach]
    axes.plot(places, [y, y - depth, y - depth, y], color=theme().muted, lw=0.9, zorder=2)


def _shape(axes: Axes, x: float, top: float, channels: int, size: int) -> None:
    side = f"{TIMES}{size}²" if size > 1 else ""
    axes.text(x, top + 0.27, str(channels), size=8, weight="bold", ha="center", va="center")
    axes.text(x, top + 0.12, side, size=7, color=theme().muted, ha="center", va="center")


def _name(block: Block) -> str:
    if block.layer is not None:
        return str(block.layer)
    place = block.module.removeprefix("blocks.")
    return {"separable": "sep", "classifier": "linear"}.get(block.kind, place if place != block.module else block.kind)


def _key(blocks: Sequence[Block]) -> dict[str, Callable[[Axes, float, float], None]]:
    """What draws a sample at (x, y), by its label."""
    searched, grey = [block for block in blocks if block.kind in EXPANDING], theme().line
    key: dict[str, Callable[[Axes, float, float], None]] = {}
    for fused, name in ((False, "depthwise"), (True, "fused")):
        group = [block for block in searched if (block.kind == "fused") == fused]
        for kernel in sorted({k for block in group for k in (block.kernel, block.start, block.end)} - {0}):
            colour = KERNELS.get(kernel, grey)
            label = f"{kernel}{TIMES}{kernel} {name}"
            key[label] = partial(_box, height=SAMPLE, colour=colour, width=SAMPLE, hatched=fused, lw=0)
    if any(block.start or block.end for block in blocks):
        key["depthwise before expansion"] = partial(_box, height=SAMPLE * 1.2, colour=KERNELS[3], width=STRIP, lw=0)
    for expand in sorted({block.expand for block in searched}):
        key[f"expansion {expand:g}"] = partial(_box, height=SAMPLE * expand / 4, colour=grey, width=SAMPLE, lw=0)
    if any(block.se for block in blocks):
        outlined = partial(_box, height=SAMPLE, colour=theme().paper, width=SAMPLE, edgecolor=SE, lw=2)
        key["squeeze-and-excitation"] = outlined
    if any(block.kind == "identity" for block in blocks):
        key["identity"] = _dot
    if any(block.shortcut for block in blocks):
        key["shortcut"] = partial(_bracket, reach=SAMPLE / 2, depth=SAMPLE / 2)
    return key


def _length(label: str) -> float:
    return SAMPLE + 0.09 + _text_length(label, 8) + 0.3


def _text_length(text: str, size: float, weight: str = "normal") -> float:
    font = FontProperties(weight=weight)
    return TextPath((0, 0), text, size=size, prop=font).get_extents().width / 72 if text else 0
