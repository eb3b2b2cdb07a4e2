"""Cosine similarity of the outputs of a layer's choices: what `scarlet-search similarity` explains and draws."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scarlet_models.errors import UserError
from scarlet_models.files import write_csv
from scarlet_models.inspection.plotting import save
from scarlet_models.search.supernet.fair_step import batch_statistics
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.device import to_device
from scarlet_models.training.progress import Progress

from .figures import draw_similarity, draw_similarity_by_layer
from .heldout import HeldOut, one_process, open_supernet
from .options import SimilarityOptions

VARIANTS = {"skip": "plain skip", "linear": "stabilizer"}

Tables = list[np.ndarray]  # for each layer, (choices, choices)


def compare_choices(options: SimilarityOptions) -> tuple[SearchSpace, dict[str, Tables]]:
    """The space, and the similarities by supernet: by its stabilizer, or its folder if both have the same one."""
    if len(options.supernets) not in (1, 2):
        raise UserError(f"{len(options.supernets)} supernets given: one or two can be drawn")
    supernets = [open_supernet(source) for source in options.supernets]
    first, last = supernets[0], supernets[-1]
    space = first.net.space
    if space != last.net.space or first.info.split_hash != last.info.split_hash:
        raise UserError(f"{first.name} and {last.name} differ in space or held-out images")
    rng = np.random.default_rng(options.seed)
    paths = [space.sample(rng) for _ in range(options.paths)]
    kinds = [VARIANTS.get(supernet.net.stabilizer, supernet.net.stabilizer) for supernet in supernets]
    folders = [f"{number}. {supernet.folder.name}" for number, supernet in enumerate(supernets, 1)]
    names = kinds if len(set(kinds)) == len(kinds) else folders
    tables = {}
    with one_process(options) as device, torch.no_grad():
        for name, supernet in zip(names, supernets, strict=True):
            net = to_device(supernet.net, device, fast_depthwise=False)
            batches = [images for images, _ in HeldOut(options, supernet.info).batches(device)]
            with batch_statistics(net) if options.batch_norm == "batch" else nullcontext():
                tables[name] = layer_similarities(net, paths, batches)
    return space, tables


def layer_similarities(net: Supernet, paths: Sequence[Genotype], batches: Sequence[Tensor]) -> Tables:
    """Mean cosine similarity of each layer's choices, float64 of shape (choices, choices)."""
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
    """Mean similarity in a layer between different blocks, and of the identity to blocks; None where there is none."""
    identity = np.array(space.layers[layer].choices) == space.identity
    blocks, across = table[~identity][:, ~identity], table[identity][:, ~identity]
    values = {"between_blocks": blocks[np.triu_indices(len(blocks), 1)], "identity_to_blocks": across}
    return {"layer": layer} | {name: float(found.mean()) if found.size else None for name, found in values.items()}


def write_similarities(
    folder: Path, space: SearchSpace, tables: Mapping[str, Tables], layer: int
) -> dict[str, list[dict[str, Any]]]:
    """Write a table of all layers, a figure of one (-1: the first that may be an identity) and one of the means of all.

    Returns the summary of each layer, by supernet.
    """
    if layer == -1:
        layer = next((one.index for one in space.layers if space.identity in one.choices and one.keeps_shape), 0)
    if not 0 <= layer < len(space.layers):
        raise UserError(f"--layer: {layer} is not in 0..{len(space.layers) - 1}")
    rows: list[Sequence[object]] = [("supernet", "layer", "choice_a", "choice_b", "a", "b", "cosine")]
    for name, layers in tables.items():
        for one, table in zip(space.layers, layers, strict=True):
            for (a, b), cosine in zip(product(one.choices, repeat=2), table.flat, strict=True):
                rows.append((name, one.index, a, b, space.choices[a], space.choices[b], f"{cosine:.6f}"))
    write_csv(folder / "similarity.csv", rows)
    labels = [str(space.choices[choice]) for choice in space.layers[layer].choices]
    one_layer = {name: layers[layer] for name, layers in tables.items()}
    title = f"outputs of the choices of layer {layer}"
    save(draw_similarity(labels, one_layer, title), folder / "similarity.png")
    summary = {name: [summarize(space, i, table) for i, table in enumerate(layers)] for name, layers in tables.items()}
    save(draw_similarity_by_layer(summary), folder / "similarity_layers.png")
    return summary
