"""Exported networks: what int8 costs in accuracy, and how fast they and timm's mobile networks are.

    python studies/deploy.py accuracy scarlet_b.tiny_in --calibration tiny/train --data-dir tiny --split val
    python studies/deploy.py latency --programs runs/deploy          # compiles once, then times in turns
    python studies/deploy.py pages           # the figure, and the tables as Markdown

Tables go to docs/results/deploy, the figure to docs/figures. Needs the extras export and executorch. Run nothing else
during latency.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from study import read, write
from timm.data import resolve_model_data_config

from scarlet_models.export.formats import export, run_onnx
from scarlet_models.export.network import about, export_network
from scarlet_models.export.options import SUFFIXES, ExportOptions
from scarlet_models.inspection.plotting import save, themed
from scarlet_models.inspection.timing import interleaved, median_seconds
from scarlet_models.networks import create

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "deploy"
FORMATS = ["onnx", "onnx-int8", "executorch", "executorch-int8"]
# ImageNet top-1 as the networks' papers report it; MnasNet-B1 is timm's mnasnet_100, FBNet-C its fbnetc_100.
TOP1 = {
    "scarlet_a": 76.9,
    "scarlet_b": 76.3,
    "scarlet_c": 75.6,
    "mobilenetv3_large_100": 75.2,
    "efficientnet_b0": 76.3,
    "mnasnet_100": 74.5,
    "mobilenetv2_100": 72.0,
    "fbnetc_100": 74.9,
}
PASSES = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one part of the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    accuracy = parts.add_parser("accuracy")
    accuracy.add_argument("networks", nargs="+")
    for name in ("--calibration", "--data-dir", "--split"):
        accuracy.add_argument(name, required=True)
    accuracy.add_argument("--format", default=",".join(FORMATS))
    accuracy.add_argument("--keep", nargs="*", default=[])
    accuracy.add_argument("--out", default="runs/deploy")
    latency = parts.add_parser("latency")
    latency.add_argument("networks", nargs="*", default=list(TOP1))
    latency.add_argument("--programs", type=Path, default=Path("runs/deploy"))
    latency.add_argument("--format", default=",".join(FORMATS))
    latency.add_argument("--rounds", type=int, default=20)
    parts.add_parser("pages")
    given = parser.parse_args(arguments)
    {"accuracy": measure_accuracy, "latency": measure_latency, "pages": lambda _: show_pages()}[given.part](given)


def measure_accuracy(given: argparse.Namespace) -> None:
    """Export each network with its weights, check the files on the split, and write a row for each file."""
    for name in given.networks:
        options = ExportOptions(
            name,
            format=given.format,
            calibration=given.calibration,
            keep=given.keep,
            data_dir=given.data_dir,
            split=given.split,
            out=given.out,
        )
        for kind, check in zip(options.formats, export_network(options).files.values(), strict=True):
            row = {
                "network": name,
                "format": kind,
                "top1_fp32": f"{check.top1_fp32:.2f}",
                "top1": f"{check.top1:.2f}",
                "drop": f"{check.drop:.2f}",
                "drop_ci95": f"{check.drop_ci:.2f}",
                "images": check.images,
                "logit_difference": f"{check.difference:.1e}",
                "megabytes": f"{check.size / 1e6:.2f}",
            }
            _put(RESULTS / "accuracy.csv", row, ("network", "format"))
            print(*row.values(), flush=True)


def measure_latency(given: argparse.Namespace) -> None:
    """Time batches of one image of 224 px on one thread, all networks and runtimes in turns."""
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    kinds, runs, sizes = given.format.split(","), dict[tuple[str, str], Any](), dict[tuple[str, str], int]()
    for name in given.networks:
        for kind in kinds:
            data = _program(given.programs / f"{name}{SUFFIXES[kind]}", name, kind, image)
            sizes[name, kind] = len(data)
            runs[name, kind] = partial(_runner(kind, data), image)
            print(name, kind, f"{len(data) / 1e6:.1f} MB", flush=True)
    measures = {key: partial(median_seconds, run, PASSES, image.device) for key, run in runs.items()}
    for (name, kind), seconds in interleaved(measures, given.rounds).items():
        ms = [1e3 * second for second in seconds]
        low, _, high = statistics.quantiles(ms, n=4)
        runtime, _, dtype = kind.partition("-")
        row = {
            "network": name,
            "runtime": {"onnx": "onnxruntime"}.get(runtime, runtime),
            "dtype": dtype or "fp32",
            "milliseconds": f"{statistics.median(ms):.2f}",
            "quartile1": f"{low:.2f}",
            "quartile3": f"{high:.2f}",
            "megabytes": f"{sizes[name, kind] / 1e6:.2f}",
            "published_top1": TOP1.get(name, ""),
            "rounds": given.rounds,
            "machine": platform.platform(),
        }
        _put(RESULTS / "latency.csv", row, ("network", "runtime", "dtype"))
        print(*row.values(), flush=True)


def _program(path: Path, name: str, kind: str, image: torch.Tensor) -> bytes:
    """The content of a program's file, which is written if it is not there; weights and int8 ranges are random."""
    if not path.is_file():
        torch.manual_seed(0)
        model: Any = create(name, exportable=True).eval()
        facts, calibration = about(model, resolve_model_data_config(model)), torch.randn(4, *image.shape[1:])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(export(kind, model, image, about=facts, calibration=calibration).data)
    return path.read_bytes()


def _runner(kind: str, data: bytes) -> Any:
    if kind.startswith("onnx"):
        return run_onnx(data, 1)
    from scarlet_models.export.formats import run_pte

    return run_pte(data, 1, 1)


def _put(path: Path, row: dict[str, Any], keys: Sequence[str]) -> None:
    """Add a row to a CSV, in place of an earlier one of the same keys."""
    kept = [old for old in read(path) if any(old[key] != str(row[key]) for key in keys)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, [*kept, row])


def show_pages() -> None:
    """Draw the figure, and print the tables of docs/deploy.md."""
    if (RESULTS / "accuracy.csv").is_file():
        print("| file | top-1 % | PyTorch's | difference (95% CI) | largest logit difference | MB |")
        print("|---|---|---|---|---|---|")
        for row in read(RESULTS / "accuracy.csv"):
            lost, half = float(row["drop"]), float(row["drop_ci95"])
            interval = f"{0 - lost:+.2f} [{0 - lost - half:+.2f}, {half - lost:+.2f}]"
            cells = (row["top1"], row["top1_fp32"], interval, row["logit_difference"], row["megabytes"])
            print(f"| `{row['network']}` {row['format']} | {' | '.join(cells)} |")
    if (RESULTS / "latency.csv").is_file():
        save(draw(), ROOT / "docs" / "figures" / "deploy_latency.png")
        rows = {(row["network"], row["runtime"], row["dtype"]): row for row in read(RESULTS / "latency.csv")}
        columns = list(dict.fromkeys(key[1:] for key in rows))
        print(f"\n| network | top-1 | {' | '.join(f'{runtime} {dtype}' for runtime, dtype in columns)} |")
        print("|---|---|" + "---|" * len(columns))
        for name in dict.fromkeys(key[0] for key in rows):
            found = [rows.get((name, *column)) for column in columns]
            cells = [f"{row['milliseconds']} ms, {row['megabytes']} MB" if row else "" for row in found]
            print(f"| `{name}` | {TOP1.get(name, '')} | {' | '.join(cells)} |")


@themed
def draw() -> Figure:
    """Published top-1 over measured latency: one panel a runtime, filled points for int8."""
    rows = [row for row in read(RESULTS / "latency.csv") if row["published_top1"]]
    runtimes = list(dict.fromkeys(row["runtime"] for row in rows))
    figure = Figure(figsize=(5 * len(runtimes), 4))
    panels = figure.subplots(1, len(runtimes), sharex=True, sharey=True, squeeze=False)[0]
    for panel, runtime in zip(panels, runtimes, strict=True):
        for row in (row for row in rows if row["runtime"] == runtime):
            colour = "C3" if row["network"].startswith("scarlet") else "C0"
            x, y = float(row["milliseconds"]), float(row["published_top1"])
            panel.plot(x, y, "o", color=colour, fillstyle="full" if row["dtype"] == "int8" else "none")
            if row["dtype"] == "fp32":
                above = row["network"].startswith("scarlet")  # so that names do not overlap
                place: Any = {"xytext": (0, 7), "ha": "center"} if above else {"xytext": (5, -10)}
                panel.annotate(row["network"], (x, y), textcoords="offset points", fontsize=7, **place)
        panel.set(title=f"{runtime}: fp32 (open), int8 (filled)", xlabel="latency (ms), 1 image of 224 px, 1 thread")
        panel.margins(x=0.25)
    panels[0].set_ylabel("published ImageNet top-1 of fp32 (%)")
    return figure


if __name__ == "__main__":
    main()
