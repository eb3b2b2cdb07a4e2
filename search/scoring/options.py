"""Options of everything that scores the paths of a trained supernet. Imports no torch."""

from dataclasses import dataclass
from typing import Literal

from scarlet_models.options import DeviceOptions, option
from scarlet_models.training.options import WORKERS

FEWEST_ANCHORS = 5


@dataclass(kw_only=True)
class HeldOutOptions(DeviceOptions):
    """The held-out images of a trained supernet.

    Args:
        data_dir: Folder of class folders, tar file, or the place of the named data set, which is downloaded to there if
            the place does not exist.
        dataset: timm's name of a data set (torch/cifar10, hfds/ORG/NAME, ...); empty for a folder or tar.
        train_split: Split that the supernet was trained on.
        skip_broken: Leave out images that cannot be read instead of refusing them.
        other_copy: Accept another copy of the data set (same classes, same split) whose file names differ. The
            held-out split is then drawn anew, and the supernet may have been trained on most of these images.
        workers: Threads or processes that prepare images, up to 8 by default; 0 does it in the main process.
        images: Number of held-out images to use; 0 for all.
        batch_size: Images in a forward pass.
    """

    data_dir: str = option("", free=True)
    dataset: str = ""
    train_split: str = "train"
    skip_broken: bool = False
    other_copy: bool = False
    workers: int = option(WORKERS, least=0, free=True)
    images: int = option(0, least=0)
    batch_size: int = option(250, least=1)


@dataclass(kw_only=True)
class ScoreOptions(HeldOutOptions):
    """How to score a path on held-out images.

    Args:
        batch_norm: "recalibrated" takes new batch-norm statistics for each path; "running" keeps those of training.
            Recalibration ranked better in every trial on NAS-Bench-Macro (docs/stabilizer.md).
        calibration_images: Number of training images for recalibration.
        amp: Reduced precision, for GPUs.
    """

    batch_norm: Literal["recalibrated", "running"] = "recalibrated"
    calibration_images: int = option(1000, least=2)
    amp: Literal["none", "bf16", "fp16"] = "none"


@dataclass(kw_only=True)
class RankOptions(ScoreOptions):
    """What to rank, and how to compare the ranking with known accuracies.

    Args:
        supernet: Folder of a training run, its supernet.safetensors, or the name of a supernet that ships.
        known: File of known accuracies to evaluate the ranking with: NAS-Bench-Macro's JSON, or a CSV with the columns
            genotype and accuracy.
        anchors: File of a few known accuracies to correct the scores with; the comparison leaves these networks out.
        networks: Number of known networks to score; 0 for all.
        seed: Seed of that choice and of the bootstrap.
        bootstrap: Resamples for each interval; 0 for no intervals.
        top: Sizes of the supernet's top list to report.
        out: Folder for the results; empty for the supernet's folder.
    """

    supernet: str = option(positional=True)
    known: str
    anchors: str = ""
    networks: int = option(500, least=0)
    seed: int = option(0, least=0, most=2**63 - 1)
    bootstrap: int = option(1000, least=0)
    top: list[int] = option([1, 5, 10], least=1)
    out: str = option("", free=True)


@dataclass(kw_only=True)
class SimilarityOptions(HeldOutOptions):
    """Which layers' outputs to compare.

    Args:
        supernets: One or two supernets of the same space and data: folders of training runs, supernet.safetensors
            files, or names of supernets that ship.
        layer: Layer to draw; -1 for the first that may be an identity.
        paths: Number of random paths that lead to each layer.
        seed: Seed of these paths.
        batch_norm: "batch" normalises by the batch's statistics, as in training; "running" by those of training.
        batch_size: Images in a forward pass; all outputs of a layer are in memory at once.
        out: Folder for the results; empty for the first supernet's folder.
    """

    supernets: list[str] = option(positional=True)
    layer: int = -1
    paths: int = option(8, least=1)
    seed: int = option(0, least=0, most=2**63 - 1)
    batch_norm: Literal["batch", "running"] = "batch"
    images: int = option(500, least=0)
    batch_size: int = option(64, least=1)
    out: str = option("", free=True)
