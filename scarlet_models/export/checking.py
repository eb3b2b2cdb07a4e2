"""Exported files beside the network that they came from: top-1, logits, size and latency, each in its own runtime."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from scarlet_models.inspection.timing import cpu_threads, interleaved, median_seconds

from .programs import Exported, largest_difference, sample_images

ROUNDS, PASSES = 15, 3  # of the latencies: medians of rounds, of each of which the median pass counts


@dataclass
class Check:
    """What is known of an exported file.

    Args:
        difference: Largest difference of a logit, as a share of the largest logit.
        size: Bytes of the file.
        ms: Latency of one image.
        ms_ratio: Latency over that of PyTorch in eager mode, measured in turns with it.
        top1: Top-1 in percent; None without labelled images.
        top1_fp32: Of the network in PyTorch, on the same images.
        drop_ci: Half the width of the 95% interval of their difference, from the images' own differences.
        images: Number of images.
    """

    difference: float
    size: int
    ms: float
    ms_ratio: float
    top1: float | None = None
    top1_fp32: float | None = None
    drop_ci: float | None = None
    images: int = 0

    @property
    def drop(self) -> float:
        """Points of top-1 that the file loses."""
        return 0.0 if self.top1 is None or self.top1_fp32 is None else self.top1_fp32 - self.top1


def check_files(
    model: nn.Module,
    files: Mapping[str, Exported],
    image: Tensor,
    labelled: Iterable[tuple[Tensor, Tensor]] | None,
    threads: int,
) -> dict[str, Check]:
    """Compare files with their network.

    Args:
        model: The network, in eval mode on the CPU.
        files: Files by format.
        image: One image (1, C, H, W), to time.
        labelled: Batches of images and labels; None compares logits of random images only.
        threads: Of PyTorch while latency is measured.

    Raises:
        UserError: An fp32 file gives other logits than the network, or a file gives none.
    """
    samples = sample_images(*image.shape[1:3])
    differences = {
        kind: largest_difference(model, file.run, samples, exact=not kind.endswith("int8"))
        for kind, file in files.items()
    }
    seconds = _seconds(model, files, image, threads)
    checks = {
        kind: Check(differences[kind], len(file.data), 1e3 * seconds[kind], seconds[kind] / seconds[""])
        for kind, file in files.items()
    }
    if labelled is not None:
        _score(model, files, labelled, checks)
    return checks


@torch.inference_mode()
def _seconds(model: nn.Module, files: Mapping[str, Exported], image: Tensor, threads: int) -> dict[str, float]:
    """Median latency of each file and, under "", of the network."""
    runs = {"": model, **{kind: file.run for kind, file in files.items()}}
    with cpu_threads(threads):
        timed = {name: partial(median_seconds, partial(run, image), PASSES, image.device) for name, run in runs.items()}
        return {name: statistics.median(times) for name, times in interleaved(timed, ROUNDS).items()}


@torch.inference_mode()
def _score(
    model: nn.Module,
    files: Mapping[str, Exported],
    labelled: Iterable[tuple[Tensor, Tensor]],
    checks: Mapping[str, Check],
) -> None:
    """Fill in top-1, and the differences of logits on these images."""
    largest, hits = 0.0, list[Tensor]()
    gaps, own = dict.fromkeys(files, 0.0), {kind: list[Tensor]() for kind in files}
    for images, labels in labelled:
        logits = model(images)
        largest = max(largest, float(logits.abs().max()))
        hits.append(logits.argmax(1) == labels)
        for kind, file in files.items():
            given = file.run(images)
            gaps[kind] = max(gaps[kind], float((given - logits).abs().max()))
            own[kind].append(given.argmax(1) == labels)
    right = torch.cat(hits).double()
    for kind, check in checks.items():
        theirs = torch.cat(own[kind]).double()
        check.difference, check.images = gaps[kind] / largest, len(right)
        check.top1, check.top1_fp32 = 100 * float(theirs.mean()), 100 * float(right.mean())
        check.drop_ci = 196 * float((theirs - right).std()) / math.sqrt(len(right))
