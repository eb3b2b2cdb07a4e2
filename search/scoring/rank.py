"""Rank networks of known accuracy by a supernet's scores, and compare the two orders."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scarlet_models.errors import UserError
from scarlet_models.files import write_csv, write_json
from scarlet_models.inspection.plotting import save
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype
from scarlet_models.training.distributed import World
from scarlet_models.training.options import from_keywords

from .anchors import Anchors
from .baselines import ANCHORED, ANCHORS_ALONE, SUPERNET, Comparison, counted
from .figures import draw_ranking
from .heldout import TrainedSupernet, one_process, open_supernet
from .known_accuracies import load_anchors, load_known_accuracies
from .options import RankOptions
from .ranking import FEWEST, Estimate, ResampledTau, bootstrap, estimate, spearman, top_k
from .score_cache import Score
from .scores import PathScores


@dataclass(frozen=True)
class DepthGroup:
    """The ranking among networks of equal depth; no estimate where they are fewer than `FEWEST`."""

    blocks: int
    networks: int
    kendall_tau: Estimate
    spearman: Estimate


class Ranking:
    """Networks of known accuracy with their scores, and statistics that compare the two orders.

    Attributes:
        scores: Top-1 in percent of each network's path.
        baselines: The supernet's top-1 and loss beside label-free predictors.
        by_blocks: tau and Spearman's correlation among networks of equal depth.
        top: The worth of the networks of highest score.
    """

    def __init__(
        self,
        options: RankOptions,
        accuracies: Mapping[Genotype, float],
        measured: Sequence[Score],
        folder: Path,
        anchors: Anchors | None = None,
    ) -> None:
        self.options, self.networks, self.folder, self.anchors = options, list(accuracies), folder, anchors
        rows = np.array([genotype.choices for genotype in accuracies])
        self.known = known = np.array(list(accuracies.values()))
        self.predicted = np.array([score.top1 for score in measured])
        self.counted = counted(self.networks[0].space, rows)
        self.columns = {"known": known, "predicted": self.predicted, "loss": np.array([s.loss for s in measured])}
        scores = {SUPERNET: self.predicted, "supernet, loss": -self.columns["loss"]}
        if anchors:
            self.columns["anchored"] = scores[ANCHORED] = anchors.predict(rows, measured)
            scores[ANCHORS_ALONE] = anchors.predict_without(rows)
        self.baselines = Comparison(self.networks, known, scores, options.bootstrap, options.seed)
        self.scores = dict(zip(accuracies, self.predicted.tolist(), strict=True))
        self.tau, self.spearman = self._estimates(np.ones(len(known), bool))
        self.by_blocks: list[DepthGroup] = []
        for depth, count in zip(*np.unique(self.counted["blocks"], return_counts=True), strict=True):
            enough = count >= FEWEST
            found = self._estimates(self.counted["blocks"] == depth) if enough else (Estimate(), Estimate())
            self.by_blocks.append(DepthGroup(int(depth), int(count), *found))
        self.top = [top_k(self.predicted, known, k) for k in sorted({min(k, len(known)) for k in options.top})]

    def __repr__(self) -> str:
        return f"Ranking({len(self.networks)} networks, Kendall's tau {self.tau})"

    def _estimates(self, where: np.ndarray) -> tuple[Estimate, Estimate]:
        predicted, known, options = self.predicted[where], self.known[where], self.options
        tau = estimate(ResampledTau(known, options.bootstrap, options.seed)(predicted))
        return tau, bootstrap(spearman, predicted, known, options.bootstrap, options.seed)

    def report(self) -> dict[str, Any]:
        """The options and statistics as plain data."""
        return {
            **asdict(self.options),
            "networks": len(self.networks),
            "kendall_tau": asdict(self.tau),
            "spearman": asdict(self.spearman),
            **self.baselines.report(),
            "anchored": self.anchors.report() if self.anchors else None,
            "by_blocks": [asdict(group) for group in self.by_blocks],
            "best_known": float(self.known.max()),
            "top_k": [top._asdict() for top in self.top],
        }

    def draw(self) -> Figure:
        """Scatter plot of scores against known accuracies, coloured by depth."""
        title = f"{len(self.networks)} networks, Kendall's tau {self.tau}"
        return draw_ranking(self.predicted, self.known, self.counted["blocks"], self.options.batch_norm, title)

    def save(self) -> Path:
        """Write the networks as CSV, the statistics as JSON and the scatter plot as PNG; return the CSV's path."""
        stem = self.folder / f"rank_{self.options.batch_norm}"
        costs = [self.counted[name].astype(int) for name in ("blocks", "MACs", "params")]
        columns = (column.tolist() for column in (*costs, *self.columns.values()))
        header = ("genotype", "blocks", "macs", "params", *self.columns)
        write_csv(stem.with_suffix(".csv"), [header, *zip(self.networks, *columns, strict=True)])
        write_json(stem.with_suffix(".json"), self.report())
        save(self.draw(), stem.with_suffix(".png"))
        return stem.with_suffix(".csv")


def rank(net: Supernet | str | Path, data_dir: str | Path = "", **options: Any) -> Ranking:
    """Rank networks of known accuracy by a supernet's scores: `scarlet-search rank` in Python.

    Args:
        net: The supernet: a folder, a file, the name of one that ships, or a Supernet that was trained or loaded.
        data_dir: The images: folder of class folders, tar file, or the place of a named data set.
        **options: Options of the command by name, such as known="known.csv" or networks=0.

    Raises:
        UserError: A bad option, or a supernet, known accuracies or images that cannot be read.
    """
    supernet = open_supernet(net)
    return rank_networks(from_keywords(RankOptions, supernet=supernet.name, data_dir=data_dir, **options), supernet)


def rank_networks(options: RankOptions, supernet: TrainedSupernet | None = None) -> Ranking:
    """Score a sample of the known networks with the supernet, and compare; no path is scored twice in a folder."""
    supernet = supernet or open_supernet(options.supernet)
    folder = Path(options.out) if options.out else supernet.folder
    anchors = load_anchors(options.anchors, supernet.net.space) if options.anchors else {}
    every = load_known_accuracies(options.known, supernet.net.space)
    known = {genotype: accuracy for genotype, accuracy in every.items() if genotype not in anchors}
    if not known:
        raise UserError(f"--known {options.known}: every network in it is an anchor; none is left to compare")
    chosen = choose_networks(list(known), options.networks, options.seed)
    with one_process(options) as device:
        paths = PathScores(supernet, options, folder, World(0, 1, device))
        scores = paths.measure(np.array([genotype.choices for genotype in (*chosen, *anchors)]))
    correction = Anchors(anchors, scores[len(chosen) :]) if anchors else None
    return Ranking(options, {g: known[g] for g in chosen}, scores[: len(chosen)], folder, correction)


def choose_networks(known: list[Genotype], count: int, seed: int) -> list[Genotype]:
    """A fixed random choice of the networks by genotype, all if `count` is 0; larger ones contain smaller ones."""
    ordered = sorted(known, key=lambda genotype: genotype.choices)
    chosen = np.random.default_rng(seed).permutation(len(ordered))
    return [ordered[i] for i in sorted(chosen[:count] if count else chosen)]
