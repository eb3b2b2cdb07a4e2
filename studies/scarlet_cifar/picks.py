"""What the study's searches pick, and whether it is worth their cost: a row a pick in picks.csv, then the verdict.

python studies/scarlet_cifar/picks.py cifar10 runs/scarlet_cifar runs/picks  # searches, and trains what they pick
python studies/scarlet_cifar/picks.py                                        # prints the verdict, writes picks.md

Each stabilized supernet of runs/scarlet_cifar picks two networks of 9.0M MACs within 1.5%: by raw score, and by scores
that ten anchors correct. The anchors are drawn from the 24 `spread` networks; their accuracies are of held-out images.
Picks are trained like the known networks. Supernets may come from several machines, a part of them at a time: a pick's
cost is set against trainings on its machine. If interrupted, run the same command again: it skips what has a row. Two
processes may share the work: each skips what the other does, so run the command once more when both have ended.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from jobs import InUse, run, seconds
from known_accuracies import ANCHORS, NAME, Network, draw_anchors, networks, table, train, training_seconds
from resampling import Interval, markdown, student
from stabilizer import find_cells
from study import Rows, append, read, results, write
from verdicts import SEEDS, STABILIZED

from scarlet_models.errors import UserError
from scarlet_models.search.ablation.study import Cell
from scarlet_models.training.environment import processor

MACS = ["--min-macs", "8865K", "--max-macs", "9135K"]  # 9.0M within 1.5%, as the 16 `equal` networks
SEARCH = ["--population", "40", "--generations", "10", "--images", "1000"]
KINDS = ("raw", "anchored")
COLUMNS = ("network", "genotype", "seed", "train_top1", "holdout_top1", "test_top1", "cpu_seconds")


class Accuracies(NamedTuple):
    """Held-out and test accuracy in percent, of a network or in the mean over some."""

    held_out: float
    test: float


def pick(data_dir: str, runs: Path, out: Path) -> None:
    """Search with each stabilized supernet that is there, and train what has no row yet."""
    networks()  # all 40, or the anchors would not be those of the criteria
    for cell in (cell for cell in find_cells(runs) if cell.variant == STABILIZED):
        for kind in KINDS:
            if (kind, cell.name) not in {(row["kind"], row["supernet"]) for row in read(_table())}:
                try:
                    append(_table(), _row(cell, kind, data_dir, out))
                except InUse as error:
                    print(f"{error}; it is skipped", flush=True)


def _table() -> Path:
    return results(NAME) / "picks.csv"


def _row(cell: Cell, kind: str, data_dir: str, out: Path) -> dict[str, object]:
    """A pick with what it cost; a genotype that was trained already, with the same seed, keeps its accuracies."""
    genotype, used = search(cell, kind, data_dir, out)
    spent = seconds(out / f"{kind}_s{cell.seed}")["search"]
    same = [row for row in [*read(_table()), *read(table())] if (row["genotype"], row["seed"]) == (genotype, "0")]
    trained: Mapping[str, object] = same[0] if same else train(f"{kind}_{cell.name}", genotype, 0, data_dir, out)
    costs = {"supernet_seconds": seconds(cell.folder).get("train"), "search_seconds": spent}
    if None in costs.values():
        sys.exit(f"{cell.name}, {kind}: the time of an earlier call was not kept; start again in another folder")
    rounded = {name: round(value) for name, value in costs.items() if value is not None}
    figures = {name: trained[name] for name in COLUMNS}
    row = {"kind": kind, "supernet": cell.name, **figures, **rounded, "anchors_used": used}
    return {**row, "machine": processor()}


def search(cell: Cell, kind: str, data_dir: str, out: Path) -> tuple[str, str]:
    """The genotype that a supernet picks, and whether anchors correct its scores ("yes", "no"; "" for raw ones)."""
    folder = out / f"{kind}_s{cell.seed}"
    command = ["evolve", str(cell.folder), "--data-dir", data_dir, *MACS, *SEARCH, "--objectives", "[accuracy]"]
    command += ["--no-random", "--seed", str(cell.seed), "--threads", "1", "--workers", "0", "--resume"]
    if kind == "anchored":
        command += ["--anchors", str(_write_anchors(out / f"anchors_s{cell.seed}.csv", cell.seed))]
    if not (folder / "search.json").exists():
        run(command, folder, "search")
    report = json.loads((folder / "search.json").read_text())
    used = ("yes" if report["anchors"]["better"] else "no") if kind == "anchored" else ""
    return str(max(report["front"], key=lambda record: record["accuracy"])["genotype"]), used


def _write_anchors(path: Path, draw: int) -> Path:
    """A file of ten of the `spread` networks with their held-out accuracies."""
    known = networks()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = [known[i] for i in draw_anchors([network.group for network in known], draw)]
    write(path, [{"genotype": network.genotype, "accuracy": network.held_out} for network in drawn])
    return path


def best_of(equal: Sequence[Network], count: int) -> Accuracies:
    """What the best by held-out accuracy of `count` random networks has, in the mean over all draws of so many."""
    order, total = sorted(equal, key=lambda network: -network.held_out), math.comb(len(equal), count)
    chances = [math.comb(len(order) - 1 - place, count - 1) / total for place in range(len(order))]
    return Accuracies(*(float(np.dot(chances, [getattr(n, name) for n in order])) for name in Accuracies._fields))


def mean_of(some: Sequence[Network]) -> Accuracies:
    """The mean accuracies of networks."""
    return Accuracies(*(float(np.mean([getattr(n, name) for n in some])) for name in Accuracies._fields))


class Comparison(NamedTuple):
    """A pick beside the better alternative of equal cost."""

    trainings: int  # k: what the supernet, its search and the donor cost, in trainings
    random: int  # random networks that the same compute trains
    capped: bool  # there are fewer than that
    against: str
    gain: float  # test points


def compare(row: dict[str, str], equal: Sequence[Network], training: float) -> Comparison:
    """A pick costs k trainings, the donor's included; an anchored one ten more.

    The alternatives are the best of k + 1 (or k + 11) random `equal` networks, and the deepest of them. The better one
    is chosen by its held-out accuracy.
    """
    k = math.ceil((float(row["supernet_seconds"]) + float(row["search_seconds"])) / training + 1)
    wanted = k + 1 + (ANCHORS if row["kind"] == "anchored" else 0)
    count = min(wanted, len(equal))
    alternatives = {
        f"best of {count} random networks": best_of(equal, count),
        "the deepest networks": mean_of([network for network in equal if not network.identities]),
    }
    name = max(alternatives, key=lambda name: alternatives[name].held_out)
    return Comparison(k, count, wanted > count, name, float(row["test_top1"]) - alternatives[name].test)


def verdict(rows: Rows, equal: Sequence[Network], trainings: Rows) -> str:
    """The tables of both kinds of picks, as Markdown. `trainings` tell what one takes on each pick's machine."""
    lines, each = [], []
    for kind in KINDS:
        picks = [row for row in rows if row["kind"] == kind]
        compared = [compare(row, equal, training_seconds(trainings, row["machine"])) for row in picks]
        difference: Interval = student([one.gain for one in compared])
        tops, names = student([float(row["test_top1"]) for row in picks]), {one.against for one in compared}
        worth = "yes" if difference.low > 0 else "not shown"
        lines.append([kind, str(len(picks)), f"{tops:.2f}", ", ".join(sorted(names)), f"{difference:+.2f}", worth])
        for row, one in zip(picks, compared, strict=True):
            random = f"{one.random}{' (all there are)' if one.capped else ''}"
            cells = [f"{float(row['test_top1']):.2f}", str(one.trainings), random, one.against, f"{one.gain:+.2f}"]
            each.append([f"{row['supernet']}, {kind}", row["anchors_used"] or "-", *cells])
    columns = ["picked by", "picks", "test top-1 [95% CI]", "against", "Δ [95% CI]", "worth it"]
    details = ["pick", "anchors used", "test top-1", "k", "random networks", "against", "Δ"]
    return markdown("Searches at equal cost", columns, lines) + "\n" + markdown("Each pick", details, each)


def main(seeds: int = SEEDS) -> None:
    """Write picks.md; the program ends if a pick is missing."""
    rows = read(_table())
    done = {(row["kind"], row["supernet"]) for row in rows}
    wanted = [(kind, f"{STABILIZED}_s{seed}") for kind in KINDS for seed in range(seeds)]
    if lacking := [f"{name} ({kind})" for kind, name in wanted if (kind, name) not in done]:
        sys.exit(f"{len(lacking)} picks are missing, so there is no verdict: {', '.join(lacking)}")
    equal = [network for network in networks() if network.group == "equal"]
    own = [row for row in rows if row["network"].startswith(KINDS)]  # trained for this, on the machine of the row
    text = verdict(rows, equal, [*read(table()), *own])
    (results(NAME) / "picks.md").write_text(text)
    print(text)


if __name__ == "__main__":
    try:
        if len(sys.argv) == 4:
            pick(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
        main()
    except UserError as error:
        sys.exit(str(error))
