"""The figures on the pages of the studies are those of docs/results, and these follow from the scores on file."""

from __future__ import annotations

import csv
import re
from itertools import pairwise
from pathlib import Path

import anchors
import baselines
import numpy as np
import pytest
from decomposition import Decomposition, tables
from stabilizer_tables import differences
from study import STATISTICS, Study, labels_of

from scarlet_models.search.scoring.known_accuracies import load_known_accuracies
from scarlet_models.space.space import SearchSpace

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RESULTS = DOCS / "results"


def _rows(path: str) -> list[dict[str, str]]:
    with (RESULTS / path).open(newline="") as file:
        return list(csv.DictReader(file))


def _row(path: str, **labels: str) -> dict[str, float]:
    """The figures of the one row with these labels."""
    (row,) = [row for row in _rows(path) if labels.items() <= row.items()]
    return {key: float(value) for key, value in row.items() if re.fullmatch(r"-?[\d.]+", value)}


def _page(name: str) -> str:
    """A page without its line breaks."""
    return re.sub(r"\s+", " ", (ROOT / name).read_text())


@pytest.fixture(scope="module")
def study() -> Study:
    return Study()


@pytest.mark.parametrize(
    ("page", "results", "captions"),
    [
        ("stabilizer_details", "stabilizer/tables", ["Training", "Ranking", "Differences", "Paths", "Signals"]),
        ("stabilizer_details", "stabilizer_variants/tables", ["Ranking"]),
        ("stabilizer_details", "stabilizer/decomposition", ["Concordance", "Concordance"]),
        ("measurements", "baselines/tables", ["Ranking", "Fronts", "NSGA-II", "Ridge"]),
    ],
)
def test_a_page_shows_the_tables_of_the_results(page: str, results: str, captions: list[str]) -> None:
    parts = (RESULTS / f"{results}.md").read_text().split("\n\n")
    shown = [table.strip() for title, table in pairwise(parts) if title.startswith(tuple(captions))]
    assert len(shown) == len(captions)
    assert all(table in (DOCS / f"{page}.md").read_text() for table in shown)


def test_the_decomposition_is_that_of_the_scores(study: Study) -> None:
    path = "stabilizer/decomposition.csv"
    assert tables(_rows(path)) == (RESULTS / "stabilizer" / "decomposition.md").read_text()
    decomposition = Decomposition(study)
    for kind in STATISTICS:
        for name, which in decomposition.kinds.items():
            row = _row(path, statistics=kind, pairs=name, variant="identity")
            interval = decomposition.over_seeds(kind, "identity", name)
            ends = [row[key] for key in ("difference", "seeds_low", "seeds_high")]
            assert [interval.value, interval.low, interval.high] == pytest.approx(ends, abs=1e-6)
            assert which.sum() / 2 == row["number"]
            assert decomposition.of_blocks(name) == pytest.approx(row["block_count"], abs=1e-6)


def test_the_study_states_what_its_results_say(study: Study) -> None:
    page, path, found = _page("docs/stabilizer.md"), "stabilizer/decomposition.csv", differences(study)
    taus = {kind: [study.tau(kind, key) for key in study.scores[kind]] for kind in STATISTICS}  # skip, torch, identity
    (skip, _, own), (skip_running, _, own_running) = (np.reshape(taus[kind], (3, 3)).mean(1) for kind in STATISTICS)
    assert f"tau is {own:.3f} with stabilizers (initialised to the identity) and {skip:.3f} with plain skips" in page
    assert f"Δ {found['tau, recalibrated']['identity']:+.3f}" in page
    assert f"{own_running:.3f} against {skip_running:.3f}, Δ {found['tau, running']['identity']:+.3f}" in page
    nine = taus["recalibrated"]
    assert f"None of the nine supernets reaches it ({min(nine):.3f} to {max(nine):.3f})" in page
    only = _row(path, statistics="running", pairs="only stabilised layers differ", variant="identity")
    assert "{variant_concordance:.3f} against {skip:.3f}, Δ {difference:+.3f}".format(**only) in page
    differ = _row(path, statistics="running", pairs="projecting identities differ in number", variant="identity")
    for row in (only, differ):
        assert "Δ {difference:+.3f} [{seeds_low:+.3f}, {seeds_high:+.3f}]".format(**row) in page
    trained = [np.mean([study.training((variant, seed)) for seed in range(3)]) for variant in ("identity", "torch")]
    assert "train to {:.1f}%, torch's random matrices to {:.1f}%".format(*trained) in page


def test_the_baselines_are_those_of_the_scores(study: Study) -> None:
    for row in baselines.ranking(study, intervals=False):
        found = _row("baselines/ranking.csv", ranked_by=row["ranked_by"], statistics=row["statistics"])
        assert float(row["tau"]) == pytest.approx(found["tau"], abs=1e-6)
    features = "depth, choices"
    labels = {"target": "accuracy", "penalty": "10", "anchors": "20", "score": "no", "features": features}
    taus = anchors.taus(anchors.features_of(study)[features], study.known, 20, anchors.PENALTIES["10"])
    assert taus.mean() == pytest.approx(_row("baselines/anchors.csv", **labels)["tau"], abs=1e-3)


def test_the_fronts_are_those_of_the_table(shared: Path) -> None:
    space = SearchSpace.load("nas_bench_macro")
    known = load_known_accuracies(shared / "data" / "nas" / "nasbench_macro_cifar10_6561.json.gz", space)
    choices = np.array([genotype.choices for genotype in known])
    table = baselines.Table(choices, space.costs(choices)[0], np.array(list(known.values())))
    found = baselines.fronts(table, labels_of(space, choices), baselines.searched())
    assert found == _rows("baselines/fronts.csv")
    assert baselines.comparisons(baselines.searched(), found) == _rows("baselines/comparisons.csv")


@pytest.mark.parametrize("name", ["README.md", "MODEL_CARD.md", "docs/measurements.md"])
def test_pages_state_the_shipped_supernets_tau_without_selection(name: str) -> None:
    """The supernet that ships is the best of its seeds: pages say so, with the mean over seeds and the block count."""
    row = _row("baselines/ranking.csv", ranked_by="identity", statistics="recalibrated")
    blocks, page = _row("baselines/ranking.csv", ranked_by="block count"), _page(name)
    assert "{tau:.3f} [{tau_low:.3f}, {tau_high:.3f}]".format(**row) in page
    assert f"{row['best_seed']:.3f}" in page
    assert f"{blocks['tau']:.3f}" in page
    assert "best of three seeds" in page


def test_whether_a_search_is_worth_it_is_told_by_the_results() -> None:
    page, rows = _page("docs/worth.md"), _rows("baselines/anchors.csv")
    for name in ("block count", "blocks at reductions, then MACs"):
        assert f"{_row('baselines/ranking.csv', ranked_by=name)['tau']:.3f} {name}" in page
    for score, words in (("no", "{:.3f} with 10, {:.3f} with 50 |"), ("yes", "{:.3f} with 10, {:.3f} with 50 (expl")):
        taus = [anchors.best_of(rows, anchors=n, score=score, **baselines.ANCHORS)["tau"] for n in ("10", "50")]
        assert words.format(*map(float, taus)) in page
    for name in ("sum of log(1 + choice)", "block count"):
        row = _row("baselines/fronts.csv", by=name)
        for figure, digits in baselines.FIGURES.items():
            assert f"{row[figure]:.{digits}f} {name}" in page
    for by, words in (("NSGA-II, 300 networks", "NSGA-II"), ("surrogate, 100 networks", "surrogate")):
        row = _row("baselines/fronts.csv", by=by)
        assert "{front:.2f} ± {front_sd:.2f}".format(**row) + f" {words}" in page
        assert "{hypervolume:.3f} ± {hypervolume_sd:.3f}".format(**row) + f" {words}" in page
