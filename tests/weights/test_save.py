"""Saved folders: any genotype comes back through timm's local-dir, and nothing is lost on the way."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

from scarlet_models import UserError
from scarlet_models.models import GENOTYPES
from scarlet_models.networks import create, genotype_of
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.weights import save as saving
from scarlet_models.weights.source import locate

NAMES = list("abcdefghij")
MINI = "2,3,1,0,3"


@pytest.fixture
def net() -> nn.Module:
    return timm.create_model("scarlet_net", genotype=MINI, space="mini").eval()


def same(ours: nn.Module, theirs: nn.Module, **tolerance: float) -> bool:
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        return torch.allclose(ours(image), theirs(image), **tolerance)


def test_a_network_of_an_own_space_comes_back_without_its_file(tmp_path: Path) -> None:
    """The folder holds the space itself, so that it loads where the space's YAML file is not."""
    space = SearchSpace.load("mini").to_dict() | {"name": "mine", "num_classes": 3}
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(space))
    net = timm.create_model("scarlet_net", genotype=Genotype.parse(MINI, path), drop_rate=0.1).eval()
    path.unlink()
    saving.save(
        net, tmp_path / "net", label_names=("x", "y", "z"), data_config={"input_size": (3, 48, 48), "std": (1, 1, 1)}
    )
    assert str(tmp_path) not in (tmp_path / "net" / "config.json").read_text()
    back = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True).eval()
    assert same(net, back)
    assert (back.genotype, back.num_classes, back.pretrained_cfg["label_names"]) == (net.genotype, 3, ["x", "y", "z"])
    config = resolve_model_data_config(back)
    assert (tuple(config["input_size"]), tuple(config["std"]), config["crop_pct"]) == ((3, 48, 48), (1, 1, 1), 0.875)
    assert "tag" not in back.pretrained_cfg
    finetuned = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True, num_classes=5)
    assert finetuned.classifier.weight.shape[0] == 5
    assert torch.equal(finetuned.conv_head.weight, net.conv_head.weight)


@pytest.mark.parametrize("given", [MINI, [2, 3, 1, 0, 3], Genotype.parse(MINI, "mini")])
def test_however_the_genotype_was_given_it_is_saved_as_text(tmp_path: Path, given: Any) -> None:
    saving.save(timm.create_model("scarlet_net", genotype=given, space="mini"), tmp_path / "net")
    args = json.loads((tmp_path / "net" / "config.json").read_text())["model_args"]
    assert (args["genotype"], args["space"]) == (MINI, SearchSpace.load("mini").to_dict())


def test_a_released_network_keeps_its_cfg_until_the_weights_are_new(tmp_path: Path) -> None:
    net = timm.create_model("scarlet_a.tiny_in")
    before = dict(net.pretrained_cfg)
    saving.save(net, tmp_path / "old")
    assert saving.load(tmp_path / "old").pretrained_cfg["tag"] == "tiny_in"
    saving.save(net, tmp_path / "new", label_names=list(map(str, range(200))))
    assert "tag" not in saving.load(tmp_path / "new").pretrained_cfg
    net.reset_classifier(4)
    saving.save(net, tmp_path / "other")
    other = saving.load(tmp_path / "other")
    assert (other.num_classes, "label_names" in other.pretrained_cfg) == (4, False)
    assert net.pretrained_cfg == before


def test_half_precision_is_half_the_size_and_loads_as_float32(net: nn.Module, tmp_path: Path) -> None:
    saving.save(net, tmp_path / "half", half=True)
    back = saving.load(tmp_path / "half")
    assert same(net, back, atol=1e-2)
    assert {parameter.dtype for parameter in back.parameters()} == {torch.float32}
    assert all(torch.equal(b, n) for b, n in zip(back.buffers(), net.buffers(), strict=True))


def test_a_folder_or_a_run_stands_for_its_network(
    net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saving.save(net, "my run/exported/one")
    for name in ("my run", "my run/exported/one", "local-dir:my run"):
        assert same(net, create(name, pretrained=True).eval()) and str(genotype_of(name)) == MINI
    Path("scarlet_a").mkdir()  # it holds no network, so it hides none
    assert str(genotype_of("scarlet_a")) == GENOTYPES["scarlet_a"] and locate("") == ""
    saving.save(net, "my run/exported/two")
    with pytest.raises(UserError, match=r"my run holds several networks: name one of my run/exported/one, my"):
        create("my run")
    (tmp_path / "my run" / "exported" / "one" / "config.json").write_text('{"detector": "ssdlite"}')
    with pytest.raises(UserError, match="it is a detector, which `scarlet-models detect eval`"):
        create("my run/exported/one")


def test_a_network_that_is_not_ours_can_be_saved(tmp_path: Path) -> None:
    net = timm.create_model("mobilenetv2_035", num_classes=2).eval()
    saving.save(net, tmp_path / "net", model_args={"num_classes": 2}, label_names=("no", "yes"))
    assert same(net, saving.load(tmp_path / "net"))


def test_what_cannot_be_saved_is_one_line(net: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 label names for a network with 10 classes"):
        saving.save(net, tmp_path / "net", label_names=("a", "b"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"holds other files, such as letter\.txt"):
        saving.save(net, tmp_path / "home")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        saving.save(net, tmp_path / "file" / "net")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "home", "letter.txt"]


def test_a_full_disk_leaves_the_old_folder(net: nn.Module, tmp_path: Path) -> None:
    saving.save(net, tmp_path / "net")
    other = timm.create_model("scarlet_net", genotype="0,0,0,0,0", space="mini")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(UserError, match="cannot write"):
            saving.save(other, tmp_path / "net")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert same(net, saving.load(tmp_path / "net"))
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    saving.save(other, tmp_path / "net")
    assert str(saving.load(tmp_path / "net").genotype) == "0,0,0,0,0"


@pytest.mark.parametrize("synced", range(3))
def test_a_kill_while_it_is_written_leaves_the_old_folder(net: nn.Module, tmp_path: Path, synced: int) -> None:
    saving.save(net, tmp_path / "net")
    other = timm.create_model("scarlet_net", genotype="0,0,0,0,0", space="mini")
    if (child := os.fork()) == 0:
        calls = iter(range(10))
        saving.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL) if next(calls) == synced else None
        saving.save(other, tmp_path / "net")
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert same(net, saving.load(tmp_path / "net"))


def test_a_kill_while_folders_are_exchanged_leaves_both(net: nn.Module, tmp_path: Path) -> None:
    saving.save(net, tmp_path / "net")
    other = timm.create_model("scarlet_net", genotype="0,0,0,0,0", space="mini").eval()
    if (child := os.fork()) == 0:
        rename, calls = Path.rename, iter((True, False))
        Path.rename = lambda *paths: rename(*paths) if next(calls) else os.kill(os.getpid(), signal.SIGKILL)
        saving.save(other, tmp_path / "net")
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert same(net, saving.load(tmp_path / f".net.{child}.old"))
    assert same(other, saving.load(tmp_path / f".net.{child}.tmp"))


@pytest.mark.parametrize(
    "spoil", ["cut", "no config", "no weights", "other architecture", "other network", "not JSON", "other JSON"]
)
def test_a_folder_that_is_not_whole_is_one_line(net: nn.Module, tmp_path: Path, spoil: str) -> None:
    saving.save(net, tmp_path)
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    if spoil == "cut":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif spoil == "no config":
        config.unlink()
    elif spoil == "no weights":
        weights.unlink()
    elif spoil == "not JSON":
        config.write_text("{")
    elif spoil == "other JSON":
        config.write_text('{"architecture": 5}')
    else:
        changed = ('"scarlet_net"', '"absent_net"') if spoil == "other architecture" else (MINI, "0,0,0,0,0")
        config.write_text(config.read_text().replace(*changed))
    with pytest.raises(UserError, match=r"is not a saved network: .+") as caught:
        saving.load(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
