"""How alike the outputs of a layer's choices are: cosine similarity, drawn as the heat map of SCARLET-NAS's Figure 1.

The choices of a layer get the same input: the output of the layer before it on a path drawn at random (seeded), for a
number of paths. The outputs of two choices for one image are compared as flattened maps; the mean over images and
paths is reported for each pair. Two supernets, such as one with and one without stabilizers, see the same images and
paths and are drawn side by side. Writes similarity.csv (all layers), similarity.png (one layer) and
similarity_layers.png (identity against blocks, layer by layer).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scarlet_models.errors import UserError
from scarlet_models.files import write_atomically, write_text
from scarlet_models.options import option
from scarlet_models.search.supernet.fair_step import batch_statistics
from scarlet_models.search.supernet.file import load_supernet
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.device import to_device
from scarlet_models.training.progress import Progress, log_to_stderr

from .heldout import HeldOut, HeldOutOptions, folder_of, one_process

EXAMPLE = """  scarlet-search similarity runs/macro --data-dir cifar10
  scarlet-search similarity runs/macro runs/plain_skip --data-dir cifar10 --layer 3 --out figures"""


@dataclass(kw_only=True)
class Options(HeldOutOptions):
    """Options of similarity.

    Args:
        supernets: One or two folders of runs of train (or supernet.safetensors files, or names of those that ship)
            over the same space and data.
        layer: The layer to draw; -1 for the first that may be an identity.
        paths: Random paths that lead to each layer.
        seed: Of the paths.
        batch_norm: "batch" normalises by the batch's statistics, as in training; "running" by those of training.
        images: How many of the held-out images to use; 0 for all.
        batch_size: Images in a forward pass; all outputs of a layer are in memory at once.
        out: Folder for the results; empty for the first supernet's own.
        json: Print the summary as one JSON object.
    """

    supernets: list[str] = option(positional=True)
    layer: int = -1
    paths: int = option(8, least=1)
    seed: int = option(0, least=0, most=2**63 - 1)
    batch_norm: Literal["batch", "running"] = "batch"
    images: int = option(500, least=0)
    batch_size: int = option(64, least=1)
    out: str = option("", free=True)
    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Measure and draw.

    Raises:
        UserError: a bad option, an unreadable supernet or data set, or supernets that cannot be compared.
    """
    log_to_stderr()
    if len(options.supernets) not in (1, 2):
        raise UserError(f"{len(options.supernets)} supernets given: one or two can be drawn")
    with one_process(options) as device:
        nets, tables = measure(options, device)
    space, names = nets[0].space, _names(options.supernets, nets)
    layer = _layer_to_draw(space, options.layer)
    out = Path(options.out or folder_of(options.supernets[0]))
    write_table(out / "similarity.csv", space, dict(zip(names, tables, strict=True)))
    figures = {
        "similarity.png": draw_layer(space, layer, dict(zip(names, [t[layer] for t in tables], strict=True))),
        "similarity_layers.png": draw_summary(space, dict(zip(names, tables, strict=True))),
    }
    for name, figure in figures.items():
        write_atomically(out / name, partial(figure.savefig, format="png", dpi=150))
    summary = {
        name: [summarize(space, i, t) for i, t in enumerate(table)] for name, table in zip(names, tables, strict=True)
    }
    if options.json:
        print(json.dumps(summary))
    else:
        _show(summary, out)


def measure(options: Options, device: torch.device) -> tuple[list[Supernet], list[list[np.ndarray]]]:
    """The supernets, and for each the similarities of every layer, float64 of shape (choices, choices)."""
    loaded = [load_supernet(path) for path in options.supernets]
    nets, infos = [net for net, _ in loaded], [info for _, info in loaded]
    if nets[0].space != nets[-1].space or infos[0].split_hash != infos[-1].split_hash:
        raise UserError(f"{options.supernets[0]} and {options.supernets[-1]} differ in space or held-out images")
    rng = np.random.default_rng(options.seed)
    paths = [nets[0].space.sample(rng) for _ in range(options.paths)]
    tables = []
    for net, info in loaded:
        batches = HeldOut(options, info).batches(device)
        to_device(net, device, fast_depthwise=False)
        with torch.no_grad(), batch_statistics(net) if options.batch_norm == "batch" else nullcontext():
            tables.append(layer_similarities(net, paths, [images for images, _ in batches]))
    return nets, tables


def layer_similarities(net: Supernet, paths: Sequence[Genotype], batches: Sequence[Tensor]) -> list[np.ndarray]:
    """Mean cosine similarity of each layer's choices, float64 of shape (choices, choices).

    Args:
        net: The supernet, in the mode that it is to be looked at.
        paths: What leads to each layer.
        batches: Images (N, channels, H, W).
    """
    layers = net.space.layers
    sums = [np.zeros((len(layer.choices), len(layer.choices))) for layer in layers]
    with Progress(len(batches) * len(paths), 0, "similarity") as progress:
        for images in batches:
            stem = net.stem(images)
            for path in paths:
                features = stem
                for layer in layers:
                    outputs = {choice: net.choice(layer.index, choice)(features) for choice in layer.choices}
                    sums[layer.index] += _cosines(list(outputs.values())).sum(0).cpu().numpy()
                    features = outputs[path.choices[layer.index]]
                progress.advance(f"{len(images)} images")
    return [total / (len(paths) * sum(map(len, batches))) for total in sums]


def _cosines(outputs: Sequence[Tensor]) -> Tensor:
    """Cosines between the outputs (N, C, H, W) of K choices, for each image: shape (N, K, K)."""
    vectors = functional.normalize(torch.stack([output.flatten(1) for output in outputs], dim=1), dim=2)
    return vectors @ vectors.transpose(1, 2)


def summarize(space: SearchSpace, layer: int, table: np.ndarray) -> dict[str, Any]:
    """Mean similarities in a layer, between different blocks and of the identity to them; None where there is none."""
    identity = np.array([choice == space.identity for choice in space.layers[layer].choices])
    blocks = table[~identity][:, ~identity]
    pairs = blocks[np.triu_indices(len(blocks), 1)]
    across = table[identity][:, ~identity]
    return {
        "layer": layer,
        "between_blocks": float(pairs.mean()) if pairs.size else None,
        "identity_to_blocks": float(across.mean()) if across.size else None,
    }


def write_table(path: Path, space: SearchSpace, tables: dict[str, list[np.ndarray]]) -> None:
    """All pairs of all layers, as CSV.

    Raises:
        UserError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["supernet", "layer", "choice_a", "choice_b", "a", "b", "cosine"])
    for name, layers in tables.items():
        for layer, table in zip(space.layers, layers, strict=True):
            for row, a in enumerate(layer.choices):
                for column, b in enumerate(layer.choices):
                    cosine = f"{table[row, column]:.6f}"
                    writer.writerow([name, layer.index, a, b, space.choices[a], space.choices[b], cosine])
    write_text(path, text.getvalue())


def draw_layer(space: SearchSpace, layer: int, tables: dict[str, np.ndarray]) -> Any:
    """Heat maps of one layer, a matplotlib figure, side by side on one colour scale."""
    from matplotlib.figure import Figure

    labels = [str(space.choices[choice]) for choice in space.layers[layer].choices]
    side = 1.6 + 0.36 * len(labels)
    figure = Figure(figsize=(side * len(tables) + 1, side + 0.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(tables)))
    low = min(0.0, *(float(table.min()) for table in tables.values()))
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        image = axes.imshow(table, vmin=low, vmax=1, cmap="viridis")
        axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.set_title(name, fontsize=10)
        for (row, column), value in np.ndenumerate(table):
            color = "black" if value > low + 0.6 * (1 - low) else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6, color=color)
    figure.colorbar(image, ax=list(panels), label="cosine similarity", shrink=0.8)
    figure.suptitle(f"outputs of the choices of layer {layer}", fontsize=11)
    return figure


def draw_summary(space: SearchSpace, tables: dict[str, list[np.ndarray]]) -> Any:
    """Mean similarities layer by layer, a matplotlib figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for color, (name, layers) in zip(("tab:red", "tab:blue"), tables.items(), strict=False):
        rows = [summarize(space, index, table) for index, table in enumerate(layers)]
        for key, style, label in (
            ("identity_to_blocks", "o-", "identity to blocks"),
            ("between_blocks", "x--", "blocks"),
        ):
            points = [(row["layer"], row[key]) for row in rows if row[key] is not None]
            if points:
                axes.plot(*zip(*points, strict=True), style, color=color, label=f"{name}: {label}")
    axes.set_xlabel("layer")
    axes.set_ylabel("mean cosine similarity")
    axes.set_xticks(range(len(space.layers)))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _layer_to_draw(space: SearchSpace, layer: int) -> int:
    if layer == -1:
        return next((entry.index for entry in space.layers if space.identity in entry.choices and entry.keeps_shape), 0)
    if not 0 <= layer < len(space.layers):
        raise UserError(f"--layer: {layer} is not in 0..{len(space.layers) - 1}")
    return layer


def _names(paths: Sequence[str], nets: Sequence[Supernet]) -> list[str]:
    """What tells the supernets apart: the stabilizer, or the folder where that is the same."""
    kinds = [{"skip": "plain skip", "linear": "stabilizer"}.get(net.stabilizer, net.stabilizer) for net in nets]
    folders = [folder_of(path).name for path in paths]
    return kinds if len(set(kinds)) == len(kinds) else [f"{n}. {name}" for n, name in enumerate(folders, 1)]


def _show(summary: dict[str, list[dict[str, Any]]], out: Path) -> None:
    from scarlet_models.terminal import console, table

    shown = table(
        ">layer", *(f">{name}: {what}" for name in summary for what in ("identity to blocks", "between blocks"))
    )
    for rows in zip(*summary.values(), strict=True):
        values = [row[key] for row in rows for key in ("identity_to_blocks", "between_blocks")]
        shown.add_row(str(rows[0]["layer"]), *("-" if value is None else f"{value:.3f}" for value in values))
    printer = console()
    printer.print(shown)
    printer.print(f"\nwritten to {out}/similarity.csv, similarity.png and similarity_layers.png")
