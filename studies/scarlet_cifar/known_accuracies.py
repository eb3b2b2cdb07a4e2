"""Trains the donor, the 40 known networks and four of them with two more seeds: a row each in known_accuracies.csv.

python studies/scarlet_cifar/known_accuracies.py cifar10 runs/known

If interrupted, run the same command again: it skips what has a row and resumes what has not. One thread.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

STUDY = Path(__file__).parents[2] / "docs" / "results" / "scarlet_cifar"
DONOR = "9,10,9,9,10,9,9,9,10,9,9,9,10,9,9,9,10,9,9"
NOISE = (0, 21, 24, 36)  # networks that two more seeds train: two of each group
COLUMNS = ("network", "genotype", "seed", "train_top1", "holdout_top1", "test_top1", "cpu_seconds")


def jobs() -> list[tuple[str, str, int]]:
    """Name, genotype and seed of each training; an interrupted study covers all groups of networks alike."""
    genotypes = [row["genotype"] for row in csv.DictReader((STUDY / "known_networks.csv").open())]
    order = sorted(range(len(genotypes)), key=lambda i: 17 * i % len(genotypes))
    first = [("donor", DONOR, 0), *((f"{i:02d}", genotypes[i], 0) for i in order)]
    return first + [(f"{i:02d}", genotypes[i], seed) for i in NOISE for seed in (1, 2)]


def train(name: str, genotype: str, seed: int, data_dir: str, out: Path) -> dict[str, object]:
    """Train one network, score it on the test images, and return its row."""
    folder, before = out / f"{name}_s{seed}", os.times().children_user
    command = [
        sys.executable,
        "-m",
        "scarlet_models.search",
        "retrain",
        "--config",
        str(Path(__file__).parent / "known.yaml"),
    ]
    command += ["--data-dir", data_dir, "--space", "scarlet_cifar", "--genotype", genotype, "--seed", str(seed)]
    subprocess.run([*command, "--final", "--resume", "--out", str(folder)], check=True)
    last = list(csv.DictReader((folder / "metrics.csv").open()))[-1]
    final = json.loads((folder / "final.json").read_text())
    figures = {"train_top1": last["train_top1"], "holdout_top1": last["holdout_top1"], "test_top1": final["top1"]}
    seconds = round(os.times().children_user - before)
    return {"network": name, "genotype": genotype, "seed": seed, **figures, "cpu_seconds": seconds}


def main() -> None:
    """Train what has no row yet."""
    data_dir, out = sys.argv[1], Path(sys.argv[2])
    table = STUDY / "known_accuracies.csv"
    done = {(row["network"], row["seed"]) for row in csv.DictReader(table.open())} if table.exists() else set()
    for name, genotype, seed in jobs():
        if (name, str(seed)) in done:
            continue
        row = train(name, genotype, seed, data_dir, out)
        new = not table.exists()
        with table.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)


if __name__ == "__main__":
    main()
