"""Weights: where they are found, what pretrained=True gives, and a store that nothing breaks (DESIGN 3.5)."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

from scarlet_models import UserError, files, models
from scarlet_models.models import GENOTYPES
from scarlet_models.weights import save as saving
from scarlet_models.weights import store
from scarlet_models.weights.install import install

ROOT = Path(__file__).parents[2]
IN1K, C10 = "scarlet_a.xiaomi_in1k", "scarlet_a.c10"
only_where_timm_forgets = pytest.mark.skipif(
    not hasattr(timm.models._registry, "_clear_model_entries"),
    reason="this timm goes on listing the tags of a model that is registered anew with others",
)
MINI = {"genotype": "2,3,1,0,3", "space": "mini"}


def random_weights(name: str, seed: int, **kwargs: Any) -> nn.Module:
    """A network whose every tensor is its own, batch norm statistics too."""
    torch.manual_seed(seed)
    model = timm.create_model(name, **kwargs).eval()
    for key, tensor in model.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            tensor.uniform_(0.5, 1.5)
    return model


@dataclass
class Fake:
    """Content of fake files of weights."""

    in1k: bytes
    c10: bytes
    other_c10: bytes


@pytest.fixture(scope="module")
def fake() -> Fake:
    contents = [saving.half_precision(random_weights(name, seed)) for name, seed in ((IN1K, 1), (C10, 2), (C10, 3))]
    return Fake(*(safetensors.torch.save(tensors, {"format": "pt"}) for tensors in contents))


@dataclass
class Folders:
    """The folders that weights are looked for in."""

    store: Path
    package: Path

    def ship(self, name: str, data: bytes) -> None:
        """Put a file into the package."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SCARLET_HOME", str(self.package))
            install(data, name)


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    """Empty folders, and timm told of what is in them."""
    found = Folders(tmp_path / "store", tmp_path / "package")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCARLET_HOME", str(found.store))
        patch.setattr(store, "package_dir", lambda: found.package)
        refresh()
        yield found
    refresh()


def refresh() -> None:
    for name in GENOTYPES:
        models.refresh(name)


def listed() -> list[str]:
    return timm.list_models("scarlet*", pretrained=True)


def create(name: str = "scarlet_a", **kwargs: Any) -> nn.Module:
    """A pretrained network; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return timm.create_model(name, pretrained=True, **kwargs).eval()


def holds(model: nn.Module, data: bytes, without: str = "nothing") -> bool:
    """Whether every tensor of the model is the file's, but for those of one module."""
    expected = safetensors.torch.load(data)
    own = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith(without)}
    return bool(own) and all(torch.equal(tensor, expected[key].to(tensor.dtype)) for key, tensor in own.items())


# What pretrained=True gives


def test_without_pretrained_there_are_1000_classes_at_224_px() -> None:
    model = timm.create_model("scarlet_b")
    assert (model.num_classes, model.pretrained_cfg["tag"]) == (1000, "xiaomi_in1k")
    assert resolve_model_data_config(model)["input_size"] == (3, 224, 224)


def test_plain_pretrained_is_the_published_weights_if_they_are_in_the_store(folders: Folders, fake: Fake) -> None:
    folders.ship(C10, fake.c10)
    install(fake.in1k, IN1K)
    model = create()
    assert holds(model, fake.in1k)
    assert (model.num_classes, model.pretrained_cfg["tag"]) == (1000, "xiaomi_in1k")
    assert resolve_model_data_config(model)["input_size"] == (3, 224, 224)


def test_plain_pretrained_is_else_c10_with_a_warning(folders: Folders, fake: Fake) -> None:
    folders.ship(C10, fake.c10)
    with pytest.warns(UserWarning, match=r"scarlet_a\.c10.*CIFAR-10.*ScarletA\.pth\.tar.*convert .* --install"):
        model = timm.create_model("scarlet_a", pretrained=True)
    assert holds(model, fake.c10)
    assert (model.num_classes, model.pretrained_cfg["tag"]) == (10, "c10")
    assert model.pretrained_cfg["label_names"][3] == "cat"
    config = resolve_model_data_config(model)
    assert (config["input_size"], config["crop_pct"], config["interpolation"]) == ((3, 64, 64), 1.0, "bicubic")


def test_the_store_comes_before_the_package(folders: Folders, fake: Fake) -> None:
    folders.ship(C10, fake.c10)
    assert holds(create(C10), fake.c10)
    install(fake.other_c10, C10)
    assert holds(create(C10), fake.other_c10)


def test_an_explicit_number_of_classes_replaces_the_head(folders: Folders, fake: Fake) -> None:
    install(fake.in1k, IN1K)
    model = create(num_classes=7)
    assert model.classifier.weight.shape == (7, 1280)
    assert holds(model, fake.in1k, without="classifier.")
    assert holds(create(num_classes=0), fake.in1k)
    assert holds(create(num_classes=1000), fake.in1k)


def test_explicit_tag_cfg_and_overlay_win(folders: Folders, fake: Fake, tmp_path: Path) -> None:
    install(fake.in1k, IN1K)
    install(fake.c10, C10)
    other = tmp_path / "other.safetensors"
    other.write_bytes(fake.other_c10)
    cfg = timm.get_pretrained_cfg(C10)
    assert holds(create(C10), fake.c10)
    assert holds(create(pretrained_cfg="c10"), fake.c10)
    assert holds(create(pretrained_cfg=cfg), fake.c10)
    assert holds(create(pretrained_cfg=cfg.to_dict() | {"file": str(other)}), fake.other_c10)
    assert holds(create(C10, pretrained_cfg_overlay={"file": str(other)}), fake.other_c10)
    tensors = safetensors.torch.load(fake.other_c10)
    assert holds(create(C10, pretrained_cfg_overlay={"state_dict": tensors}), fake.other_c10)
    model = create(C10, pretrained_cfg_overlay={"crop_pct": 0.5})
    assert holds(model, fake.c10)
    assert model.pretrained_cfg["crop_pct"] == 0.5


def test_another_source_in_an_overlay_wins_over_the_file_that_is_here(
    folders: Folders, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(fake.c10, C10)
    torch.save(safetensors.torch.load(fake.other_c10), tmp_path / "other.pth")
    overlay, cache = {"url": (tmp_path / "other.pth").as_uri()}, tmp_path / "hub"
    assert holds(create(C10, pretrained_cfg_overlay=overlay, cache_dir=cache), fake.other_c10)
    cfg = timm.get_pretrained_cfg(C10)
    assert holds(create(pretrained_cfg=cfg, pretrained_cfg_overlay=overlay, cache_dir=cache), fake.other_c10)
    with pytest.raises(OSError, match=r"absent\.pth"):
        create(C10, pretrained_cfg_overlay={"url": (tmp_path / "absent.pth").as_uri()}, cache_dir=cache)
    with pytest.raises(UserError, match=r"no weights at .*absent\.pth"):
        create(C10, pretrained_cfg_overlay={"file": str(tmp_path / "absent.pth")})
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: Path("absent.pth").read_bytes())
    with pytest.raises(UserError, match=r"cannot download model\.safetensors of me/net"):
        create(C10, pretrained_cfg_overlay={"hf_hub_id": "me/net"})


def test_a_cfg_from_before_the_installation_finds_its_weights(folders: Folders, fake: Fake) -> None:
    cfg = timm.get_pretrained_cfg(C10)
    install(fake.c10, C10)
    assert not cfg.file
    assert holds(create(pretrained_cfg=cfg), fake.c10)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"model_name": IN1K}, r"no weights for scarlet_a\.xiaomi_in1k here: get ScarletA\.pth\.tar .* --install"),
        ({"model_name": "scarlet_c.c10"}, r"no weights for scarlet_c\.c10 here: .*weights install scarlet_c\.c10"),
        ({"model_name": "scarlet_b"}, r"no weights for scarlet_b here: .*ScarletB\.pth\.tar"),
        ({"model_name": "scarlet_a.imagenet"}, r"no weights 'imagenet': its tags are xiaomi_in1k, c10"),
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
    folders.ship("scarlet_a.c10", fake.c10)
    assert listed() == [C10]
    install(fake.in1k, IN1K)
    assert listed() == [C10, IN1K]
    assert timm.models.is_model_pretrained("scarlet_a")
    (folders.store / "scarlet_b.c10.safetensors").write_bytes(fake.c10)  # not installed, so not listed
    refresh()
    assert listed() == [C10, IN1K]
    for name in listed():
        create(name)
    flip_last_bit(folders.store / f"{IN1K}.safetensors")
    refresh()
    assert listed() == [C10]


def flip_last_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_importing_registers_what_the_store_holds(folders: Folders, fake: Fake) -> None:
    install(fake.c10, C10)
    code = "import timm, scarlet_models; print(timm.list_models('scarlet_a.*', pretrained=True))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert C10 in output


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


# Files that are not what they should be


def test_a_damaged_file_is_not_loaded(folders: Folders, fake: Fake) -> None:
    flip_last_bit(install(fake.c10, C10))
    for arguments in ({"name": C10}, {"pretrained_cfg": timm.get_pretrained_cfg(C10)}):
        with pytest.raises(UserError, match=r"scarlet_a\.c10\.safetensors is damaged \(its sha256"):
            create(**arguments)


def test_a_file_that_is_not_listed_is_not_loaded(folders: Folders, fake: Fake) -> None:
    folders.store.mkdir()
    (folders.store / f"{IN1K}.safetensors").write_bytes(fake.in1k)
    with pytest.raises(UserError, match=r"not listed in manifest\.json"):
        create()


@only_where_timm_forgets
@pytest.mark.parametrize("text", ["{", "[]", '{"scarlet_a.c10.safetensors": 3}', "\x00"])
def test_a_damaged_manifest_is_said_to_be_one(folders: Folders, fake: Fake, text: str) -> None:
    install(fake.c10, C10)
    (folders.store / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        create(C10)
    refresh()  # what importing does: it must not fail
    assert listed() == []


@pytest.mark.parametrize("name", [f"{name}.c10" for name in GENOTYPES])
def test_the_weights_that_ship_are_whole(name: str) -> None:
    path = store.package_dir() / f"{name}.safetensors"
    store.check(path)
    tensors = safetensors.torch.load_file(path)
    assert {tensor.dtype for key, tensor in tensors.items() if ".bn" not in f".{key}"} == {torch.float16}
    assert holds(create(name), path.read_bytes())


def test_the_package_lists_what_it_holds() -> None:
    folder = store.package_dir()
    assert set(store.read_manifest(folder)) == {path.name for path in folder.glob("*.safetensors")}


# The store


def test_scarlet_home_and_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCARLET_HOME", str(tmp_path / "here"))
    assert store.store_dir() == tmp_path / "here"
    monkeypatch.delenv("SCARLET_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert store.store_dir() == tmp_path / "cache" / "scarlet_models"


@pytest.mark.parametrize("home", ["~nobody_of_this_name/store", "/" + "x" * 300, None], ids=["~", "long", "none"])
def test_a_store_that_cannot_be_read_leaves_all_else(
    folders: Folders, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    """A name that is too long stands for a folder without permission, which root may read; None is no home at all."""
    other = tmp_path / "other.safetensors"
    other.write_bytes(fake.c10)
    for name in ("SCARLET_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)
    if home:
        monkeypatch.setenv("SCARLET_HOME", home)
    refresh()  # what importing does: it must not fail
    assert holds(create(C10, pretrained_cfg_overlay={"file": str(other)}), fake.c10)
    for fail in (lambda: create(C10), lambda: install(fake.c10, C10)):
        with pytest.raises(UserError) as error:
            fail()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("conv_head.weight"), "conv_head.weight is missing"),
        (lambda t: t.update(extra=torch.ones(1)), "extra is too much"),
        (lambda t: t.update({"bn1.bias": torch.ones(3)}), r"bn1\.bias has shape \(3,\), not \(32,\)"),
        (lambda t: t["bn1.bias"].fill_(float("nan")), "bn1.bias is not finite"),
        (
            lambda t: t.update({"bn1.bias": torch.full((32,), 1e300, dtype=torch.float64)}),
            "bn1.bias is not finite in float32",
        ),
        (lambda t: t.update({"bn1.bias": torch.ones(32).to(torch.float8_e4m3fn)}), "bn1.bias is no plain tensor"),
    ],
)
def test_only_the_weights_of_the_tag_are_installed(folders: Folders, fake: Fake, change: Any, message: str) -> None:
    tensors = safetensors.torch.load(fake.c10)
    change(tensors)
    with pytest.raises(UserError, match=message):
        install(safetensors.torch.save(tensors), C10)
    with pytest.raises(UserError, match="damaged"):
        install(fake.c10[:-100], C10)
    with pytest.raises(UserError, match=r"no weights called 'scarlet_a2\.c10'"):
        install(fake.c10, "scarlet_a2.c10")
    assert not folders.store.exists()


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_loses_nothing(folders: Folders, fake: Fake) -> None:
    install(fake.c10, C10)
    manifest = (folders.store / "manifest.json").read_bytes()
    with full_disk(1 << 20), pytest.raises(UserError, match=r"cannot write .*scarlet_a\.c10\.safetensors"):
        install(fake.other_c10, C10)
    assert holds(create(C10), fake.c10)
    assert (folders.store / "manifest.json").read_bytes() == manifest
    assert {path.name for path in folders.store.iterdir()} == {".lock", "manifest.json", f"{C10}.safetensors"}


class Killed(BaseException):
    """Stands for a kill: nothing handles it."""


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_kill_between_any_two_steps_loses_nothing(
    folders: Folders, fake: Fake, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    install(fake.c10, C10)
    real, done = files.write_atomically, []

    def killed(path: Path, write: Any) -> None:
        if len(done) == writes:
            raise Killed
        done.append(path)
        real(path, write)

    monkeypatch.setattr(files, "write_atomically", killed)
    with pytest.raises(Killed):
        install(fake.other_c10, C10)
    monkeypatch.undo()
    monkeypatch.setenv("SCARLET_HOME", str(folders.store))
    assert holds(create(C10), fake.other_c10 if writes == 2 else fake.c10)
    install(fake.other_c10, C10)
    assert holds(create(C10), fake.other_c10)
    assert isinstance(json.loads((folders.store / "manifest.json").read_text())[f"{C10}.safetensors"], str)


def test_a_killed_writer_leaves_the_old_file_and_its_rest_is_swept(folders: Folders, fake: Fake) -> None:
    path = install(fake.c10, C10)
    if (child := os.fork()) == 0:
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        files.write_atomically(path, lambda file: file.write(b"half"))
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(list(folders.store.glob(".scarlet_a.c10*.tmp"))) == 1
    assert holds(create(C10), fake.c10)
    install(fake.c10, C10)
    assert not list(folders.store.glob("*.tmp"))


def test_installations_at_the_same_time_are_all_kept(folders: Folders, fake: Fake) -> None:
    threads = [threading.Thread(target=install, args=pair) for pair in ((fake.c10, C10), (fake.in1k, IN1K))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert holds(create(C10), fake.c10)
    assert holds(create(IN1K), fake.in1k)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_cannot_be_written_is_one_line(folders: Folders, fake: Fake) -> None:
    folders.store.parent.chmod(0o500)
    with pytest.raises(UserError, match="SCARLET_HOME"):
        install(fake.c10, C10)


def test_a_file_in_the_way_of_the_store_is_one_line(folders: Folders, fake: Fake) -> None:
    folders.store.write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*SCARLET_HOME"):
        install(fake.c10, C10)


# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    from scarlet_models.cli import main

    status = main(["weights", *arguments])
    return status, *capsys.readouterr()


def test_the_command_lists_installs_and_verifies(
    folders: Folders, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "dir") == (0, f"{folders.store}\n", "")
    source = tmp_path / f"{C10}.safetensors"
    source.write_bytes(fake.c10)
    status, output, _ = run(capsys, "install", str(source))
    assert (status, output.strip()) == (0, str(folders.store / source.name))
    folders.ship(C10, fake.other_c10)
    folders.ship("scarlet_a.xiaomi_in1k", fake.in1k)
    states = {row["name"]: row["state"] for row in json.loads(run(capsys, "list", "--json")[1])}
    assert (states[C10], states[IN1K], states["scarlet_b.c10"], len(states)) == ("store", "package", "not here", 6)
    assert run(capsys, "verify")[0] == 0
    (folders.store / source.name).write_bytes(fake.c10[:-1])
    (folders.store / "scarlet_b.c10.safetensors").write_bytes(fake.c10)
    (folders.package / f"{IN1K}.safetensors").unlink()
    status, output, error = run(capsys, "verify", "--json")
    assert [row["state"] for row in json.loads(output)] == ["damaged", "unlisted", "ok", "missing"]
    assert status == 2
    assert len(error.splitlines()) == 1
    assert "scarlet_b.c10" in error


def test_verify_says_that_the_store_is_no_folder(folders: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    folders.store.write_text("")
    status, _, error = run(capsys, "verify")
    assert (status, len(error.splitlines())) == (2, 1)
    assert f"cannot read {folders.store}/manifest.json: Not a directory" in error


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["install"], "needs a file"),
        (["install", "absent.safetensors"], "cannot read absent.safetensors"),
        (["install", "a", "b", "--name", C10], "--name is for one file"),
        (["install", __file__, "--name", C10], "test_resolve.py: not a safetensors file"),
        (["install", __file__], "no weights called 'test_resolve.py'"),
        (["list", "x"], "list takes no files"),
        (["burn"], "burn"),
    ],
)
def test_mistakes_are_one_line(
    folders: Folders, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    status, output, error = run(capsys, *arguments)
    assert (status, output, len(error.splitlines())) == (2, "", 1)
    assert message in error
