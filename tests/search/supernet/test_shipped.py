"""Supernets that ship: loading by name, precision, damage, and ranking with one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ship_supernet import ship
from timm.data import resolve_data_config
from torch import Tensor

from scarlet_models.errors import UserError
from scarlet_models.search import cli
from scarlet_models.search.scoring.heldout import folder_of, open_supernet
from scarlet_models.search.supernet import file
from scarlet_models.search.supernet.file import SupernetInfo, save_supernet, shipped_names
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import SearchSpace
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.options import DataOptions
from scarlet_models.training.split import split_holdout

NAME = "mini.noise"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, noise = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for label in ("a", "b"):
        (root / "train" / label).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(noise.integers(0, 255, (16, 16, 3), np.uint8)).save(root / "train" / label / f"{i}.png")
    return root


@pytest.fixture
def trained(images: Path, tmp_path: Path) -> Path:
    """A run's folder. Batch norms hold variances that float16 cannot."""
    data = LabelledImages(DataOptions(data_dir=str(images)), "train")
    split = split_holdout(data.ids, data.labels, 0.5, 0)
    config = resolve_data_config({"input_size": (3, 16, 16)})
    net = Supernet("mini", 2, init="torch")
    net.layers[0]["0"].bn1.running_var.fill_(1e6)
    folder = tmp_path / "run"
    save_supernet(net, folder, SupernetInfo(16, config, data.classes, 0.5, 0, split.hash, 1, "fair"))
    return folder


@pytest.fixture
def package(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that ships the trained supernet."""
    folder = tmp_path / "supernets"
    monkeypatch.setattr(file, "PACKAGE", folder)
    assert ship(trained, NAME) == folder / f"{NAME}.safetensors"
    return folder


def _logits(net: Supernet) -> Tensor:
    torch.manual_seed(1)
    return net(torch.randn(2, 3, 16, 16), next(iter(net.space)))


def test_a_shipped_supernet_is_the_trained_one_in_half_precision(package: Path, trained: Path) -> None:
    whole, half = Supernet.from_pretrained(trained), Supernet.from_pretrained(NAME)
    assert not half.training
    assert {tensor.dtype for tensor in half.state_dict().values()} == {torch.float32, torch.int64}
    torch.testing.assert_close(_logits(half), _logits(whole), rtol=2e-2, atol=2e-3)
    assert half.layers[0]["0"].bn1.running_var.max() == 1e6
    weight = whole.layers[0]["0"].conv_dw.weight
    assert torch.equal(half.layers[0]["0"].conv_dw.weight, weight.half().float())
    sizes = [path.stat().st_size for path in (package / f"{NAME}.safetensors", trained / "supernet.safetensors")]
    assert sizes[0] < 0.75 * sizes[1]
    info = open_supernet(NAME).info
    before = open_supernet(trained).info
    assert info.split_hash == before.split_hash
    assert info.sha256 != before.sha256


def test_an_unknown_name_lists_what_there_is(package: Path) -> None:
    with pytest.raises(UserError, match=r"mini.other holds no supernet .* that ship there are: mini.noise"):
        Supernet.from_pretrained("mini.other")


@pytest.mark.parametrize("suffix", ["safetensors", "json"])
def test_damage_is_noticed(package: Path, suffix: str) -> None:
    path = package / f"{NAME}.{suffix}"
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(UserError, match=rf"{NAME}.{suffix} is missing or damaged"):
        Supernet.from_pretrained(NAME)
    path.unlink()
    with pytest.raises(UserError, match="is missing or damaged"):
        Supernet.from_pretrained(NAME)


def test_a_folder_of_that_name_comes_first(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_of(NAME) == Path("runs") / NAME
    Path(NAME).mkdir()
    assert folder_of(NAME) == Path(NAME)
    with pytest.raises(UserError, match="holds no supernet"):
        Supernet.from_pretrained(NAME)


@pytest.mark.parametrize("name", ["mini", "../mini.noise", "Mini.noise"])
def test_a_bad_name_is_refused(package: Path, trained: Path, name: str) -> None:
    with pytest.raises(UserError, match="is not a name such as"):
        ship(trained, name)
    assert shipped_names() == [NAME]


def test_rank_takes_the_name(package: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space, rng = SearchSpace.load("mini"), np.random.default_rng(0)
    known = {str(space.sample(rng).canonical()): i for i in range(12)}
    Path("known.csv").write_text("genotype,accuracy\n" + "".join(f'"{g}",{a}\n' for g, a in known.items()))
    data = ["--known", "known.csv", "--data-dir", str(images), "--workers", "0"]
    assert cli.main(["rank", NAME, *data, "--networks", "4", "--calibration-images", "4", "--bootstrap", "0"]) == 0
    report = json.loads((tmp_path / "runs" / NAME / "rank_recalibrated.json").read_text())
    assert report["networks"] == 4


def test_what_really_ships_loads() -> None:
    for name in shipped_names():
        assert Supernet.from_pretrained(name).space.name == name.partition(".")[0]
