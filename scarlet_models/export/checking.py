"""Exported files beside the network that they came from: top-1, logits, size and latency, each in its own runtime."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from scarlet_models.errors import UserError
from scarlet_models.inspection.timing import cpu_threads, interleaved, median_seconds

from .formats import Exported, Run

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


@torch.inference_mode()
def check_files(
    model: nn.Module,
    files: Mapping[str, Exported],
    image: Tensor,
    labelled: Iterable[tuple[Tensor, Tensor]] | None,
    threads: int,
) -> dict[str, Check]:
    """Compare files, by format, with their network.

    Args:
        model: The network, in eval mode on the CPU.
        files: The files.
        image: One image (1, C, H, W), to time.
        labelled: Batches of images and labels; None compares logits of random images only.
        threads: Of PyTorch while latency is measured.

    Raises:
        UserError: An fp32 file gives other logits than the network, or a file gives none.
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

    Raises:
        UserError: It is no number or, if the two should be exactly alike, above TOLERANCE.
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
