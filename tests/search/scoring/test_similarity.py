"""Similarity of a layer's choices: the measure against a plain loop, and the command on tiny random supernets."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.supernets import write_images, write_supernet
from PIL import Image
from torch.nn.functional import cosine_similarity

from scarlet_models.search import cli
from scarlet_models.search.scoring.similarity import layer_similarities, summarize
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import SearchSpace


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("similarity")
    write_images(root / "data", each=10)
    write_supernet(root / "data", root / "stabilized")
    write_supernet(root / "data", root / "plain", stabilizer="skip")
    return root


def test_the_measure_is_the_mean_cosine_of_outputs_for_the_same_input() -> None:
    torch.manual_seed(0)
    net = Supernet("mini", 3, init="torch").eval()
    paths = [net.space.sample(np.random.default_rng(seed)) for seed in range(2)]
    batches = [torch.randn(count, 3, 32, 32) for count in (4, 3)]
    with torch.no_grad():
        tables = layer_similarities(net, paths, batches)
        layer, a, b = 3, 1, 3
        values = []
        for path in paths:
            for image in torch.cat(batches).split(1):
                features = net.stem(image)
                for before in range(layer):
                    features = net.choice(before, path.choices[before])(features)
                first, second = (net.choice(layer, choice)(features).flatten() for choice in (a, b))
                values.append(float(cosine_similarity(first, second, dim=0)))
    assert tables[layer][a, b] == pytest.approx(np.mean(values), abs=1e-5)
    for layer_entry, table in zip(net.space.layers, tables, strict=True):
        assert table.shape == (len(layer_entry.choices),) * 2
        assert np.diag(table) == pytest.approx(np.ones(len(table)), abs=1e-5)
        assert table == pytest.approx(table.T, abs=1e-5)
        assert (np.abs(table) <= 1 + 1e-5).all()


def test_a_summary_averages_blocks_and_the_identity_apart() -> None:
    space = SearchSpace.load("mini")  # the identity is the last of four choices
    table = np.array([[1, 0.2, 0.4, 0.0], [0.2, 1, 0.6, 0.1], [0.4, 0.6, 1, 0.5], [0.0, 0.1, 0.5, 1]])
    assert summarize(space, 1, table) == {
        "layer": 1,
        "between_blocks": pytest.approx(0.4),
        "identity_to_blocks": pytest.approx(0.2),
    }
    assert summarize(space, 0, table[:3, :3])["identity_to_blocks"] is None


def test_two_supernets_side_by_side(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(runs / "plain"), str(runs / "stabilized"), "--data-dir", str(runs / "data"), "--workers", "0"]
    assert cli.main(["similarity", *arguments, "--paths", "2", "--out", str(tmp_path), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert list(summary) == ["plain skip", "stabilizer"]
    assert summary["plain skip"][1]["identity_to_blocks"] != summary["stabilizer"][1]["identity_to_blocks"]
    with (tmp_path / "similarity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (2 * 3**2 + 3 * 4**2)
    assert {row["b"] for row in rows} == {"e3 k3", "e3 k5", "e6 k3 se", "identity"}
    pair = [row for row in rows if (row["layer"], row["choice_a"], row["choice_b"]) == ("1", "3", "0")]
    assert len(pair) == 2 and pair[0]["cosine"] != pair[1]["cosine"]
    for name in ("similarity.png", "similarity_layers.png"):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 300


def test_one_supernet_and_the_same_paths_again(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(runs / "plain"), "--data-dir", str(runs / "data"), "--workers", "0", "--paths", "1"]
    for name in ("first", "second"):
        assert cli.main(["similarity", *arguments, "--layer", "3", "--out", str(tmp_path / name)]) == 0
    assert "identity to blocks" in capsys.readouterr().out
    first, second = ((tmp_path / name / "similarity.csv").read_bytes() for name in ("first", "second"))
    assert first == second


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--layer", "5"], "--layer: 5 is not in 0..4"),
        (["--paths", "0"], "--paths: 0 is below 1"),
        (["--data-dir", "none"], "none does not exist"),
    ],
)
def test_mistakes_get_one_line(
    runs: Path, tmp_path: Path, changes: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(runs / "plain"), "--data-dir", str(runs / "data"), "--workers", "0", "--out", str(tmp_path)]
    assert cli.main(["similarity", *arguments, *changes]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.splitlines()[-1].startswith("scarlet-search similarity: ")


def test_supernets_that_do_not_exist_or_are_too_many(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["similarity", str(runs / "nowhere"), "--data-dir", str(runs / "data")]) == 2
    assert "holds no supernet" in capsys.readouterr().err
    assert cli.main(["similarity", *["a"] * 3, "--data-dir", str(runs / "data")]) == 2
    assert "one or two" in capsys.readouterr().err
