"""Drawings of the networks of a page: what was trained and exported, and the ends and the knee of each front."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from scarlet_models.inspection.drawing import draw
from scarlet_models.inspection.layout import layout
from scarlet_models.models import scarlet_net
from scarlet_models.plotting import Image, render
from scarlet_models.search.pipeline.networks import pick
from scarlet_models.space.space import Genotype
from scarlet_models.terminal import short

from .context import Context, Setting
from .sections import Figure, Section


def drawings(context: Context) -> Section | None:
    """The section with the drawings, each network once; None if there is none."""
    drawn: dict[str, Figure] = {}
    for title, caption, genotype, setting in _chosen(context):
        if (key := setting.key(genotype)) not in drawn:
            image = _drawing(title, genotype, setting)
            drawn[key] = Figure(f"network_{len(drawn) + 1}", image, caption, wide=True)
    return Section("The networks", "", "", list(drawn.values())) if drawn else None


def _chosen(context: Context) -> Iterator[tuple[str, str, Genotype, Setting]]:
    """Title, caption, genotype and setting of each drawing; a network may come twice."""
    for run, (genotype, setting) in context.networks.items():
        title = "Trained network" if run.kind == "retrain" else "Exported network"
        yield title, f"From {run.path}.", genotype, setting
    for run in context.of("evolve"):
        front, found = run.front(), context.settings[run]
        if not front or not found:
            continue
        ends = {
            "Most accurate of the front": pick(front, "accuracy"),
            "Knee of the front": pick(front, "knee"),
            "Fewest MACs of the front": min(front, key=lambda record: record["macs"]),
        }
        for title, record in ends.items():
            caption = f"From {run.path}: top-1 {record['accuracy']:.2f}% by the search's scores."
            yield title, caption, Genotype.parse(record["genotype"], found.space), found


def _drawing(title: str, genotype: Genotype, setting: Setting) -> Image:
    with torch.device("meta"):
        model = scarlet_net(genotype=genotype, space=setting.space, num_classes=setting.num_classes)
    cost = setting.cost(genotype)
    facts = [f"{setting.image_size} px", f"{short(cost.macs)} MACs", f"{short(cost.params)} params", str(genotype)]
    blocks = layout(model, setting.image_size, genotype)
    return render(draw, blocks, title, "   ·   ".join(facts))
