"""What pretrained=True gives (DESIGN 3.5)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from helpers.weights import (
    IN1K,
    OURS,
    Fake,
    Folders,
    create,
    flip_last_bit,
    holds,
    listed,
    only_where_timm_forgets,
    random_weights,
    refresh,
)
from timm.data import resolve_model_data_config

from scarlet_models import UserError
from scarlet_models.inference import class_names
from scarlet_models.weights.install import install

ROOT = Path(__file__).parents[2]
MINI = {"genotype": "2,3,1,0,3", "space": "mini"}


# What pretrained=True gives


def test_without_pretrained_there_are_1000_classes_at_224_px() -> None:
    model = timm.create_model("scarlet_b")
    assert (model.num_classes, model.pretrained_cfg["tag"]) == (1000, "xiaomi_in1k")
    assert resolve_model_data_config(model)["input_size"] == (3, 224, 224)


def test_plain_pretrained_is_the_published_weights_if_they_are_in_the_store(folders: Folders, fake: Fake) -> None:
    folders.ship(OURS, fake.ours)
    install(fake.in1k, IN1K)
    model = create()
    assert holds(model, fake.in1k)
    assert (model.num_classes, model.pretrained_cfg["tag"]) == (1000, "xiaomi_in1k")
    assert resolve_model_data_config(model)["input_size"] == (3, 224, 224)


def test_plain_pretrained_is_else_what_ships_with_a_warning(folders: Folders, fake: Fake) -> None:
    folders.ship(OURS, fake.ours)
    said = r"scarlet_a\.tiny_in.*Tiny-ImageNet \(200 classes.*ScarletA\.pth\.tar.*convert .* --install"
    with pytest.warns(UserWarning, match=said):
        model = timm.create_model("scarlet_a", pretrained=True)
    assert holds(model, fake.ours)
    assert (model.num_classes, model.pretrained_cfg["tag"]) == (200, "tiny_in")
    assert class_names(model)[30] == "tabby"
    config = resolve_model_data_config(model)
    assert (config["input_size"], config["crop_pct"], config["interpolation"]) == ((3, 64, 64), 0.875, "bicubic")


def test_the_store_comes_before_the_package(folders: Folders, fake: Fake) -> None:
    folders.ship(OURS, fake.ours)
    assert holds(create(OURS), fake.ours)
    install(fake.other, OURS)
    assert holds(create(OURS), fake.other)


def test_an_explicit_number_of_classes_replaces_the_head(folders: Folders, fake: Fake) -> None:
    install(fake.in1k, IN1K)
    model = create(num_classes=7)
    assert model.classifier.weight.shape == (7, 1280)
    assert holds(model, fake.in1k, without="classifier.")
    assert holds(create(num_classes=0), fake.in1k)
    assert holds(create(num_classes=1000), fake.in1k)


def test_explicit_tag_cfg_and_overlay_win(folders: Folders, fake: Fake, tmp_path: Path) -> None:
    install(fake.in1k, IN1K)
    install(fake.ours, OURS)
    other = tmp_path / "other.safetensors"
    other.write_bytes(fake.other)
    cfg = timm.get_pretrained_cfg(OURS)
    assert holds(create(OURS), fake.ours)
    assert holds(create(pretrained_cfg="tiny_in"), fake.ours)
    assert holds(create(pretrained_cfg=cfg), fake.ours)
    assert holds(create(pretrained_cfg=cfg.to_dict() | {"file": str(other)}), fake.other)
    assert holds(create(OURS, pretrained_cfg_overlay={"file": str(other)}), fake.other)
    tensors = safetensors.torch.load(fake.other)
    assert holds(create(OURS, pretrained_cfg_overlay={"state_dict": tensors}), fake.other)
    model = create(OURS, pretrained_cfg_overlay={"crop_pct": 0.5})
    assert holds(model, fake.ours)
    assert model.pretrained_cfg["crop_pct"] == 0.5


def test_another_source_in_an_overlay_wins_over_the_file_that_is_here(
    folders: Folders, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(fake.ours, OURS)
    torch.save(safetensors.torch.load(fake.other), tmp_path / "other.pth")
    overlay, cache = {"url": (tmp_path / "other.pth").as_uri()}, tmp_path / "hub"
    assert holds(create(OURS, pretrained_cfg_overlay=overlay, cache_dir=cache), fake.other)
    cfg = timm.get_pretrained_cfg(OURS)
    assert holds(create(pretrained_cfg=cfg, pretrained_cfg_overlay=overlay, cache_dir=cache), fake.other)
    with pytest.raises(OSError, match=r"absent\.pth"):
        create(OURS, pretrained_cfg_overlay={"url": (tmp_path / "absent.pth").as_uri()}, cache_dir=cache)
    with pytest.raises(UserError, match=r"no weights at .*absent\.pth"):
        create(OURS, pretrained_cfg_overlay={"file": str(tmp_path / "absent.pth")})
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: Path("absent.pth").read_bytes())
    with pytest.raises(UserError, match=r"cannot download model\.safetensors of me/net"):
        create(OURS, pretrained_cfg_overlay={"hf_hub_id": "me/net"})


def test_a_cfg_from_before_the_installation_finds_its_weights(folders: Folders, fake: Fake) -> None:
    cfg = timm.get_pretrained_cfg(OURS)
    install(fake.ours, OURS)
    assert not cfg.file
    assert holds(create(pretrained_cfg=cfg), fake.ours)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"model_name": IN1K}, r"no weights for scarlet_a\.xiaomi_in1k here: get ScarletA\.pth\.tar .* --install"),
        (
            {"model_name": "scarlet_c.tiny_in"},
            r"no weights for scarlet_c\.tiny_in here: .*weights install scarlet_c\.tiny_in",
        ),
        ({"model_name": "scarlet_b"}, r"no weights for scarlet_b here: .*ScarletB\.pth\.tar"),
        ({"model_name": "scarlet_a.imagenet"}, r"no weights 'imagenet': its tags are xiaomi_in1k, tiny_in"),
        (
            {"model_name": "scarlet_a", "pretrained_cfg": {"num_classes": 3}},
            "names neither weights nor a tag: its tags",
        ),
        ({"model_name": "scarlet_a2"}, "scarlet_a2 has no pretrained weights.*pretrained=False"),
        ({"model_name": "scarlet_a4", "features_only": True}, "scarlet_a4 has no pretrained weights"),
        ({"model_name": "scarlet_net", **MINI}, "scarlet_net has no pretrained weights.*local-dir"),
    ],
)
def test_without_weights_it_raises_and_says_how_to_get_them(
    folders: Folders, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        timm.create_model(**arguments, pretrained=True)


@only_where_timm_forgets
def test_timm_names_only_what_loads(folders: Folders, fake: Fake) -> None:
    assert listed() == []
    folders.ship("scarlet_a.tiny_in", fake.ours)
    assert listed() == [OURS]
    install(fake.in1k, IN1K)
    assert listed() == [OURS, IN1K]
    assert timm.models.is_model_pretrained("scarlet_a")
    (folders.store / "scarlet_b.tiny_in.safetensors").write_bytes(fake.ours)  # not installed, so not listed
    refresh()
    assert listed() == [OURS, IN1K]
    for name in listed():
        create(name)
    flip_last_bit(folders.store / f"{IN1K}.safetensors")
    refresh()
    assert listed() == [OURS]


def test_importing_registers_what_the_store_holds(folders: Folders, fake: Fake) -> None:
    install(fake.ours, OURS)
    code = "import timm, scarlet_models; print(timm.list_models('scarlet_a.*', pretrained=True))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert OURS in output


def test_features_and_other_input_channels_get_the_weights(folders: Folders, fake: Fake) -> None:
    install(fake.in1k, IN1K)
    image = torch.randn(1, 3, 64, 64)
    model, features = create(), create(features_only=True)
    assert holds(features, fake.in1k)
    for ours, theirs in zip(features(image), model.forward_intermediates(image, intermediates_only=True), strict=True):
        torch.testing.assert_close(ours, theirs)
    grey = create(in_chans=1)
    assert holds(grey, fake.in1k, without="conv_stem.")
    torch.testing.assert_close(grey.conv_stem.weight, model.conv_stem.weight.sum(1, keepdim=True))


def test_torch_hub_gets_the_weights(folders: Folders, fake: Fake) -> None:
    install(fake.in1k, IN1K)
    assert holds(torch.hub.load(str(ROOT), "scarlet_a", source="local", pretrained=True), fake.in1k)


# Never random weights


@pytest.mark.parametrize("extra", [{}, {"num_classes": 7}, {"num_classes": 0}, {"features_only": True}])
def test_weights_of_another_network_are_refused(folders: Folders, fake: Fake, extra: dict[str, Any]) -> None:
    tensors = safetensors.torch.load(fake.in1k)
    del tensors["blocks.3.2.conv_pwl.weight"]
    with pytest.raises(UserError, match=r"another network: 1 tensors are missing, such as blocks\.3\.2\.conv_pwl"):
        create(pretrained_cfg_overlay={"state_dict": tensors}, **extra)
    with pytest.raises((UserError, RuntimeError)):
        create("scarlet_b", pretrained_cfg_overlay={"state_dict": safetensors.torch.load(fake.in1k)}, **extra)


def test_networks_without_published_weights_take_those_that_are_given(tmp_path: Path) -> None:
    model = random_weights("scarlet_net", 4, **MINI)
    path = tmp_path / "mini.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    data = path.read_bytes()
    assert holds(create("scarlet_net", pretrained_cfg_overlay={"file": str(path)}, **MINI), data)
    scaled = random_weights("scarlet_a2", 5).state_dict()
    assert holds(create("scarlet_a2", pretrained_cfg_overlay={"state_dict": scaled}), safetensors.torch.save(scaled))


# Half precision


def test_half_precision_files_keep_batch_norms_and_load_as_float32(folders: Folders, fake: Fake) -> None:
    stored = safetensors.torch.load(fake.in1k)
    norms = {key for key in stored if ".bn" in f".{key}"}
    assert {stored[key].dtype for key in norms} == {torch.float32, torch.int64}
    assert {tensor.dtype for key, tensor in stored.items() if key not in norms} == {torch.float16}
    install(fake.in1k, IN1K)
    for model in (create(), create(in_chans=1), create(features_only=True)):
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
