"""Scoring a classifier: top-1 and top-5 on the held-out images or on the test split."""

import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from timm.data import resolve_model_data_config
from torch import nn

from scarlet_models import networks
from scarlet_models.documents import read_csv
from scarlet_models.errors import UserError, as_user_error
from scarlet_models.files import cannot_write, sha256_of, write_csv
from scarlet_models.weights import save as saving
from scarlet_models.weights.source import LOCAL, locate

from .data import LabelledImages
from .device import to_device
from .distributed import World, start
from .environment import describe_environment
from .loading import Transformed, load_batches, shard
from .options import DataOptions, EvaluateOptions, from_keywords
from .split import Split, read_record, refuse_trained, split_holdout
from .transforms import eval_transform

BATCH = 250
# The columns of timm's results-*.csv.
COLUMNS = ("model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct", "interpolation")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluateResult:
    """What a network scores: top-1 and top-5 in percent."""

    network: str  # as it was named
    top1: float
    top5: float
    images: int
    split: str  # "holdout of ..." for held-out images
    param_count: int
    img_size: int  # side in px
    crop_pct: float  # share of the resized image that the network saw
    interpolation: str
    weights_sha256: str  # empty if it is not known
    data: str  # fingerprint of the split: a sha256 of the names, labels and contents of its images

    def __repr__(self) -> str:
        scores = f"top1={self.top1:.2f}, top5={self.top5:.2f}"
        return f"EvaluateResult({self.network!r}, {scores}, images={self.images}, split={self.split!r})"

    def __str__(self) -> str:
        scores = f"top-1 {self.top1:.2f}%, top-5 {self.top5:.2f}%"
        return f"{self.network}: {scores} of {self.images:,} images ({self.split})"


def evaluate(network: str | Path, data_dir: str | Path = "", **options: Any) -> EvaluateResult:
    """Scores a network on the held-out images of a folder, or on its test split with `final=True`.

    `evaluate("runs/mine/exported/mine", "my_images", final=True)` is the command
    `scarlet-models evaluate runs/mine/exported/mine --data-dir my_images --final`.

    Args:
        network: An exported folder, or the name of a network that has weights.
        data_dir: Folder of class folders, or with one such folder for each split.
        options: Other options of the command; `EvaluateOptions` describes them.

    Raises:
        UserError: There is no such network, the data has other classes, or nothing is held out.
    """
    asked = from_keywords(EvaluateOptions, network=network, data_dir=data_dir, **options)
    with start(asked.device, asked.threads) as world:
        return evaluate_by_options(asked, world)


def evaluate_by_options(options: EvaluateOptions, world: World) -> EvaluateResult:
    """`evaluate` with its options in one object."""
    file = Path(options.results_file) if options.results_file and world.is_main else None
    if file:
        append_result(file, None)
    result = evaluate_classifier(options.network, options, options.final, world, options.batch_size)
    if file:
        append_result(file, result)
    return result


def evaluate_classifier(
    network: str, data: DataOptions, final: bool, world: World, batch_size: int = BATCH
) -> EvaluateResult:
    """Score a network at its own image size and transform, on the held-out images or (`final`) on the test split."""
    network = locate(network).removeprefix(f"{LOCAL}:")
    model = load_network(network)
    config = resolve_model_data_config(model)
    if (channels := config["input_size"][0]) != 3:
        raise UserError(f"{network} takes images of {channels} channels, and those of the data have 3")
    split = data.test_split if final else data.train_split
    images = LabelledImages(data, split)
    check_classes(network, model, images, data.dataset)
    held_out = None if final else split_holdout(images.ids, images.labels, data.holdout, data.split_seed)
    indices = _held_out_of(network, held_out) if held_out else range(len(images))
    refuse_trained(network, images, indices)
    size = config["input_size"][-1]
    dataset = Transformed(images, eval_transform(size, config))
    return EvaluateResult(
        network=network,
        **accuracy(to_device(model, world.device), dataset, indices, world, data.workers, batch_size),
        split=split if final else f"holdout of {split}",
        param_count=sum(parameter.numel() for parameter in model.parameters()),
        img_size=size,
        crop_pct=config["crop_pct"],
        interpolation=config["interpolation"],
        weights_sha256=weights_sha256(network, model),
        data=images.fingerprint,
    )


@torch.inference_mode()
def accuracy(
    model: nn.Module, dataset: Transformed, indices: Sequence[int], world: World, workers: int, batch_size: int = BATCH
) -> dict[str, Any]:
    """Top-1 and top-5 in percent over these images, shared among the ranks with none left out, and their number."""
    model.eval()
    right = torch.zeros(2, dtype=torch.int64, device=world.device)
    batches = shard(indices, world.rank, world.size, batch_size)
    for images, labels in load_batches(dataset, batches, workers):
        logits = model(images.to(world.device, memory_format=torch.channels_last))
        hits = logits.topk(min(5, logits.shape[1])).indices == labels.to(world.device)[:, None]
        right += torch.stack([hits[:, 0].sum(), hits.any(1).sum()])
    top1, top5, total = world.sum([*right.tolist(), sum(map(len, batches))])
    return {"top1": 100 * top1 / total, "top5": 100 * top5 / total, "images": int(total)}


def provenance(workers: int, world: World) -> dict[str, Any]:
    return {"command": shlex.join(sys.argv), "machine": describe_environment(workers, world)}


def append_result(path: Path, result: EvaluateResult | None) -> None:
    """Add a row to a CSV in timm's columns, in place of an earlier one of the same network; whole or not at all.

    Without a result, only find out whether that can be done.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            columns, known = read_csv(path, numbers=()) if path.exists() else (list(COLUMNS), [])
            if tuple(columns) != COLUMNS:
                raise UserError(f"{path} has other columns than {', '.join(COLUMNS)}: give a file of its own")
            if result:
                row = vars(result) | {"model": result.network, "param_count": round(result.param_count / 1e6, 2)}
                for name, value in (("top1", result.top1), ("top5", result.top5)):
                    row |= {name: round(value, 4), f"{name}_err": round(100 - value, 4)}
                rows = [*(other for other in known if other["model"] != result.network), row]
                write_csv(path, [COLUMNS, *([each[column] for column in COLUMNS] for each in rows)])
    except OSError as error:
        raise cannot_write(path, error) from error


def load_network(network: str) -> Any:
    """A trained network in eval mode: an exported folder, or timm's name of one that has weights."""
    if (place := locate(str(network))).startswith(f"{LOCAL}:"):
        return saving.load(place.removeprefix(f"{LOCAL}:"))
    with as_user_error(f"{network} is neither an exported folder nor a network with weights", UserError):
        return networks.create(network, pretrained=True).eval()


def _held_out_of(network: str, held: Split) -> list[int]:
    """The held-out images, which the network must not have been trained on."""
    if not held.holdout:
        raise UserError("--holdout 0 leaves no images to score on; give a share, or --final for the test split")
    kept = read_record(network)
    if not kept:
        _logger.warning("it is not on record which images %s was trained on: these may be among them", network)
    elif kept["held_out"] != held.hash:
        raise UserError(
            f"{network} held out other images: give the data, --holdout and --split-seed of its training, or --final"
        )
    return held.holdout


def check_classes(network: str, model: Any, images: LabelledImages, dataset: str) -> None:
    """Compare numbers of classes, and in folders and tars names: a named data set may call the same ones otherwise."""
    known, there = list(model.pretrained_cfg.get("label_names") or ()), images.classes
    if len(there) != model.num_classes:
        raise UserError(f"{network} knows {model.num_classes} classes, the data has {len(there)}")
    if dataset or any(all(map(str.isdigit, names)) for names in (known, there)):  # numbers stand for unknown names
        return
    for ours, theirs in zip(known, there, strict=False):
        if ours != theirs:
            raise UserError(
                f"{network} knows other classes, or in another order: {ours!r} where the data has {theirs!r}; if only "
                "the names differ, rename the folders"
            )


def weights_sha256(network: str, model: Any) -> str:
    """The sha256 of the file that a network's weights came from; empty if it is not known."""
    folder = Path(network.removeprefix("local-dir:"))
    file = folder / saving.WEIGHTS if folder.is_dir() else Path(model.pretrained_cfg.get("file") or "")
    return sha256_of(file) if file.is_file() else ""
