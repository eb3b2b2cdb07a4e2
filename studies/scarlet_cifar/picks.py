"""What the study's searches pick, and whether it is worth their cost: a row a pick in picks.csv, then the verdict.

python studies/scarlet_cifar/picks.py cifar10 runs/scarlet_cifar runs/picks  # searches, and trains what they pick
python studies/scarlet_cifar/picks.py                                        # prints the verdict, writes picks.md

Each stabilized supernet of runs/scarlet_cifar picks two networks of 9.0M MACs within 1.5%: by raw score, and by scores
that ten anchors correct. The anchors are drawn from the 24 `spread` networks; their accuracies are of held-out images.
Picks are trained like the known networks. If interrupted, run the same command again: it skips what has a row.
"""

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from known_accuracies import STUDY, train
from resampling import Interval, markdown, student
from study import Rows, append, read

MACS = ["--min-macs", "8865K", "--max-macs", "9135K"]  # 9.0M within 1.5%, as the 16 `equal` networks
ANCHORS = 10
KINDS = ("raw", "anchored")


class Network(NamedTuple):
    """A trained network: its accuracies in percent, the CPU time of its training, and its identities."""

    held_out: float
    test: float
    seconds: float = 0.0
    identities: int = 0


def known() -> dict[str, list[Network]]:
    """The known networks by group, from the two CSV files."""
    groups: dict[str, list[Network]] = {"spread": [], "equal": []}
    rows = {row["network"]: row for row in read(STUDY / "known_accuracies.csv") if row["seed"] == "0"}
    for number, fixed in enumerate(read(STUDY / "known_networks.csv")):
        row = rows[f"{number:02d}"]
        figures = (float(row[name]) for name in ("holdout_top1", "test_top1", "cpu_seconds"))
        groups[fixed["group"]].append(Network(*figures, int(fixed["identities"])))
    return groups


def search(cell: Path, kind: str, seed: int, data_dir: str, out: Path) -> tuple[str, float]:
    """The genotype that a supernet picks, and the CPU seconds of its scoring."""
    folder, before = out / f"{kind}_s{seed}", os.times().children_user
    command = [sys.executable, "-m", "scarlet_models.search", "evolve", str(cell), "--data-dir", data_dir, *MACS]
    command += ["--objectives", "[accuracy]", "--no-random", "--seed", str(seed), "--threads", "1", "--resume"]
    if kind == "anchored":
        command += ["--anchors", str(_anchors(seed, out / f"anchors_s{seed}.csv"))]
    subprocess.run([*command, "--out", str(folder)], check=True)
    best = max(json.loads((folder / "search.json").read_text())["front"], key=lambda record: record["accuracy"])
    return str(best["genotype"]), os.times().children_user - before


def _anchors(seed: int, path: Path) -> Path:
    """A file of ten of the `spread` networks with their held-out accuracies."""
    spread = [row for row in read(STUDY / "known_networks.csv") if row["group"] == "spread"]
    drawn = np.random.default_rng(seed).choice(len(spread), ANCHORS, replace=False)
    networks = known()["spread"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["genotype", "accuracy"])
        writer.writerows([spread[i]["genotype"], networks[i].held_out] for i in drawn)
    return path


def training_seconds(cell: Path) -> float:
    """Seconds that a supernet's training took, by the speeds in its metrics.csv."""
    rows = read(cell / "metrics.csv")
    speed = float(np.mean([float(row["images_per_second"]) for row in rows]))
    batch = int(next(line.split(":")[1] for line in (cell / "config.yaml").open() if line.startswith("batch_size:")))
    return int(float(rows[-1]["step"])) * batch / speed


def pick(data_dir: str, runs: Path, out: Path) -> None:
    """Search with each stabilized supernet, and train what has no row yet."""
    table = STUDY / "picks.csv"
    done = {(row["kind"], row["supernet"]) for row in read(table)}
    for cell in sorted(runs.glob("identity_s[0-9]*")):
        seed = int(cell.name.rpartition("_s")[2])
        for kind in (kind for kind in KINDS if (kind, cell.name) not in done):
            genotype, seconds = search(cell, kind, seed, data_dir, out)
            trained = train(f"{kind}_{cell.name}", genotype, 0, data_dir, out)
            spent = {"supernet_seconds": round(training_seconds(cell)), "search_seconds": round(seconds)}
            append(table, {"kind": kind, "supernet": cell.name, **trained, **spent})


def best_of(networks: Sequence[Network], count: int) -> Network:
    """What the best by held-out accuracy of `count` random networks has, in the mean over all draws of so many."""
    order, total = sorted(networks, key=lambda network: -network.held_out), math.comb(len(networks), count)
    chances = [math.comb(len(order) - 1 - place, count - 1) / total for place in range(len(order))]
    held, test = (np.dot(chances, [network[i] for network in order]) for i in (0, 1))
    return Network(float(held), float(test))


def mean_of(networks: Sequence[Network]) -> Network:
    """The mean accuracies of networks."""
    held, test = np.mean([network[:2] for network in networks], axis=0)
    return Network(float(held), float(test))


def gain(row: dict[str, str], groups: dict[str, list[Network]]) -> tuple[float, str]:
    """Test points by which a pick exceeds the better alternative of equal cost, and which that is.

    A pick costs as much as k trainings; an anchored one ten more. The alternatives are the best of k + 1 (or k + 11)
    random `equal` networks, and the deepest of them. The better one is chosen by its held-out accuracy.
    """
    equal = groups["equal"]
    median = float(np.median([network.seconds for group in groups.values() for network in group]))
    count = math.ceil((float(row["supernet_seconds"]) + float(row["search_seconds"])) / median) + 1
    count = min(count + (ANCHORS if row["kind"] == "anchored" else 0), len(equal))
    alternatives = {
        f"best of {count} random networks": best_of(equal, count),
        "the deepest networks": mean_of([network for network in equal if not network.identities]),
    }
    name = max(alternatives, key=lambda name: alternatives[name].held_out)
    return float(row["test_top1"]) - alternatives[name].test, name


def verdict(rows: Rows, groups: dict[str, list[Network]]) -> str:
    """The table of both kinds of picks, as Markdown."""
    lines = []
    for kind in KINDS:
        picks = [row for row in rows if row["kind"] == kind]
        gains, names = zip(*(gain(row, groups) for row in picks), strict=True)
        difference: Interval = student(gains)
        tops = student([float(row["test_top1"]) for row in picks])
        worth = "yes" if difference.low > 0 else "not shown"
        lines.append([kind, str(len(picks)), f"{tops:.2f}", ", ".join(sorted(set(names))), f"{difference:+.2f}", worth])
    columns = ["picked by", "picks", "test top-1 [95% CI]", "against", "Δ [95% CI]", "worth it"]
    return markdown("Searches at equal cost", columns, lines)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        pick(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    text = verdict(read(STUDY / "picks.csv"), known())
    (STUDY / "picks.md").write_text(text)
    print(text)
