"""Drawings show every block: kernel by colour, expansion by height, SE by outline, channels and size over it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from PIL import Image

from scarlet_models import UserError
from scarlet_models.inspection.drawing import EXPANDING, EXPANSION, KERNELS, SE, STRIP, WIDTH, draw
from scarlet_models.inspection.layout import Block, layout
from scarlet_models.inspection.plotting import DARK, LIGHT, TIMES, Theme, ink_on, label_colour, save, using
from scarlet_models.networks import create_on_meta, genotype_of

SPACES = [("scarlet_b", "scarlet"), ("0,1,2,3,0", "mini"), ("0,0,1,2,0,1,2,0", "nas_bench_macro"), ("scarlet_a4", "")]
SPACES += [("10,11,10,12,5,7,3,8,9,1,5,4,2,4,1,2,11", "mobilenetv4"), ("mobilenetv4_conv_small", "")]


@lru_cache
def _blocks(name: str, space: str) -> list[Block]:
    model: Any = create_on_meta(name, space)
    return layout(model, model.pretrained_cfg["input_size"][-1], genotype_of(name, space))


def _boxes(figure: Figure) -> list[FancyBboxPatch]:
    """The boxes of the chain, from left to right, without those of the legend."""
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    return sorted((box for box in boxes if box.get_width() == WIDTH), key=lambda box: box.get_x())


@pytest.mark.parametrize(("name", "space"), SPACES)
def test_each_block_is_drawn_as_what_it_is(name: str, space: str) -> None:
    blocks = _blocks(name, space)
    figure = draw(blocks, name)
    boxes = _boxes(figure)[1:]  # the first is the image
    drawn = [block for block in blocks if block.kind != "identity"]
    for block, box in zip(drawn, boxes, strict=True):
        assert (to_hex(box.get_edgecolor()) == SE) == block.se
        assert bool(box.get_hatch()) == (block.kind == "fused")
        if box.get_hatch() and not block.se:  # as no version before 3.11 of matplotlib has another way
            assert (to_hex(box.get_edgecolor()), box.get_linewidth()) == ("#ffffff", 0)
        if block.kind in EXPANDING:
            assert box.get_height() == pytest.approx(EXPANSION * block.expand)
            assert to_hex(box.get_facecolor()) == KERNELS.get(block.kernel, LIGHT.line)
    strips = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    strips = [strip for strip in strips if strip.get_width() == STRIP]
    starts = sum(block.start > 0 for block in blocks)
    assert len(strips) == starts + (starts > 0)  # and one in the legend
    dots = [patch for patch in figure.axes[0].patches if isinstance(patch, Circle)]
    identities = sum(block.kind == "identity" for block in blocks)
    assert len(dots) == identities + (identities > 0)  # and one in the legend


@pytest.mark.parametrize(("name", "space"), SPACES)
def test_channels_and_size_stand_over_each_block(name: str, space: str) -> None:
    blocks = _blocks(name, space)
    axes = draw(blocks, name).axes[0]
    bold = sorted((text for text in axes.texts if text.get_weight() == "bold"), key=lambda text: text.get_position()[0])
    labels = [text.get_text() for text in bold if text.get_text() != name]
    assert labels == ["3", *(str(block.channels) for block in blocks)]
    sizes = sorted((t for t in axes.texts if t.get_text().endswith("²")), key=lambda text: text.get_position()[0])
    maps = [blocks[0].in_size, *(block.size for block in blocks[:-1])]
    assert [text.get_text()[1:-1] for text in sizes] == [str(size) for size in maps if size > 1]


@pytest.mark.parametrize(("name", "space"), SPACES)
def test_nothing_is_cut_off_and_no_labels_touch(name: str, space: str) -> None:
    figure = draw(_blocks(name, space), name, "a subtitle")
    figure.canvas.draw()
    page = figure.bbox
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    for box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])


def test_a_key_explains_numbers_and_brackets() -> None:
    texts = [text.get_text() for text in draw(_blocks("scarlet_b", "scarlet"), "").axes[0].texts]
    assert {"shortcut", "squeeze-and-excitation", "identity", "expansion 6", f"7{TIMES}7 depthwise"} <= set(texts)
    assert any(text.startswith("Above a block: channels, and the side of their map") for text in texts)
    assert "shortcut" not in [text.get_text() for text in draw(_blocks("0,1,2,3,0", "mini")[:3], "").axes[0].texts]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_texts_stand_out_from_what_they_stand_on(theme: Theme) -> None:
    with using(theme):
        figure = draw(_blocks("scarlet_b", "scarlet"), "scarlet_b", "a subtitle")
    assert to_hex(figure.get_facecolor()) == theme.paper
    boxes = _boxes(figure)
    for text in figure.axes[0].texts:
        x, y = text.get_position()
        under = [box for box in boxes if box.get_x() < x < box.get_x() + WIDTH and abs(box.get_y() - y) < 2]
        inside = [box for box in under if box.get_y() < y < box.get_y() + box.get_height()]
        assert _contrast(text.get_color(), inside[0].get_facecolor() if inside else theme.card) >= 4.5, text


def test_a_class_has_a_colour_of_its_own_that_its_label_can_be_read_on() -> None:
    colours = [label_colour(label) for label in range(90)]
    assert len(set(colours)) == 90
    for colour in colours:
        assert _contrast(ink_on(colour), colour) >= 4.5


def _contrast(*colours: Any) -> float:
    """As the Web Content Accessibility Guidelines define it."""
    values = [[c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(one)] for one in colours]
    light = sorted(0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in values)
    return (light[1] + 0.05) / (light[0] + 0.05)


def test_a_long_title_has_room() -> None:
    figure = draw(_blocks("0,1,2,3,0", "mini"), "A network with a name that is much wider than its blocks are together")
    figure.canvas.draw()
    assert max(text.get_window_extent().x1 for text in figure.axes[0].texts) <= figure.bbox.x1


def test_files_are_images_and_always_the_same(tmp_path: Path) -> None:
    blocks = _blocks("0,1,2,3,0", "mini")
    for name in ("a.png", "b.png", "a.svg", "b.svg", "a.pdf"):
        save(draw(blocks, "mini"), tmp_path / name)
    assert Image.open(tmp_path / "a.png").size[0] > 1000
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    for suffix in ("png", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_other_formats_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end in \.png, \.svg, \.pdf"):
        save(draw(_blocks("0,1,2,3,0", "mini"), "mini"), tmp_path / "a.docx")
    assert not list(tmp_path.iterdir())
