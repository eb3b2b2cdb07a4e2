"""Folders and repositories that others wrote: nothing in them is executed, and none gives random weights."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from scarlet_models import UserError
from scarlet_models.cli import main
from scarlet_models.networks import create, genotype_of
from scarlet_models.weights.save import load, save

MINI = "2,3,1,0,3"
Config = dict[str, Any]


def mini(**kwargs: Any) -> nn.Module:
    return timm.create_model("scarlet_net", genotype=MINI, space="mini", **kwargs).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved network of 10 classes."""
    save(mini(), tmp_path / "net")
    return tmp_path / "net"


def change_config(folder: Path, change: Callable[[Config], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = safetensors.torch.load((folder / "model.safetensors").read_bytes())
    change(tensors)
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def refused(folder: Path, message: str, *, timm_too: bool = True) -> None:
    """However the network is asked for: by the commands, by this package, and by timm."""
    source = f"local-dir:{folder}"
    makers: list[Callable[..., nn.Module]] = [create, *([timm.create_model] if timm_too else [])]
    for make in makers:
        with pytest.raises(UserError, match=message) as error:
            make(source, pretrained=True)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="is not a saved network"):
        load(folder)
    assert main(["classify", __file__, "--model", source]) == 2


# Never random weights


@pytest.mark.parametrize("strict", [True, False])
def test_missing_weights_are_not_left_random(folder: Path, strict: bool) -> None:
    change_weights(folder, lambda tensors: [tensors.pop(f"classifier.{name}") for name in ("weight", "bias")])
    refused(folder, r"another network: 2 tensors are missing, such as classifier\.weight")
    change_config(folder, lambda config: config["model_args"].update(pretrained_strict=strict))
    refused(folder, r"2 tensors are missing" if strict else "pretrained_strict is false, so missing weights would be")


@pytest.mark.parametrize("entry", ["model_args", "pretrained_cfg"])
def test_a_config_cannot_ask_for_a_random_classifier(folder: Path, entry: str) -> None:
    def change(config: Config) -> None:
        config[entry]["num_classes"] = 7
        if entry == "pretrained_cfg":
            del config["num_classes"]

    change_config(folder, change)
    shapes = r"of another network: classifier\.weight has shape \(10, 128\), not \(7, 128\)"
    asked = "model_args ask for 7 classes, the weights have 10"
    refused(folder, asked if entry == "model_args" else rf"{shapes}|model_args ask for 10 classes, the weights have 7")


def test_an_explicit_number_of_classes_still_replaces_the_head(folder: Path) -> None:
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=7)
    assert model.classifier.weight.shape[0] == 7
    assert torch.equal(model.conv_head.weight, load(folder).conv_head.weight)


def test_a_head_that_fits_is_not_replaced_by_a_random_one(tmp_path: Path) -> None:
    net, path = mini(num_classes=3), tmp_path / "three.safetensors"
    safetensors.torch.save_file(net.state_dict(), path)
    overlay: dict[str, Any] = {"file": str(path)}
    with pytest.raises(UserError, match=r"the weights have the 3 classes .* cfg says 10: add num_classes=3 to pretr"):
        mini(pretrained=True, num_classes=3, pretrained_cfg_overlay=overlay)
    back = mini(pretrained=True, num_classes=3, pretrained_cfg_overlay=overlay | {"num_classes": 3})
    assert torch.equal(back.classifier.weight, net.classifier.weight)


def test_a_config_cannot_name_other_tensors_to_leave_random(folder: Path) -> None:
    expected = load(folder).conv_head.weight
    change_config(folder, lambda config: config["pretrained_cfg"].update(classifier=["classifier", "conv_head"]))
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=7)
    assert torch.equal(model.conv_head.weight, expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    change_weights(folder, lambda tensors: tensors["conv_head.weight"][3].fill_(value))
    refused(folder, r"weights are damaged: conv_head\.weight is not finite in float32")


def test_networks_of_other_families_are_checked_too(tmp_path: Path) -> None:
    save(timm.create_model("test_efficientnet", num_classes=2), tmp_path / "net", model_args={"num_classes": 2})
    assert create(f"local-dir:{tmp_path / 'net'}", pretrained=True).num_classes == 2
    change_config(tmp_path / "net", lambda config: config["model_args"].update(num_classes=3))
    refused(tmp_path / "net", "model_args ask for 3 classes, the weights have 2", timm_too=False)
    change_config(tmp_path / "net", lambda config: config["model_args"].update(num_classes=2, pretrained_strict=False))
    refused(tmp_path / "net", "pretrained_strict is false", timm_too=False)
    change_config(tmp_path / "net", lambda config: config["model_args"].pop("pretrained_strict"))
    change_weights(tmp_path / "net", lambda tensors: tensors["classifier.bias"].fill_(float("nan")))
    refused(tmp_path / "net", r"its weights are damaged: classifier\.bias is not finite", timm_too=False)


# Only safetensors


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["SCARLET_HOME"] + "-executed",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "other.pth.tar", "other.safetensors"])
def test_only_model_safetensors_is_read(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps({"state_dict": Hostile()}))
    refused(folder, r"net holds no model\.safetensors")
    assert not Path(os.environ["SCARLET_HOME"] + "-executed").exists()


def test_a_cfg_of_the_hub_names_only_safetensors() -> None:
    cfg = {"hf_hub_id": "me/net", "hf_hub_filename": "pytorch_model.bin"}
    with pytest.raises(UserError, match=r"hf-hub:me/net: pytorch_model\.bin is not loaded, only safetensors are"):
        timm.create_model("scarlet_a", pretrained=True, pretrained_cfg_overlay=cfg)


# config.json


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("architecture"), "it names no architecture"),
        (lambda c: c.update(architecture=5), "it names no architecture"),
        (lambda c: c.update(model_args=[1]), "must be mappings"),
        (lambda c: c.update(pretrained_cfg=[1]), "must be mappings"),
        (lambda c: c.update(num_classes=10**9), r"num_classes 1000000000 is not a number from 0 to 1000000"),
        (lambda c: c.update(num_classes="10"), "num_classes '10' is not a number"),
        (lambda c: c["pretrained_cfg"].update(input_size=[3, 10**6, 10**6]), "input_size .* from 1 to 4096"),
        (lambda c: c["pretrained_cfg"].update(input_size=3), "input_size 3 is not three numbers"),
        (lambda c: c["model_args"].update(in_chans=10**9), "in_chans 1000000000 is not a number"),
        (lambda c: c["pretrained_cfg"].update(custom_load=True), "custom_load asks for another format"),
        (lambda c: c["model_args"].pop("genotype"), "model_args hold no genotype"),
        (lambda c: c["model_args"].update(space="/etc/hosts"), "space '/etc/hosts' is neither a whole space nor one"),
        (lambda c: c["model_args"]["space"]["stages"][0].update(depth=10**7), r"stages\.0\.depth: 10000000 is more"),
        (lambda c: c["model_args"].update(channel_multiplier=10**6), "multipliers 1000000 and 1.0: the most is 10"),
        (lambda c: c["model_args"].update(colour="red"), "TypeError: .*unexpected keyword argument 'colour'"),
    ],
)
def test_a_config_that_is_refused(folder: Path, change: Callable[[Config], object], message: str) -> None:
    change_config(folder, change)
    with pytest.raises(UserError, match=message) as error:
        create(f"local-dir:{folder}", pretrained=True)
    assert "\n" not in str(error.value)
    assert main(["info", f"local-dir:{folder}"]) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "config.json:1: not valid JSON"),
        (b"[]", "config.json: holds a list, not a mapping"),
        (b"[" * 100_000, "nested more than 50 levels"),
        (b"\xff", "not UTF-8"),
        (b" " * (1 << 24) + b"{}", "larger than the 16,777,216 bytes"),
    ],
    ids=["cut", "list", "deep", "latin", "large"],
)
def test_a_config_that_cannot_be_read(folder: Path, content: bytes, message: str) -> None:
    (folder / "config.json").write_bytes(content)
    for read in (create, genotype_of):
        with pytest.raises(UserError, match=message):
            read(f"local-dir:{folder}")


def test_a_config_that_would_be_waited_for(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(UserError, match="a folder or a device, not a file"):
        create(f"local-dir:{folder}", pretrained=True)
