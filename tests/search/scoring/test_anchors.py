"""Anchors: the regression on made-up accuracies and on NAS-Bench-Macro, and the command on a tiny random supernet."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.supernets import write_images, write_supernet

from scarlet_models import UserError
from scarlet_models.search import cli
from scarlet_models.search.scoring.anchors import Anchors
from scarlet_models.search.scoring.known_accuracies import load_anchors
from scarlet_models.search.scoring.ranking import kendall
from scarlet_models.search.scoring.score_cache import Score
from scarlet_models.space.space import Genotype, SearchSpace

RANKINGS = Path(__file__).parents[3] / "docs/results/stabilizer/rankings.csv"
MACRO = SearchSpace.load("nas_bench_macro")


def macro() -> tuple[list[Genotype], np.ndarray, list[Score]]:
    """500 networks with their known accuracies and a supernet's scores, whose losses are not on file."""
    with RANKINGS.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["variant"], r["seed"], r["batch_norm"]) == WANTED]
    genotypes = [Genotype.parse(row["genotype"], MACRO) for row in rows]
    known = np.array([float(row["known"]) for row in rows])
    return genotypes, known, [Score(float(row["predicted"]), 0.0, 1) for row in rows]


WANTED = ("torch", "0", "recalibrated")


def test_ten_anchors_correct_a_supernet() -> None:
    genotypes, known, scores = macro()
    drawn = np.random.default_rng(0).permutation(len(known))
    chosen, others = drawn[:10], drawn[10:]
    anchors = Anchors({genotypes[i]: known[i] for i in chosen}, [scores[i] for i in chosen])
    rows = np.array([genotypes[i].choices for i in others])
    predicted = anchors.predict(rows, [scores[i] for i in others])
    assert ((predicted > 0) & (predicted < 100)).all()
    tau, alone = kendall(predicted, known[others]), kendall(anchors.predict_without(rows), known[others])
    raw = kendall(np.array([scores[i].top1 for i in others]), known[others])
    assert tau > 0.75 and tau > alone and tau > raw + 0.05
    assert anchors.better
    report = anchors.report()
    assert report["networks"] == 10 and report["anchored"]["error"] < report["score"]["error"]
    assert report["score_tau"] == pytest.approx(kendall(np.array([scores[i].top1 for i in chosen]), known[chosen]))
    assert anchors.summary().startswith("10 anchors, cross-validated: Kendall's tau ")
    assert "The corrected scores predict them better" in anchors.summary()


def test_scores_that_say_it_all_are_not_corrected() -> None:
    space, rng = SearchSpace.load("mini"), np.random.default_rng(0)
    known = {space.sample(rng): accuracy for accuracy in rng.uniform(40, 90, 40)}
    log_odds = np.array([np.log(a / (100 - a)) for a in known.values()])
    anchors = Anchors(known, [Score(float(value), float(-value), 1) for value in log_odds])
    assert not anchors.better
    assert "The raw scores predict them no worse" in anchors.summary()


def test_a_loss_that_is_not_finite_counts_as_the_largest_of_the_anchors() -> None:
    genotypes, known, scores = macro()
    overflown = {0: np.nan, 1: np.inf}
    losses = [overflown.get(i, 3 - score.top1 / 50) for i, score in enumerate(scores[:40])]
    scores = [Score(score.top1, loss, 1) for score, loss in zip(scores, losses, strict=False)]
    chosen = dict(zip(genotypes[:20], known[:20].tolist(), strict=True))
    anchors = Anchors(chosen, scores[:20])
    worst = Score(scores[0].top1, max(losses[2:20]), 1)
    rows = np.array([genotypes[0].choices, genotypes[30].choices])
    predicted = anchors.predict(rows, [scores[0], scores[30]])
    assert predicted.tolist() == anchors.predict(rows, [worst, scores[30]]).tolist()
    lost = [Score(score.top1, np.nan, 1) for score in scores[:20]]
    assert np.isfinite([*predicted, *Anchors(chosen, lost).predict(rows, lost[:2])]).all()


@pytest.mark.parametrize("count", [0, 4])
def test_too_few_anchors_are_refused(tmp_path: Path, count: int) -> None:
    rows = "".join(f'"0,0,0,0,{i}",{70 + i}\n' for i in range(count))
    (tmp_path / "few.csv").write_text("genotype,accuracy\n" + rows)
    with pytest.raises(
        UserError, match="has no accuracies" if not count else "4 networks; give at least 5 that differ"
    ):
        load_anchors(str(tmp_path / "few.csv"), SearchSpace.load("mini"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, the run of a supernet, known accuracies, and some of them as anchors."""
    root = tmp_path_factory.mktemp("anchors")
    write_images(root / "data")
    write_supernet(root / "data", root / "run")
    space, rng = SearchSpace.load("mini"), np.random.default_rng(1)
    known = sorted({str(space.sample(rng).canonical()): float(rng.uniform(60, 90)) for _ in range(40)}.items())
    for name, rows in (("known.csv", known), ("anchors.csv", known[::4])):
        (root / name).write_text("genotype,accuracy\n" + "".join(f'"{g}",{a}\n' for g, a in rows))
    return root


def arguments(run: Path, out: Path) -> list[str]:
    data = ["--data-dir", str(run / "data"), "--workers", "0", "--calibration-images", "20", "--batch-size", "10"]
    return [str(run / "run"), *data, "--out", str(out), "--anchors", str(run / "anchors.csv")]


def test_rank_compares_anchored_scores_on_the_other_networks(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["--known", str(run / "known.csv"), "--networks", "0", "--bootstrap", "50"]
    assert cli.main(["rank", *arguments(run, tmp_path), *wanted]) == 0
    printed = capsys.readouterr().out
    assert "anchors, cross-validated" in printed and "supernet + anchors" in printed
    assert "the same regression without it" in printed  # in the verdict
    report = json.loads((tmp_path / "rank_recalibrated.json").read_text())
    assert report["anchored"]["networks"] == 10
    assert report["networks"] == len(load_genotypes(run / "known.csv")) - 10
    assert report["gain_over_anchors_alone"]["low"] <= report["gain_over_anchors_alone"]["value"]
    with (tmp_path / "rank_recalibrated.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(0 < float(row["anchored"]) < 100 for row in rows)
    assert not {row["genotype"] for row in rows} & set(load_genotypes(run / "anchors.csv"))
    assert cli.main(["rank", *arguments(run, tmp_path), "--known", str(run / "anchors.csv")]) == 2
    assert "every network in it is an anchor" in capsys.readouterr().err


def load_genotypes(path: Path) -> list[str]:
    with path.open() as file:
        return [row["genotype"] for row in csv.DictReader(file)]


def test_evolve_searches_with_corrected_scores_and_keeps_the_raw_ones(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--population", "8", "--generations", "2"]
    for better in (True, False):  # random accuracies are no ground to choose on
        monkeypatch.setattr(
            Anchors, "better", property(lambda _, better=better: better, lambda *_: None), raising=False
        )
        assert cli.main(["evolve", *arguments(run, tmp_path), *few]) == 0
        assert "anchors, cross-validated" in capsys.readouterr().out
        report = json.loads((tmp_path / "search.json").read_text())
        measured = [json.loads(line) for line in (tmp_path / "evaluations.jsonl").read_text().splitlines()]
        top1 = {row["genotype"]: row["top1"] for row in measured}
        assert set(load_genotypes(run / "anchors.csv")) <= set(top1)
        assert report["anchors"]["networks"] == 10 and report["anchors"]["better"] == better
        assert report["images"] == (0 if better else 24)  # for error bars, which corrected scores have not
        for record in report["front"]:
            assert record["score" if better else "accuracy"] == top1[record["genotype"]]
            assert ("score" in record) == better
    assert cli.main(["evolve", "--known", str(run / "known.csv"), "--space", "mini", "--anchors", "x"]) == 2
    assert "--anchors corrects the scores of a supernet" in capsys.readouterr().err


def test_a_mistake_measures_no_anchor_and_a_killed_search_resumes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["evolve", *arguments(run, tmp_path), "--population", "8", "--generations", "2", "--resume"]
    assert cli.main([*line, "--objectives", "[acuracy]"]) == 2
    assert not (tmp_path / "evaluations.jsonl").exists()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Anchors, "__init__", killed)  # once the anchors are measured
        assert cli.main(line) == 130
    assert (tmp_path / "evaluations.jsonl").exists() and (tmp_path / "config.yaml").exists()
    assert cli.main(line) == 0
    before = (tmp_path / "search.json").read_text()
    (tmp_path / "few.csv").write_text('genotype,accuracy\n"0,0,0,0,0",70\n')
    assert cli.main([*line, "--anchors", str(tmp_path / "few.csv"), "--allow-drift"]) == 2
    assert "1 networks; give at least 5 that differ" in capsys.readouterr().err
    assert (tmp_path / "search.json").read_text() == before
