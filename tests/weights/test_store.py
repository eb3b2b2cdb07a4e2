"""The store of weights: nothing breaks it, and what is damaged in it is named."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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

from scarlet_models import UserError, files
from scarlet_models.weights import save as saving
from scarlet_models.weights import store
from scarlet_models.weights.install import install
from scarlet_models.weights.shipped import ACCURACIES, TAG

# Files that are not what they should be


def test_a_damaged_file_is_not_loaded(folders: Folders, fake: Fake) -> None:
    flip_last_bit(install(fake.ours, OURS))
    for arguments in ({"name": OURS}, {"pretrained_cfg": timm.get_pretrained_cfg(OURS)}):
        with pytest.raises(UserError, match=r"scarlet_a\.tiny_in\.safetensors is damaged \(its sha256"):
            create(**arguments)


def test_a_file_that_is_not_listed_is_not_loaded(folders: Folders, fake: Fake) -> None:
    folders.store.mkdir()
    (folders.store / f"{IN1K}.safetensors").write_bytes(fake.in1k)
    with pytest.raises(UserError, match=r"not listed in manifest\.json"):
        create()


@only_where_timm_forgets
@pytest.mark.parametrize("text", ["{", "[]", '{"scarlet_a.tiny_in.safetensors": 3}', "\x00"])
def test_a_damaged_manifest_is_said_to_be_one(folders: Folders, fake: Fake, text: str) -> None:
    install(fake.ours, OURS)
    (folders.store / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        create(OURS)
    refresh()  # what importing does: it must not fail
    assert listed() == []


@pytest.mark.parametrize("name", [f"{name}.{TAG}" for name in ACCURACIES])
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
    other.write_bytes(fake.ours)
    for name in ("SCARLET_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)
    if home:
        monkeypatch.setenv("SCARLET_HOME", home)
    refresh()  # what importing does: it must not fail
    assert holds(create(OURS, pretrained_cfg_overlay={"file": str(other)}), fake.ours)
    for fail in (lambda: create(OURS), lambda: install(fake.ours, OURS)):
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
    tensors = safetensors.torch.load(fake.ours)
    change(tensors)
    with pytest.raises(UserError, match=message):
        install(safetensors.torch.save(tensors), OURS)
    with pytest.raises(UserError, match="damaged"):
        install(fake.ours[:-100], OURS)
    with pytest.raises(UserError, match=r"no weights called 'scarlet_a2\.tiny_in'"):
        install(fake.ours, "scarlet_a2.tiny_in")
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
    install(fake.ours, OURS)
    manifest = (folders.store / "manifest.json").read_bytes()
    with full_disk(1 << 20), pytest.raises(UserError, match=r"cannot write .*scarlet_a\.tiny_in\.safetensors"):
        install(fake.other, OURS)
    assert holds(create(OURS), fake.ours)
    assert (folders.store / "manifest.json").read_bytes() == manifest
    assert {path.name for path in folders.store.iterdir()} == {".lock", "manifest.json", f"{OURS}.safetensors"}


class Killed(BaseException):
    """Stands for a kill: nothing handles it."""


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_kill_between_any_two_steps_loses_nothing(
    folders: Folders, fake: Fake, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    install(fake.ours, OURS)
    real, done = files.write_atomically, []

    def killed(path: Path, write: Any) -> None:
        if len(done) == writes:
            raise Killed
        done.append(path)
        real(path, write)

    monkeypatch.setattr(files, "write_atomically", killed)
    with pytest.raises(Killed):
        install(fake.other, OURS)
    monkeypatch.undo()
    monkeypatch.setenv("SCARLET_HOME", str(folders.store))
    assert holds(create(OURS), fake.other if writes == 2 else fake.ours)
    install(fake.other, OURS)
    assert holds(create(OURS), fake.other)
    assert isinstance(json.loads((folders.store / "manifest.json").read_text())[f"{OURS}.safetensors"], str)


def test_a_killed_writer_leaves_the_old_file_and_its_rest_is_swept(folders: Folders, fake: Fake) -> None:
    path = install(fake.ours, OURS)
    if (child := os.fork()) == 0:
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        files.write_atomically(path, lambda file: file.write(b"half"))
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(list(folders.store.glob(".scarlet_a.tiny_in*.tmp"))) == 1
    assert holds(create(OURS), fake.ours)
    install(fake.ours, OURS)
    assert not list(folders.store.glob("*.tmp"))


def test_installations_at_the_same_time_are_all_kept(folders: Folders, fake: Fake) -> None:
    threads = [threading.Thread(target=install, args=pair) for pair in ((fake.ours, OURS), (fake.in1k, IN1K))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert holds(create(OURS), fake.ours)
    assert holds(create(IN1K), fake.in1k)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_cannot_be_written_is_one_line(folders: Folders, fake: Fake) -> None:
    folders.store.parent.chmod(0o500)
    with pytest.raises(UserError, match="SCARLET_HOME"):
        install(fake.ours, OURS)


def test_a_file_in_the_way_of_the_store_is_one_line(folders: Folders, fake: Fake) -> None:
    folders.store.write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*SCARLET_HOME"):
        install(fake.ours, OURS)


# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    from scarlet_models.cli import main

    status = main(["weights", *arguments])
    return status, *capsys.readouterr()


def test_the_command_lists_installs_and_verifies(
    folders: Folders, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "dir") == (0, f"{folders.store}\n", "")
    source = tmp_path / f"{OURS}.safetensors"
    source.write_bytes(fake.ours)
    status, output, _ = run(capsys, "install", str(source))
    assert (status, output.strip()) == (0, str(folders.store / source.name))
    folders.ship(OURS, fake.other)
    folders.ship("scarlet_a.xiaomi_in1k", fake.in1k)
    states = {row["name"]: row["state"] for row in json.loads(run(capsys, "list", "--json")[1])}
    assert (states[OURS], states[IN1K], states["scarlet_b.tiny_in"], len(states)) == ("store", "package", "not here", 6)
    assert run(capsys, "verify")[0] == 0
    (folders.store / source.name).write_bytes(fake.ours[:-1])
    (folders.store / "scarlet_b.tiny_in.safetensors").write_bytes(fake.ours)
    (folders.package / f"{IN1K}.safetensors").unlink()
    status, output, error = run(capsys, "verify", "--json")
    assert [row["state"] for row in json.loads(output)] == ["damaged", "unlisted", "ok", "missing"]
    assert status == 2
    assert len(error.splitlines()) == 1
    assert "scarlet_b.tiny_in" in error


def test_verify_says_that_the_store_is_no_folder(folders: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    folders.store.write_text("")
    status, _, error = run(capsys, "verify")
    assert (status, len(error.splitlines())) == (2, 1)
    assert f"cannot read {folders.store}/manifest.json: Not a directory" in error


def test_a_run_is_installed_in_half_precision(
    folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the files that ship are: float16, but for batch norms."""
    net = random_weights(OURS, 4)
    saving.save(net, tmp_path / "my run" / "exported" / "net")
    status, out, err = run(capsys, "install", str(tmp_path / "my run"), "--name", OURS)
    assert (status, err) == (0, "")
    stored = safetensors.torch.load_file(out.strip())
    expected = saving.half_precision(net)
    assert stored.keys() == expected.keys()
    assert all(
        tensor.dtype == expected[key].dtype and torch.equal(tensor, expected[key]) for key, tensor in stored.items()
    )
    assert holds(create(OURS), Path(out.strip()).read_bytes())
    status, _, err = run(capsys, "install", str(tmp_path), "--name", OURS)
    assert status == 2 and err.count("\n") == 1 and "is not a saved network" in err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["install"], "needs a file"),
        (["install", "absent.safetensors"], "cannot read absent.safetensors"),
        (["install", "a", "b", "--name", OURS], "--name is for one file"),
        (["install", __file__, "--name", OURS], "test_store.py: not a safetensors file"),
        (["install", __file__], "no weights called 'test_store.py'"),
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
