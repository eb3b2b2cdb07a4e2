"""A network by its name or folder, as files for other runtimes, each checked in its own before any is written."""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from scarlet_models.detection.detector import load as load_detector
from scarlet_models.documents import read_json
from scarlet_models.errors import UserError, as_user_error
from scarlet_models.files import write_bytes
from scarlet_models.images import find_images, read_image
from scarlet_models.inference import class_names
from scarlet_models.inspection.timing import cpu_threads, interleaved, median_seconds
from scarlet_models.networks import MISTAKES, create, file_stem
from scarlet_models.options import flag
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.evaluation import check_classes
from scarlet_models.training.loading import Transformed, load_batches, shard
from scarlet_models.training.options import TrainData
from scarlet_models.training.transforms import eval_transform
from scarlet_models.weights.source import CONFIG, LOCAL, locate

from .detectors import detector_file
from .formats import Exported, Run, export, sensitivity
from .options import SUFFIXES, ExportOptions, need_packages

_OF_CLASSIFIERS = ("input_size", "calibration", "data_dir", "max_drop", "keep", "sensitivity")
_BATCH = 50
_SENSITIVITY_IMAGES = 64
_ORDINARY = 5  # times the usual peak of an activation that an image to calibrate on may reach
TOLERANCE = 1e-4  # share of the largest output: no more than another order of summation makes
ROUNDS, PASSES = 15, 3  # of the latencies: medians of rounds, of each of which the median pass counts


@dataclass
class Check:
    """What is known of an exported file."""

    difference: float  # the largest of a logit, as a share of the largest logit
    size: int  # bytes of the file
    ms: float  # latency of one image
    ms_ratio: float  # latency over that of PyTorch in eager mode, measured in turns with it
    top1: float | None = None  # percent; None without labelled images
    top1_fp32: float | None = None  # of the network in PyTorch, on the same images
    drop_ci: float | None = None  # half the width of the 95% interval of their difference, from the images' own
    images: int = 0

    @property
    def drop(self) -> float:
        """Points of top-1 that the file loses."""
        return 0.0 if self.top1 is None or self.top1_fp32 is None else self.top1_fp32 - self.top1


@dataclass
class Result:
    """What `export_network` did."""

    files: dict[str, Check]
    sensitivity: dict[str, float] = field(default_factory=dict)  # the error of int8 by block, if it was asked for
    boxes: dict[str, float] = field(default_factory=dict)  # of a detector: the largest difference of a box in pixels
    left_out: int = 0  # calibration images that are not ordinary


def export_network(options: ExportOptions) -> Result:
    """Export a network, check the files in their own runtimes, and write them if each is what its network is."""
    for kind in options.formats:
        need_packages(kind)
    paths = {kind: Path(options.out) / (file_stem(options.model) + SUFFIXES[kind]) for kind in options.formats}
    name = locate(options.model)
    folder = Path(name.removeprefix(f"{LOCAL}:"))
    if (folder / CONFIG).is_file() and "detector" in read_json(folder / CONFIG, dict):
        if options.formats != ["onnx"] or any(getattr(options, name) for name in _OF_CLASSIFIERS):
            refused = ", ".join(map(flag, _OF_CLASSIFIERS))
            raise UserError(f"{folder} is a detector: --format onnx is the one for it, without {refused}")
        data, gap = detector_file(load_detector(folder), options.threads)
        write_bytes(paths["onnx"], data)
        return Result({}, boxes={str(paths["onnx"]): gap})
    model: Any = create(name, options.space, options.pretrained, exportable=True).eval()
    if unknown := set(options.keep) - {module for module, _ in model.named_modules()}:
        raise UserError(f"--keep {min(unknown)}: {name} has no such module; --sensitivity prints its blocks")
    config = resolve_model_data_config(model)
    if options.input_size:
        config["input_size"] = (config["input_size"][0], options.input_size, options.input_size)
    if (channels := config["input_size"][0]) != 3 and (options.calibration or options.data_dir):
        raise UserError(f"{name} takes images of {channels} channels: leave out --calibration and --data-dir")
    drawn = _calibration_images(options, config) if options.calibration else None
    with as_user_error(f"{name} cannot see images of {config['input_size'][-1]} px", *MISTAKES):
        calibration = None if drawn is None else ordinary(model, drawn)
    labelled = _labelled(model, options, config) if options.data_dir else None
    image = torch.randn(1, *config["input_size"], generator=torch.Generator().manual_seed(0))
    given: dict[str, Any] = {"about": about(model, config), "calibration": calibration, "keep": options.keep}
    files = {kind: export(kind, model, image, **given, threads=options.threads) for kind in paths}
    checks = check_files(model, files, image, labelled, options.threads)
    for kind, check in checks.items():
        if options.max_drop is not None and check.drop > options.max_drop:
            raise UserError(
                f"{kind} loses {check.drop:.2f} points of top-1, more than --max-drop {options.max_drop:g}: no file is "
                "written; --sensitivity shows the blocks to --keep"
            )
    for kind, file in files.items():
        write_bytes(paths[kind], file.data)
    result = Result({str(paths[kind]): check for kind, check in checks.items()})
    if drawn is not None and calibration is not None:
        result.left_out = len(drawn) - len(calibration)
    if options.sensitivity and calibration is not None:
        result.sensitivity = sensitivity(export("onnx", model, image).data, calibration[:_SENSITIVITY_IMAGES])
    return result


def about(model: Any, config: dict[str, Any]) -> dict[str, Any]:
    """What a program needs to know to use a file, and which network it is."""
    genotype = getattr(model, "genotype", None)
    return {
        "labels": class_names(model) if model.num_classes else [],
        **{key: config[key] for key in ("input_size", "mean", "std", "crop_pct", "interpolation")},
        **({} if genotype is None else {"genotype": str(genotype), "space": genotype.space.name}),
    }


def _calibration_images(options: ExportOptions, config: dict[str, Any]) -> Tensor:
    """Images of the calibration folder, drawn with a fixed seed, transformed as for evaluation: (N, C, H, W)."""
    found = list(find_images(options.calibration))
    count = min(options.calibration_images, len(found))
    drawn = sorted(np.random.default_rng(0).choice(len(found), count, replace=False))
    transform, images = eval_transform(config["input_size"][-1], config), list[Tensor]()
    for path in (found[index] for index in drawn):
        with as_user_error(f"--calibration {path}", UserError):
            images.append(transform(read_image(path)))
    return torch.stack(images)


@torch.no_grad()
def ordinary(model: nn.Module, images: Tensor) -> Tensor:
    """The images (N, C, H, W) on which no convolution's output peaks far above its median over the images.

    One odd image, such as a blank one, may make an activation a hundred times as large as all others do. An int8 range
    that holds it has no precision left for them.
    """
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if not convolutions:
        return images
    peaks, parts = list[Tensor](), list[Tensor]()

    def note(module: nn.Module, given: Any, output: Tensor) -> None:
        peaks.append(output.flatten(1).abs().amax(1))

    hooks = [convolution.register_forward_hook(note) for convolution in convolutions]
    for part in images.split(_BATCH):
        model(part)
        parts.append(torch.stack(peaks))
        peaks.clear()
    for hook in hooks:
        hook.remove()
    each = torch.cat(parts, 1)  # (convolutions, N)
    return images[(each <= _ORDINARY * each.median(1, keepdim=True).values).all(0)]


def _labelled(model: Any, options: ExportOptions, config: dict[str, Any]) -> Iterable[tuple[Tensor, Tensor]]:
    data = TrainData(data_dir=options.data_dir, skip_broken=options.skip_broken)
    images = LabelledImages(data, options.split, "--split")
    check_classes(options.model, model, images, "")
    dataset = Transformed(images, eval_transform(config["input_size"][-1], config))
    batches = load_batches(dataset, shard(range(len(images)), 0, 1, _BATCH), workers=0)
    return ((pixels.to("cpu"), labels) for pixels, labels in batches)


@torch.inference_mode()
def check_files(
    model: nn.Module,
    files: Mapping[str, Exported],
    image: Tensor,
    labelled: Iterable[tuple[Tensor, Tensor]] | None,
    threads: int,
) -> dict[str, Check]:
    """Compare files, by format, with their network in eval mode on the CPU.

    One image (1, C, H, W) is timed, with so many threads of PyTorch. Without batches of labelled images the logits of
    random ones are compared. A UserError says that an fp32 file gives other logits than the network, or a file none.
    """
    checks, samples = dict[str, Check](), torch.randn(3, *image.shape[1:], generator=torch.Generator().manual_seed(0))
    runs: dict[str, Run] = {"": model, **{kind: file.run for kind, file in files.items()}}
    timed = {kind: partial(median_seconds, partial(run, image), PASSES, image.device) for kind, run in runs.items()}
    with cpu_threads(threads):
        ms = {kind: 1e3 * statistics.median(seconds) for kind, seconds in interleaved(timed, ROUNDS).items()}
    for kind, file in files.items():
        difference = largest_difference(model, file.run, samples, exact=not kind.endswith("int8"))
        checks[kind] = Check(difference, len(file.data), ms[kind], ms[kind] / ms[""])
    if labelled is not None:
        _score(runs, labelled, checks)
    return checks


@torch.no_grad()
def largest_difference(model: Run, other: Run, images: Tensor, exact: bool = True) -> float:
    """The largest difference between two networks' outputs, as a share of the largest output.

    A UserError if it is no number or, where the two should be exactly alike, above TOLERANCE.
    """
    pairs = [(model(batch), other(batch)) for batch in (images[:1], images)]
    difference = max(float((ours - theirs).abs().max() / ours.abs().max()) for ours, theirs in pairs)
    if not difference <= (TOLERANCE if exact else float("inf")):  # not >, for NaN
        raise UserError(f"the exported program differs from the network by {difference:.1e} of its largest output")
    return difference


def _score(runs: Mapping[str, Run], labelled: Iterable[tuple[Tensor, Tensor]], checks: Mapping[str, Check]) -> None:
    """Fill in top-1, and the differences of logits on these images."""
    largest, gaps, hits = 0.0, dict.fromkeys(runs, 0.0), {kind: list[Tensor]() for kind in runs}
    for images, labels in labelled:
        logits = runs[""](images)
        largest = max(largest, float(logits.abs().max()))
        for kind, run in runs.items():
            given = run(images) if kind else logits
            gaps[kind] = max(gaps[kind], float((given - logits).abs().max()))
            hits[kind].append(given.argmax(1) == labels)
    right = {kind: torch.cat(parts).double() for kind, parts in hits.items()}
    for kind, check in checks.items():
        check.difference, check.images = gaps[kind] / largest, len(right[kind])
        check.top1, check.top1_fp32 = (100 * float(right[name].mean()) for name in (kind, ""))
        check.drop_ci = 196 * float((right[kind] - right[""]).std()) / math.sqrt(check.images)
