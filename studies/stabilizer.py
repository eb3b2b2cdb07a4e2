"""Tables and figures of docs/stabilizer.md.

python studies/stabilizer.py collect runs/ablation  # what scarlet-search ablate left, as CSV in docs/results/stabilizer
python studies/stabilizer.py                        # figures and tables from these files
python studies/stabilizer.py collect runs/variants stabilizer_variants  # another study, in a folder beside the first
python studies/stabilizer.py draw stabilizer_variants  # and the space behind it, if it is not nas_bench_macro
python studies/stabilizer.py shipped                # the two figures of docs/measurements.md of the supernet that ships
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from resampling import bca
from stabilizer_figures import draw_curves, draw_depth, draw_scatter, draw_similarity
from stabilizer_tables import tables
from study import LAST_PART, NAME, STATISTICS, Study, figures, read, results, write

from scarlet_models.errors import UserError
from scarlet_models.inspection.plotting import save
from scarlet_models.search.ablation.study import BATCH_NORMS, VARIANTS, Cell
from scarlet_models.search.report.figures import curves
from scarlet_models.search.scoring.figures import draw_ranking
from scarlet_models.search.supernet.stabilizer import Stabilizer
from scarlet_models.search.supernet.supernet import Supernet

_SCORED = ("genotype", "blocks", "known", "predicted", "loss")


def collect(runs: Path, name: str = NAME) -> None:
    """Copies what a study needs of each finished cell into its results: curves, rankings, similarities.

    Cells that are in the results already, perhaps from another machine, stay; those of the same name are replaced.
    """
    results(name).mkdir(parents=True, exist_ok=True)
    cells = find_cells(runs)
    update(results(name) / "curves.csv", cells, _curve)
    update(results(name) / "rankings.csv", cells, _rankings)
    update(results(name) / "similarity.csv", cells, _similarity)
    update(results(name) / "stabilizers.csv", cells, _stabilizers)
    update(results(name) / "one_shot.csv", cells, _one_shot)


def find_cells(out: Path) -> list[Cell]:
    """The cells in a folder that hold a finished supernet, by variant in the order of `VARIANTS`, and seed."""
    named = [(*path.name.rpartition("_s"), path) for path in out.glob("*_s*")]
    cells = [
        Cell(variant, int(seed), path) for variant, _, seed, path in named if variant in VARIANTS and seed.isdecimal()
    ]
    finished = [cell for cell in cells if cell.trained()]
    if not finished:
        raise UserError(f"{out} has no finished supernet in a folder such as skip_s0; scarlet-search ablate makes them")
    return sorted(finished, key=lambda cell: (list(VARIANTS).index(cell.variant), cell.seed))


def update(path: Path, cells: list[Cell], rows_of: Callable[[Cell], Iterable[dict[str, str]]]) -> None:
    """Replaces the cells' rows of a CSV."""
    new = {(cell.variant, str(cell.seed)) for cell in cells}
    rows = [row for row in read(path) if (row["variant"], row["seed"]) not in new]
    rows += [{"variant": cell.variant, "seed": str(cell.seed), **row} for cell in cells for row in rows_of(cell)]
    if rows:
        write(path, rows)


def _curve(cell: Cell) -> Iterator[dict[str, str]]:
    for row in read(cell.folder / "metrics.csv"):
        yield {key: row[key] for key in ("step", "loss", "top1", "top1_std")}


def _one_shot(cell: Cell) -> Iterator[dict[str, str]]:
    """Numbers of paths by top-1 in the last quarter of the fair steps, if choices.csv has a row a path."""
    rows = read(cell.folder / "choices.csv")
    widest = max(Counter(row["layer"] for row in rows).items(), key=lambda item: item[1], default=("", 0))[0]
    last = [row for row in rows if row["layer"] == widest and int(row["step"]) > (1 - LAST_PART) * cell.trained()]
    if {row["paths"] for row in last} == {"1"}:
        for top1, paths in sorted(Counter(float(row["top1"]) for row in last).items()):
            yield {"top1": str(top1), "paths": str(paths)}


def _rankings(cell: Cell) -> Iterator[dict[str, str]]:
    for statistics, batch_norm in zip(STATISTICS, BATCH_NORMS, strict=True):
        for row in read(cell.folder / f"rank_{batch_norm}.csv") if cell.json(f"rank_{batch_norm}.json") else ():
            yield {"batch_norm": statistics, **{key: row[key] for key in _SCORED}}


def _similarity(cell: Cell) -> Iterable[dict[str, str]]:
    path = cell.folder / "similarity.csv"
    return read(path) if path.exists() else ()


def _stabilizers(cell: Cell) -> Iterator[dict[str, str]]:
    """Each stabilizer's matrix W: cosine to the identity, as vectors, and gain (root of the mean squared)."""
    net = Supernet.from_pretrained(cell.folder)
    for name, module in net.named_modules():
        if isinstance(module, Stabilizer):
            weight = module.weight.detach()[:, :, 0, 0]
            gain = float(weight.norm() / len(weight) ** 0.5)
            cosine = float(weight.trace() / (gain * len(weight)))
            yield {"module": name, "channels": str(len(weight)), "cosine": f"{cosine:.4f}", "gain": f"{gain:.4f}"}


def draw(name: str = NAME, *space: str) -> None:
    """Figures, and the tables as Markdown beside the results."""
    study = Study(name, *space)
    for kind, figure in (
        ("curves", draw_curves(study)),
        ("scatter", draw_scatter(study)),
        ("depth", draw_depth(study)),
        ("similarity", draw_similarity(study)),
    ):
        save(figure, figures() / f"{name}_{kind}.png")
    text = tables(study)
    (results(name) / "tables.md").write_text(text)
    print(text)


def draw_shipped() -> None:
    """Scores and curve of the supernet that ships as nas_bench_macro.c10: identity initialisation, seed 1."""
    study, key = Study(), ("identity", 1)
    scores, kind = study.scores["recalibrated"][key], "recalibrated"
    tau = bca(study.taus(scores), len(study.known))
    title = f"{len(scores)} networks, Kendall's tau {tau:.3f}"
    save(draw_ranking(scores, study.known, study.blocks, kind, title), figures() / "rank_macro.png")
    steps, top1, spread = study.curves[key]
    table = {"step": steps, "top1": top1, "top1_std": spread}
    figure = curves(table, "step", "Top-1 of the paths (%)", "", {"top1": "training"})
    save(figure, figures() / "supernet_macro_top1.png")


def main() -> None:
    match sys.argv[1:]:
        case ["collect", runs, *name]:
            collect(Path(runs), *name)
        case [] | ["draw"]:
            draw()
        case ["draw", name, *space]:
            draw(name, *space)
        case ["shipped"]:
            draw_shipped()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
