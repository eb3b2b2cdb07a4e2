"""Ranking: the statistics, the score cache, and the command on a tiny random supernet."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.supernets import write_images, write_supernet
from PIL import Image

import scarlet_models.search
from scarlet_models import UserError
from scarlet_models.search import cli
from scarlet_models.search.commands import rank
from scarlet_models.search.scoring import heldout
from scarlet_models.search.scoring.heldout import HeldOut, open_supernet
from scarlet_models.search.scoring.options import HeldOutOptions, ScoreOptions
from scarlet_models.search.scoring.rank import choose_networks, rank_networks
from scarlet_models.search.scoring.ranking import FEWEST, Estimate, bootstrap, kendall, spearman, top_k
from scarlet_models.search.scoring.score_cache import Score, ScoreCache
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, the run of a supernet, and a table of known accuracies."""
    root = tmp_path_factory.mktemp("rank")
    write_images(root / "data")
    write_supernet(root / "data", root / "run")
    space, rng = SearchSpace.load("mini"), np.random.default_rng(1)
    known = {str(space.sample(rng).canonical()): rng.uniform(60, 90) for _ in range(30)}
    (root / "known.csv").write_text("genotype,accuracy\n" + "".join(f'"{g}",{a}\n' for g, a in known.items()))
    return root


def options(run: Path, out: Path, **changes: object) -> rank.Options:
    chosen = {
        "supernet": str(run / "run"),
        "known": str(run / "known.csv"),
        "data_dir": str(run / "data"),
        "workers": 0,
        "out": str(out),
        "networks": 12,
        "bootstrap": 50,
        "calibration_images": 20,
        "batch_size": 10,
    }
    return rank.Options(**{**chosen, **changes})


# Statistics


def test_kendall_counts_pairs() -> None:
    predicted, known = np.array([3.0, 1, 2, 5, 5]), np.array([1.0, 2, 3, 4, 5])
    pairs = [(i, j) for i in range(5) for j in range(i)]
    signs = [(np.sign(predicted[i] - predicted[j]), np.sign(known[i] - known[j])) for i, j in pairs]
    agreement = sum(a * b for a, b in signs)
    untied = [sum(sign[side] != 0 for sign in signs) for side in (0, 1)]
    assert kendall(predicted, known) == pytest.approx(agreement / (untied[0] * untied[1]) ** 0.5)
    assert kendall(known, known) == pytest.approx(1)
    assert kendall(-known, known) == pytest.approx(spearman(-known, known)) == pytest.approx(-1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    true_tau = 2 / np.pi * np.arcsin(0.6)  # Kendall's tau of a bivariate normal with correlation 0.6
    covered = []
    for seed in range(30):
        x, noise = rng.standard_normal((2, 80))
        estimate = bootstrap(kendall, x, 0.6 * x + 0.8 * noise, samples=100, seed=seed)
        covered.append(estimate.low <= true_tau <= estimate.high)
        assert estimate.low <= estimate.value <= estimate.high
    assert np.mean(covered) >= 0.85


def test_what_has_no_order_has_no_estimate() -> None:
    nothing = Estimate()
    for statistic in (kendall, spearman):
        assert bootstrap(statistic, np.ones(5), np.arange(5.0)) == nothing
        assert bootstrap(statistic, np.array([1.0]), np.array([1.0])) == nothing
        assert bootstrap(statistic, np.arange(30.0), np.arange(30.0), samples=0) == Estimate(pytest.approx(1))
        assert bootstrap(statistic, np.arange(9.0), np.arange(9.0)) == Estimate(pytest.approx(1))  # too few networks


def test_top_k() -> None:
    predicted, known = np.array([50.0, 60, 70, 40]), np.array([90.0, 80, 70, 60])
    best = top_k(predicted, known, 1)
    assert (best.best, best.regret) == (70, 20)
    two = top_k(predicted, known, 2)
    assert (two.best, two.mean, two.regret, two.mean_regret) == (80, 75, 10, 10)
    assert top_k(predicted, known, 9).k == 4
    assert top_k(known, known, 3).mean_regret == 0


# Score cache


def test_the_score_cache_keeps_conditions_apart(tmp_path: Path) -> None:
    genotype = Genotype.parse("0,1,2,0,1", "mini")
    path = tmp_path / "new" / "evaluations.jsonl"
    score_cache = ScoreCache(path, {"supernet": "a"})
    assert score_cache.known == {}
    score_cache.add(genotype, Score(1 / 3, 0.5, 9))
    assert ScoreCache(path, {"supernet": "a"}).known == score_cache.known == {genotype.choices: Score(1 / 3, 0.5, 9)}
    assert ScoreCache(path, {"supernet": "b"}).known == {}
    assert ScoreCache(path, {"supernet": "a", "dtype": "float64"}).known == {}


def test_the_score_cache_drops_a_torn_last_line_only(tmp_path: Path) -> None:
    first, second = (Genotype.parse(text, "mini") for text in ("0,1,2,0,1", "0,0,0,0,0"))
    path = tmp_path / "evaluations.jsonl"
    score_cache = ScoreCache(path, {"supernet": "a"})
    high, low = Score(50.0, 1.5, 9), Score(60.0, 1.0, 9)
    score_cache.add(first, high)
    score_cache.add(second, low)
    whole = path.read_bytes()
    for end in range(len(whole) // 2 + 1, len(whole)):
        path.write_bytes(whole[:end])
        torn = ScoreCache(path, {"supernet": "a"})
        assert torn.known == {first.choices: high}
        torn.add(second, low)
        assert path.read_bytes() == whole
    path.write_bytes(b"{\n" + whole)
    with pytest.raises(UserError, match=r"evaluations.jsonl:1: not a measurement"):
        ScoreCache(path, {"supernet": "a"})


# Held-out images


def test_scores_never_come_from_images_of_the_training(run: Path) -> None:
    info = open_supernet(run / "run").info
    held = HeldOut(HeldOutOptions(data_dir=str(run / "data"), workers=0, batch_size=7), info)
    assert set(held.held) == set(held.split.holdout)
    data = held.batches(torch.device("cpu"))
    assert sum(len(labels) for _, labels in data) == 24
    assert [len(labels) for _, labels in data] == [6, 6, 6, 6]
    calibration, digest = held.calibration(10, torch.device("cpu"))
    scored = torch.cat([images for images, _ in data]).flatten(1)
    others = torch.cat([images for images, _ in calibration]).flatten(1)
    assert len(others) == 10
    assert torch.cdist(others, scored).min() > 0
    ten, again, eleven = (
        held.conditions(ScoreOptions(calibration_images=count))["calibration"] for count in (10, 10, 11)
    )
    assert ten == again == digest != eleven
    assert held.conditions(ScoreOptions(batch_norm="running"))["calibration"] is None


def test_other_images_are_refused(run: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "other", each=21)
    info = open_supernet(run / "run").info
    with pytest.raises(UserError, match="have other names than those of the supernet's training"):
        HeldOut(HeldOutOptions(data_dir=str(tmp_path / "other")), info)
    shutil.rmtree(next((tmp_path / "other" / "train").iterdir()))
    with pytest.raises(UserError, match="other classes"):
        HeldOut(HeldOutOptions(data_dir=str(tmp_path / "other"), other_copy=True), info)


def test_another_copy_of_the_images_is_taken_where_asked_for(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "data", tmp_path / "copy")
    for image in (tmp_path / "copy" / "train").glob("*/*"):
        image.rename(image.with_name(f"my_{image.name}"))
    info = open_supernet(run / "run").info
    copy = HeldOut(HeldOutOptions(data_dir=str(tmp_path / "copy"), other_copy=True), info)
    same = HeldOut(HeldOutOptions(data_dir=str(run / "data"), other_copy=True), info)
    assert same.recognised and not copy.recognised
    test = HeldOutOptions(data_dir=str(tmp_path / "copy"), train_split="test", other_copy=True)
    (tmp_path / "copy" / "train").rename(tmp_path / "copy" / "test")
    with pytest.raises(UserError, match="--train-split test: the supernet was trained on train"):
        HeldOut(test, info)
    assert len(copy.held) == len(same.held) and copy.conditions(ScoreOptions()) != same.conditions(ScoreOptions())


# The command


def test_rank_writes_scores_statistics_and_plot(run: Path, tmp_path: Path) -> None:
    rank.main(options(run, tmp_path))
    report = json.loads((tmp_path / "rank_recalibrated.json").read_text())
    with (tmp_path / "rank_recalibrated.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == report["networks"] == sum(group["networks"] for group in report["by_blocks"]) == 12
    predicted, known = (np.array([float(row[key]) for row in rows]) for key in ("predicted", "known"))
    assert report["kendall_tau"]["value"] == pytest.approx(kendall(predicted, known))
    assert report["spearman"]["value"] == pytest.approx(spearman(predicted, known))
    assert report["best_known"] == known.max()
    names = [row["name"] for row in report["predictors"]]
    assert names[:5] == ["supernet, top-1", "supernet, loss", "blocks", "MACs", "params"] and len(names) == 6
    assert report["predictors"][0]["tau"] == report["kendall_tau"]
    assert report["verdict"] and report["best_label_free"] in names[2:]
    assert all(float(row["loss"]) > 0 for row in rows)
    assert [row["k"] for row in report["top_k"]] == [1, 5, 10]
    for group in report["by_blocks"]:
        assert (group["kendall_tau"]["value"] is None) == (group["networks"] < FEWEST)
    for row in rows:
        genotype = Genotype.parse(row["genotype"], "mini")
        assert genotype.canonical() == genotype
        assert int(row["blocks"]) == sum(choice != 3 for choice in genotype)
        assert int(row["macs"]) == genotype.cost().macs
    with Image.open(tmp_path / "rank_recalibrated.png") as image:
        assert image.size == (750, 600)  # the style of all figures


def measured_by(wanted: rank.Options) -> tuple[dict[Genotype, float], list[float]]:
    """Top-1 and loss of each network."""
    ranking = rank_networks(wanted)
    return ranking.scores, ranking.columns["loss"].tolist()


def test_nothing_is_measured_twice(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Genotype] = []

    def counting(score_cache: ScoreCache, genotype: Genotype, score: Score) -> None:
        measured.append(genotype)
        add(score_cache, genotype, score)

    add = ScoreCache.add
    monkeypatch.setattr(ScoreCache, "add", counting)
    whole = measured_by(options(run, tmp_path / "whole"))
    assert len(measured) == 12
    lines = (tmp_path / "whole" / "evaluations.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "evaluations.jsonl").write_text("".join(lines[:7]) + lines[7][:30])
    measured.clear()
    assert measured_by(options(run, tmp_path / "killed")) == whole
    assert len(measured) == 5
    measured.clear()
    rank_networks(options(run, tmp_path / "killed", networks=20))
    assert len(measured) == 8
    measured.clear()
    rank_networks(options(run, tmp_path / "killed", batch_norm="running"))
    assert len(measured) == 12
    measured.clear()
    rank_networks(options(run, tmp_path / "killed", amp="bf16"))
    assert len(measured) == 12


def test_more_images_than_memory_holds_are_read_anew_and_score_the_same(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measured_by(options(run, tmp_path / "whole"))
    monkeypatch.setattr(heldout, "IN_MEMORY", 0)
    info = open_supernet(run / "run").info
    data = HeldOut(HeldOutOptions(data_dir=str(run / "data"), workers=0), info).batches(torch.device("cpu"))
    assert not isinstance(data, list)
    assert measured_by(options(run, tmp_path / "read")) == whole


def test_reduced_precision_is_what_runs(run: Path, tmp_path: Path) -> None:
    float32 = rank_networks(options(run, tmp_path)).networks
    rank_networks(options(run, tmp_path, amp="bf16"))
    losses: dict[str, list[float]] = {}
    for line in (tmp_path / "evaluations.jsonl").read_text().splitlines():
        losses.setdefault(json.loads(line)["genotype"], []).append(json.loads(line)["loss"])
    assert len(losses) == len(float32)
    assert all(0 < abs(ours - theirs) < 0.2 for ours, theirs in losses.values())


def test_a_larger_sample_contains_the_smaller_one() -> None:
    known = list(SearchSpace.load("mini"))
    small, large, everything = (choose_networks(known, count, 3) for count in (50, 80, 0))
    assert set(small) < set(large) < set(everything) == set(known)
    assert large == sorted(large, key=lambda genotype: genotype.choices)
    assert choose_networks(known[::-1], 50, 3) == small != choose_networks(known, 50, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--known", "none.csv"], "cannot read known accuracies from none.csv"),
        (["--networks", "-1"], "--networks: -1 is below 0"),
        (["--top", "[0]"], "--top: 0 is below 1"),
        (["--data-dir", "none"], "none does not exist"),
        (["--batch-norm", "other"], "--batch-norm: 'other' is not one of recalibrated, running"),
    ],
)
def test_mistakes_get_one_line(
    run: Path, tmp_path: Path, changes: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--known", str(run / "known.csv"), "--data-dir", str(run / "data"), "--out", str(tmp_path), *changes]
    assert cli.main(["rank", str(run / "run"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_rank_prints_json(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--known", str(run / "known.csv"), "--data-dir", str(run / "data"), "--out", str(tmp_path)]
    few = ["--networks", "5", "--bootstrap", "10", "--batch-norm", "running", "--workers", "0"]
    assert cli.main(["rank", str(run / "run"), *arguments, *few, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["networks"] == 5
    assert cli.main(["rank", str(run / "run"), *arguments, *few]) == 0
    assert "Kendall's tau" in capsys.readouterr().out


def test_few_networks_have_no_interval(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--known", str(run / "known.csv"), "--data-dir", str(run / "data"), "--out", str(tmp_path)]
    assert cli.main(["rank", str(run / "run"), *arguments, "--networks", "3", "--workers", "0"]) == 0
    printed = capsys.readouterr().out
    assert "3 networks are too few for an interval: it takes 10" in printed
    assert "[" not in printed.split("too few")[0].split("\n")[1]
    assert printed.count("top 3") == printed.count("top 1") == 1 and "top 5" not in printed


def test_rank_in_python(run: Path, tmp_path: Path) -> None:
    few = {"networks": 12, "bootstrap": 50, "calibration_images": 20, "batch_size": 10, "workers": 0}
    found = scarlet_models.search.rank(
        run / "run", run / "data", known=str(run / "known.csv"), out=str(tmp_path), **few
    )
    assert repr(found) == f"Ranking(12 networks, Kendall's tau {found.tau})"
    assert found.tau.low <= found.tau.value <= found.tau.high
    assert list(found.scores.values()) == found.predicted.tolist() and list(found.scores) == found.networks
    net = Supernet.from_pretrained(run / "run")
    again = scarlet_models.search.rank(net, run / "data", known=str(run / "known.csv"), out=str(tmp_path), **few)
    assert again.scores == found.scores
    with torch.no_grad():
        net.head.classifier.weight.zero_()
        net.head.classifier.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    changed = scarlet_models.search.rank(net, run / "data", known=str(run / "known.csv"), out=str(tmp_path), **few)
    assert list(changed.scores.values()) == pytest.approx([100 / 3] * 12)  # not those in the score cache
    with pytest.raises(UserError, match="no record of its training images"):
        scarlet_models.search.rank(Supernet("mini", 3), run / "data", known=str(run / "known.csv"))
