"""Options of an ablation. Imports no torch."""

from dataclasses import dataclass
from typing import Any

from scarlet_models.options import JsonOptions, option


@dataclass(kw_only=True)
class AblationOptions(JsonOptions):
    """Which supernets to train, and how to measure them.

    Args:
        data_dir: The images, as train and rank take them.
        dataset: timm's name of a data set; empty for a folder or tar.
        known: Known accuracies, as rank takes them: a CSV with the columns genotype and accuracy, or JSON.
        recipe: Recipe or YAML file of train that all cells share.
        train: Options of train over the recipe's, for all cells: --train.space own.yaml, --train.inherit FOLDER.
        variants: Variants to train, see above.
        seeds: Seeds of initial weights, order of the images and paths.
        steps: Fair steps to train each supernet for.
        networks: Number of known networks to rank; 0 for all.
        images: Number of held-out images to rank them on; 0 for all.
        jobs: Cells at once, each with one thread.
        workers: Processes that decode images for each cell; 0 decodes in the cell's own.
        out: Folder of the cells.
        plan: Only show the cells and what is done.
    """

    data_dir: str = option("", free=True)
    dataset: str = ""
    known: str
    recipe: str = "supernet_nas_bench_macro"
    train: dict[str, Any] = option({})
    variants: list[str] = option(["skip", "torch", "identity"])
    seeds: list[int] = option([0, 1, 2])
    steps: int = option(2500, least=1)
    networks: int = option(500, least=0)
    images: int = option(0, least=0)
    jobs: int = option(1, least=1)
    workers: int = option(1, least=0, free=True)
    out: str = option("runs/ablation", free=True)
    plan: bool = option(False, once=True)
