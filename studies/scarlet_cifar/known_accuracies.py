"""Trains the donor, the 40 known networks and four of them with two more seeds: a row each in known_accuracies.csv.

    python studies/scarlet_cifar/known_accuracies.py cifar10 runs/known            # one process
    python studies/scarlet_cifar/known_accuracies.py cifar10 runs/known backwards  # another, from the other end
    python studies/scarlet_cifar/known_accuracies.py known.csv                     # ground truth, in the form of ablate

If interrupted, run the same command again: it skips what has a row and resumes what has not. One thread a process.
Several processes may share the folder: each skips what another one trains. The donor is trained again where its
weights are not in the folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from jobs import InUse, run, seconds
from study import Rows, append, read, results, write

from scarlet_models.training.environment import processor

NAME = "scarlet_cifar"
RECIPE = Path(__file__).parent / "known.yaml"
DONOR = "9,10,9,9,10,9,9,9,10,9,9,9,10,9,9,9,10,9,9"
NOISE = (0, 21, 24, 36)  # networks that two more seeds train: two of each group
ANCHORS = 10


class Network(NamedTuple):
    """A known network: its accuracies in percent."""

    genotype: str
    group: str
    identities: int
    held_out: float
    test: float


def jobs() -> list[tuple[str, str, int]]:
    """Name, genotype and seed of each training; an interrupted study covers all groups of networks alike."""
    genotypes = [row["genotype"] for row in fixed()]
    order = sorted(range(len(genotypes)), key=lambda i: 17 * i % len(genotypes))
    first = [("donor", DONOR, 0), *((f"{i:02d}", genotypes[i], 0) for i in order)]
    return first + [(f"{i:02d}", genotypes[i], seed) for i in NOISE for seed in (1, 2)]


def fixed() -> Rows:
    """The networks that were fixed beforehand."""
    return read(results(NAME) / "known_networks.csv")


def table() -> Path:
    """The rows of finished trainings."""
    return results(NAME) / "known_accuracies.csv"


def networks() -> list[Network]:
    """The known networks with the accuracies of seed 0; the program ends if some are not trained yet."""
    trained = {row["network"]: row for row in read(table()) if row["seed"] == "0"}
    rows = {f"{number:02d}": row for number, row in enumerate(fixed())}
    if missing := [number for number in rows if number not in trained]:
        sys.exit(f"{table()} lacks {len(missing)} of {len(rows)} known networks: {', '.join(missing)}")
    found = []
    for number, row in rows.items():
        accuracies = (float(trained[number][name]) for name in ("holdout_top1", "test_top1"))
        found.append(Network(row["genotype"], row["group"], int(row["identities"]), *accuracies))
    return found


def draw_anchors(groups: list[str], draw: int) -> np.ndarray:
    """Indices of ten `spread` networks among all."""
    spread = np.flatnonzero(np.array(groups) == "spread")
    return np.sort(np.random.default_rng(draw).choice(spread, ANCHORS, replace=False))


def training_seconds(rows: Rows, machine: str) -> float:
    """Median CPU seconds of a training on a machine, over the rows whose time is complete."""
    known = [float(row["cpu_seconds"]) for row in rows if row["machine"] == machine and row["cpu_seconds"]]
    if not known:
        sys.exit(f"no training has complete cpu_seconds on {machine}")
    return float(np.median(known))


def write_known(path: Path) -> None:
    """The ground truth as CSV: genotype and accuracy on the test images, seed 0, without the donor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, [{"genotype": network.genotype, "accuracy": network.test} for network in networks()])
    print(f"{path}: {len(networks())} networks")


def train(name: str, genotype: str, seed: int, data_dir: str, out: Path) -> dict[str, object]:
    """Train one network, score it on the test images, and return its row. `InUse`: another process does it."""
    folder = out / f"{name}_s{seed}"
    command = ["retrain", "--config", str(RECIPE), "--data-dir", data_dir, "--space", NAME, "--genotype", genotype]
    if not (folder / "final.json").exists():
        run([*command, "--seed", str(seed), "--final", "--resume"], folder)
    last, final = read(folder / "metrics.csv")[-1], json.loads((folder / "final.json").read_text())
    figures = {"train_top1": last["train_top1"], "holdout_top1": last["holdout_top1"], "test_top1": final["top1"]}
    spent = seconds(folder).get("train")  # none if an earlier call did not keep its time
    cost = "" if spent is None else round(spent)
    row = {"network": name, "genotype": genotype, "seed": seed, **figures, "cpu_seconds": cost}
    return {**row, "machine": processor()}


def main(data_dir: str, out: Path, backwards: bool = False) -> None:
    """Train what has no row yet."""
    for name, genotype, seed in jobs()[:: -1 if backwards else 1]:
        if _has_row(name, seed) and (name != "donor" or (out / "donor_s0" / "final.json").exists()):
            continue
        try:
            row = train(name, genotype, seed, data_dir, out)
        except InUse as error:
            print(f"{error}; it is skipped", flush=True)
            continue
        if _has_row(name, seed):  # the donor again, or a process that shares the work was faster
            others = [other for other in read(table()) if (other["network"], other["seed"]) != (name, str(seed))]
            write(table(), [*others, row])
        else:
            append(table(), row)


def _has_row(name: str, seed: int) -> bool:
    return (name, str(seed)) in {(row["network"], row["seed"]) for row in read(table())}


if __name__ == "__main__":
    match sys.argv[1:]:
        case [path] if path.endswith(".csv"):
            write_known(Path(path))
        case [data_dir, out]:
            main(data_dir, Path(out))
        case [data_dir, out, "backwards"]:
            main(data_dir, Path(out), backwards=True)
        case _:
            sys.exit(__doc__)
