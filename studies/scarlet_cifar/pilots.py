"""Pilots of the supernets' learning rate: 150 fair steps, seed 99, three rates a variant, a row each in pilots.csv.

python studies/scarlet_cifar/pilots.py cifar10 runs/known/donor_s0/exported/donor_s0 runs/pilots

Each variant takes the rate of the highest one-shot accuracy on held-out images: the mean of 13 fixed paths on 2,000 of
them. No known network is scored. If interrupted, run the same command again.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from jobs import InUse, run
from known_accuracies import NAME
from study import append, read, results
from verdicts import PLAIN, STABILIZED

from scarlet_models.search.ablation.study import VARIANTS

RECIPE = Path(__file__).parent / "supernet.yaml"
RATES, STEPS, SEED = ("0.02", "0.05", "0.1"), 150, 99


def main(data_dir: str, donor: str, out: Path, steps: int = STEPS) -> None:
    """Train what has no row yet, and print each variant's rate."""
    table = results(NAME) / "pilots.csv"
    for rate in RATES:
        for variant in (PLAIN, STABILIZED):
            if (variant, rate) not in {(row["variant"], row["lr"]) for row in read(table)}:
                try:
                    top1 = train(variant, rate, data_dir, donor, out / f"{variant}_{rate}", steps)
                    append(table, {"variant": variant, "lr": rate, "steps": steps, "holdout_top1": top1})
                except InUse as error:
                    print(f"{error}; it is skipped", flush=True)
    for variant in (PLAIN, STABILIZED):
        rows = [row for row in read(table) if row["variant"] == variant]
        if len(rows) < len(RATES):
            sys.exit(f"{table}: {len(RATES) - len(rows)} pilots of {variant} are missing")
        best = max(rows, key=lambda row: float(row["holdout_top1"]))
        print(f"{variant}: --train.lr {best['lr']} (held-out one-shot top-1 {float(best['holdout_top1']):.2f}%)")


def train(variant: str, rate: str, data_dir: str, donor: str, folder: Path, steps: int) -> str:
    """The held-out one-shot accuracy after a pilot; 0 if its loss was not finite."""
    command = ["train", "--config", str(RECIPE), "--data-dir", data_dir, "--inherit", donor, "--lr", rate]
    command += ["--steps", str(steps), "--seed", str(SEED), "--resume"]
    for name, value in VARIANTS[variant].items():
        command += [f"--{name}", value]
    try:
        run(command, folder)
    except SystemExit as ended:
        if ended.code == 143 or not read(folder / "metrics.csv"):  # stopped, or nothing was trained
            raise
        print(f"{ended.code}; it counts as diverged", flush=True)
        return "0"
    return read(folder / "metrics.csv")[-1]["holdout_top1"]


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
