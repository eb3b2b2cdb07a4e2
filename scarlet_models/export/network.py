"""A network by its name or folder, as files for other runtimes, each checked before any is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from scarlet_models.detection.detector import load as load_detector
from scarlet_models.documents import read_json
from scarlet_models.errors import UserError
from scarlet_models.files import write_bytes
from scarlet_models.images import find_images, read_image
from scarlet_models.inference import class_names
from scarlet_models.networks import create, file_stem
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.evaluation import check_classes
from scarlet_models.training.loading import Transformed, load_batches, shard
from scarlet_models.training.options import TrainData
from scarlet_models.training.transforms import eval_transform
from scarlet_models.weights.save import CONFIG

from .checking import Check, check_files
from .detectors import detector_file
from .options import SUFFIXES, ExportOptions
from .programs import Exported, export, need_packages

_BATCH = 50


@dataclass
class Result:
    """What `export_network` did.

    Args:
        checks: By file.
        sensitivity: The error of int8 by block, if it was asked for.
        boxes: Of a detector's file, the largest difference of a box in pixels.
    """

    checks: dict[Path, Check]
    sensitivity: dict[str, float] = field(default_factory=dict)
    boxes: dict[Path, float] = field(default_factory=dict)


def export_network(options: ExportOptions) -> Result:
    """Export a network, check the files in their own runtimes, and write them.

    Raises:
        UserError: There is no such network, a package is missing, or a file is not what its network is.
    """
    for kind in options.formats:
        need_packages(kind)
    if is_detector(options.model):
        return _export_detector(options)
    name = f"local-dir:{options.model}" if Path(options.model).is_dir() else options.model
    model: Any = create(name, options.space, options.pretrained, exportable=True).eval()
    config = resolve_model_data_config(model)
    if options.input_size:
        config["input_size"] = (config["input_size"][0], options.input_size, options.input_size)
    calibration = calibration_images(options, config) if options.calibration else None
    labelled = list(_labelled(model, options, config)) if options.data_dir else None
    image = torch.randn(1, *config["input_size"], generator=torch.Generator().manual_seed(0))
    files = {
        kind: export(
            kind,
            model,
            image,
            about=about(model, config),
            calibration=calibration if kind.endswith("int8") else None,
            keep=options.keep,
            threads=options.threads,
        )
        for kind in options.formats
    }
    checks = check_files(model, files, image, labelled, options.threads)
    for kind, check in checks.items():
        if options.max_drop is not None and check.drop > options.max_drop:
            raise UserError(
                f"{kind} loses {check.drop:.2f} points of top-1, more than --max-drop {options.max_drop:g}: no file is "
                "written; --sensitivity shows the blocks to --keep"
            )
    paths = {kind: Path(options.out) / (file_stem(options.model) + SUFFIXES[kind]) for kind in files}
    for kind, file in files.items():
        write_bytes(paths[kind], file.data)
    result = Result({paths[kind]: check for kind, check in checks.items()})
    if options.sensitivity and calibration is not None:
        result.sensitivity = _sensitivity(model, image, calibration)
    return result


def is_detector(folder: str) -> bool:
    """Whether a folder holds a detector that `scarlet-models detect train` exported."""
    config = Path(folder) / CONFIG
    return config.is_file() and "detector" in read_json(config, dict)


def _export_detector(options: ExportOptions) -> Result:
    if options.formats != ["onnx"]:
        raise UserError(f"{options.model} is a detector: --format onnx is the one for it")
    data, gap = detector_file(load_detector(options.model), options.threads)
    path = Path(options.out) / (file_stem(options.model) + SUFFIXES["onnx"])
    write_bytes(path, data)
    return Result({}, boxes={path: gap})


def about(model: Any, config: dict[str, Any]) -> dict[str, Any]:
    """What a program needs to know to use a file, and which network it is."""
    genotype = getattr(model, "genotype", None)
    keys = ("input_size", "mean", "std", "crop_pct", "interpolation")
    return {
        "labels": class_names(model) if model.num_classes else [],
        **{key: config[key] for key in keys},
        **({} if genotype is None else {"genotype": str(genotype), "space": genotype.space.name}),
    }


def calibration_images(options: ExportOptions, config: dict[str, Any]) -> Tensor:
    """Images of the calibration folder, drawn with a fixed seed, transformed as for evaluation: (N, C, H, W)."""
    found = list(find_images(options.calibration))
    count = min(options.calibration_images, len(found))
    drawn = sorted(np.random.default_rng(0).choice(len(found), count, replace=False))
    transform, images = eval_transform(config["input_size"][-1], config), list[Tensor]()
    mode = "L" if config["input_size"][0] == 1 else "RGB"
    for path in (found[index] for index in drawn):
        try:
            images.append(transform(read_image(path).convert(mode)))
        except UserError as error:
            raise UserError(f"--calibration {path}: {error}") from error
    return torch.stack(images)


def _labelled(model: Any, options: ExportOptions, config: dict[str, Any]) -> Iterator[tuple[Tensor, Tensor]]:
    images = LabelledImages(TrainData(data_dir=options.data_dir, train_split=options.split), options.split)
    check_classes(options.model, model, images, "")
    dataset = Transformed(images, eval_transform(config["input_size"][-1], config))
    yield from load_batches(dataset, shard(range(len(images)), 0, 1, _BATCH), workers=0)


def _sensitivity(model: nn.Module, image: Tensor, calibration: Tensor) -> dict[str, float]:
    from .onnx_files import sensitivity

    need_packages("onnx-int8")
    file: Exported = export("onnx", model, image)
    return sensitivity(file.data, calibration[:64])
