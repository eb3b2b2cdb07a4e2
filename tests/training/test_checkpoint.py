"""Checkpoints: whole or absent, checksummed, the newest two, and no code in them."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.optim import create_optimizer_v2

from scarlet_models.errors import UserError
from scarlet_models.training.checkpoint import (
    list_checkpoints,
    load_checkpoint,
    load_newest,
    restore_parts,
    save_checkpoint,
)


def _state(value: float, size: int = 10) -> dict[str, Any]:
    return {"weights": torch.full((size,), value), "step": int(value), "nested": {"list": [1, 2.5, "text"]}}


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "new", 3, _state(3))
    state = load_newest(tmp_path / "new")
    assert state is not None
    assert torch.equal(state.pop("weights"), torch.full((10,), 3.0))
    assert state == {"step": 3, "nested": {"list": [1, 2.5, "text"]}}
    assert load_newest(tmp_path / "absent") is None


def test_the_newest_two_are_kept_with_checksums_that_sha256sum_reads(tmp_path: Path) -> None:
    for step in (1, 2, 30, 4000):
        save_checkpoint(tmp_path, step, _state(step))
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_000004000.pt", "step_000000030.pt"]
    assert len(list(tmp_path.iterdir())) == 4
    for path in list_checkpoints(tmp_path):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.with_suffix(".sha256").read_text() == f"{digest}  {path.name}\n"


@pytest.mark.parametrize("damage", ["truncated", "emptied", "one bit"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    save_checkpoint(tmp_path, 1, _state(1))
    newest = save_checkpoint(tmp_path, 2, _state(2))
    content = newest.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    newest.write_bytes({"truncated": content[:middle], "emptied": b"", "one bit": flipped}[damage])
    with caplog.at_level(logging.WARNING):
        state = load_newest(tmp_path)
    assert state is not None and state["step"] == 1
    assert "step_000000002.pt is damaged" in caplog.text


def test_a_run_that_goes_on_from_before_a_damaged_checkpoint_drops_it(tmp_path: Path) -> None:
    for step in (1, 9):
        save_checkpoint(tmp_path, step, _state(step))
    (tmp_path / "step_000000009.pt").write_bytes(b"")
    save_checkpoint(tmp_path, 2, _state(2))
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_000000002.pt", "step_000000001.pt"]


def test_all_damaged_is_one_clear_line(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, _state(step)).write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged; delete"):
        load_newest(tmp_path)


def test_what_a_kill_left_behind_is_ignored_and_then_removed(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, _state(1))
    (tmp_path / ".step_000000002.pt.77.tmp").write_bytes(b"half")
    (tmp_path / "step_000000002.pt").write_bytes(b"written, but killed before its checksum was")
    state = load_newest(tmp_path)
    assert state is not None and state["step"] == 1
    save_checkpoint(tmp_path, 3, _state(3))
    assert {path.name for path in tmp_path.iterdir()} == {
        f"step_00000000{step}.{suffix}" for step in (1, 3) for suffix in ("pt", "sha256")
    }


def test_what_others_put_beside_the_checkpoints_stays(tmp_path: Path) -> None:
    others = {"best.pt", "step_best.pt", "notes.txt", ".hidden", "step_1.pt.bak"}
    for name in others:
        (tmp_path / name).write_text("x")
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, _state(step))
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith("step_00")} == others
    assert len(list_checkpoints(tmp_path)) == 2


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("code_ran",)


def test_a_pickle_with_code_is_refused_even_with_a_right_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = save_checkpoint(tmp_path / "c", 1, {"evil": _Code()})
    with pytest.raises(UserError, match="cannot read checkpoint"):
        load_checkpoint(path)
    assert not Path("code_ran").exists()


@contextmanager
def _disk_of(size: int) -> Iterator[None]:
    """No file can grow past `size` bytes: a write then fails in the system, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_line_and_leaves_the_earlier_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, _state(1))
    with (
        _disk_of(100_000),
        pytest.raises(UserError, match=r"cannot write .*step_000000002\.pt: .*free space") as caught,
    ):
        save_checkpoint(tmp_path, 2, _state(2, size=1_000_000))
    assert "\n" not in str(caught.value)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_000000001.pt"]
    state = load_newest(tmp_path)
    assert state is not None and state["step"] == 1
    assert not list(tmp_path.glob(".*")), "the half-written file is gone"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*file"):
        save_checkpoint(tmp_path / "file", 1, _state(1))


def test_lookahead_goes_on_where_it_was() -> None:
    """Its count of steps, which says when the slow weights follow, stands among timm's settings of it."""

    def trained(steps: int, net: torch.nn.Module, optimizer: Any) -> list[torch.Tensor]:
        for _ in range(steps):
            optimizer.zero_grad()
            net(torch.ones(1, 2)).square().sum().backward()
            optimizer.step()
        return [parameter.detach().clone() for parameter in net.parameters()]

    def new() -> tuple[torch.nn.Module, Any]:
        torch.manual_seed(0)
        net = torch.nn.Linear(2, 2)
        return net, create_optimizer_v2(net, "lookahead_momentum", lr=0.01, momentum=0.9)

    whole = trained(16, *new())
    net, optimizer = new()
    trained(8, net, optimizer)
    parts = {"model": net, "optimizer": optimizer}
    state = copy.deepcopy({name: part.state_dict() for name, part in parts.items()})
    net, optimizer = new()
    restore_parts({"model": net, "optimizer": optimizer}, state)
    assert all(map(torch.equal, trained(8, net, optimizer), whole))


def test_an_optimizer_goes_on_with_its_own_settings_and_the_rate_of_the_schedule() -> None:
    """Without --allow-drift the settings are those of the checkpoint anyway."""
    net = torch.nn.Linear(2, 2)
    kept = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    net(torch.ones(1, 2)).sum().backward()
    kept.step()
    groups = [{"params": [net.weight]}, {"params": [net.bias], "weight_decay": 0.0}]
    changed = torch.optim.SGD([{"params": list(net.parameters())}], lr=0.5, momentum=0.8, weight_decay=0.2)
    restore_parts({"optimizer": changed}, {"optimizer": kept.state_dict()})
    (group,) = changed.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.8, 0.2)
    assert torch.equal(changed.state[net.bias]["momentum_buffer"], kept.state[net.bias]["momentum_buffer"])
    for other in (torch.optim.SGD(groups, lr=0.1), torch.optim.AdamW(net.parameters())):
        with pytest.raises(UserError, match="another optimizer, or none"):
            restore_parts({"optimizer": other}, {"optimizer": kept.state_dict()})
