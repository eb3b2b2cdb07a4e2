"""Transfer: fine-tuning from `tiny_in`, training from random weights and a linear probe, with the same recipe.

    python studies/transfer.py run cifar10 imagenette runs/transfer     # cifar10/{train,test}, imagenette/{train,val}
    python studies/transfer.py table

Both data sets are small: 500 images a class of CIFAR-10's training part, and 3,000 images of Imagenette. The recipe was
fixed before the first run. A row of docs/results/transfer/transfer.csv is a run; what has a row is not run again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from study import append, read, results

NETWORK, SEEDS = "scarlet_a.tiny_in", (0, 1)
PROBE = "{layer_decay: 0.1, layer_decay_no_opt_scale: 0.5}"  # timm freezes all but the classifier
STARTS = {
    "tiny_in": ["--model", NETWORK],
    "random": ["--model", "scarlet_a", "--zero-init"],
    "frozen": ["--model", NETWORK, "--opt-args", PROBE],
}
COMMON = ["--holdout", "0.1", "--workers", "0", "--threads", "1", "--hflip", "0.5", "--color-jitter", "0"]
COMMON += ["--epochs", "10", "--batch-size", "64", "--opt", "nmuon", "--lr", "0.003", "--weight-decay", "0.05"]
COMMON += ["--warmup-epochs", "0.5", "--ema-decay", "0", "--label-smoothing", "0.1"]
DATA = {  # options, test split, images a class of the training part (0: all)
    "cifar10": (["--image-size", "64", "--crop", "pad", "--crop-pct", "1.0"], "test", 500),
    "imagenette": (["--image-size", "96", "--crop", "[0.35, 1.0]"], "val", 0),
}
TABLE = "transfer.csv"


def few(source: Path, out: Path, count: int) -> Path:
    """A data set with the first `count` training images of each class, as hard links, and all others."""
    for folder in sorted((source / "train").iterdir()):
        (out / "train" / folder.name).mkdir(parents=True, exist_ok=True)
        for image in sorted(folder.iterdir())[:count]:
            linked = out / "train" / folder.name / image.name
            if not linked.exists():
                os.link(image, linked)
    if not (out / "test").exists():
        (out / "test").symlink_to((source / "test").resolve())
    return out


def command(*arguments: str) -> str:
    """What a command of scarlet-models prints."""
    program = str(Path(sys.executable).with_name("scarlet-models"))
    return subprocess.run([program, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def run(cifar10: Path, imagenette: Path, out: Path) -> None:
    """Train and test what has no row yet."""
    table = results("transfer") / TABLE
    table.parent.mkdir(exist_ok=True)
    folders = {"cifar10": few(cifar10, out / "cifar10", DATA["cifar10"][2]), "imagenette": imagenette}
    for seed in SEEDS:
        for data, folder in folders.items():
            for start in STARTS:
                done = {(row["data"], row["start"], int(row["seed"])) for row in read(table)}
                if (data, start, seed) not in done:
                    append(table, _row(data, folder, start, seed, out))


def _row(data: str, folder: Path, start: str, seed: int, out: Path) -> dict[str, object]:
    own, split, _ = DATA[data]
    name, before = out / f"{data}_{start}_s{seed}", os.times().children_user
    train = ["train", *COMMON, *own, *STARTS[start], "--seed", str(seed), "--data-dir", str(folder), "--out", str(name)]
    command(*train, "--resume")
    seconds = round(os.times().children_user - before)
    last = read(name / "metrics.csv")[-1]
    tested = command("evaluate", str(name), "--data-dir", str(folder), "--test-split", split, "--final", "--json")
    figures = {"train_top1": last["train_top1"], "holdout_top1": last["holdout_top1"]}
    return {
        "data": data,
        "start": start,
        "seed": seed,
        **figures,
        "test_top1": json.loads(tested)["top1"],
        "cpu_seconds": seconds,
    }


def table() -> None:
    """The table of the page: test top-1 in percent, mean over the seeds and half their range."""
    rows = read(results("transfer") / TABLE)
    print("| data | " + " | ".join(STARTS) + " |\n|---|" + "---|" * len(STARTS))
    for data in DATA:
        cells = []
        for start in STARTS:
            found = [float(row["test_top1"]) for row in rows if (row["data"], row["start"]) == (data, start)]
            cells.append(f"{np.mean(found):.1f} ± {np.ptp(found) / 2:.1f}" if found else "-")
        print(f"| {data} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(*(Path(argument) for argument in sys.argv[2:5]))
    else:
        table()
