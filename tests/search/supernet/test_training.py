"""train: the fair step's gradient, updates, resuming after a kill, several processes, and the supernet's file."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import random
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers.runs import NothingRead, free_port, kill_after
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from scarlet_models.errors import UserError
from scarlet_models.search import cli
from scarlet_models.search.commands import train
from scarlet_models.search.commands.train import Options
from scarlet_models.search.scoring.heldout import open_supernet
from scarlet_models.search.supernet.fair_step import add_gradients, batch_statistics
from scarlet_models.search.supernet.sampler import FairSampler
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.search.supernet.training import FairSteps, train_supernet
from scarlet_models.training.checkpoint import list_checkpoints, load_checkpoint, sha256_of
from scarlet_models.training.distributed import World, start
from scarlet_models.training.optim import autocast
from scarlet_models.training.trainer import Trainer

ALONE = World(0, 1, torch.device("cpu"))
Batch = tuple[Tensor, Tensor]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy images of two colours, 24 px: train/ with 40 of each; 36 are trained on."""
    root = tmp_path_factory.mktemp("colours") / "train"
    noise = np.random.default_rng(0)
    for channel, name in ((2, "blue"), (0, "red")):
        (root / name).mkdir(parents=True)
        for i in range(40):
            pixels = noise.integers(0, 120, (24, 24, 3))
            pixels[..., channel] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root.parent


@pytest.fixture
def options(images: Path, tmp_path: Path) -> Options:
    """Two epochs of four steps in seconds."""
    return _options(images, tmp_path / "run")


def _options(images: Path, out: Path, **more: Any) -> Options:
    settings = {
        "image_size": 16,
        "batch_size": 16,
        "epochs": 2,
        "color_jitter": 0.0,
        "choices_every": 3,
        "workers": 0,
    }
    return Options(data_dir=str(images), out=str(out), space="mini", threads=1, **settings | more)


@pytest.fixture
def batch() -> Batch:
    return torch.randn(8, 3, 16, 16, dtype=torch.float64), torch.arange(8) % 2


def _net(stabilizer: str = "linear") -> Supernet:
    return Supernet("mini", 2, stabilizer).double()


def _gradients(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def _assert_close(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 1e-10) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(
            one[name], other[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


# The fair step


@pytest.mark.parametrize("stabilizer", ["linear", "skip"])
def test_the_gradient_is_the_sum_over_the_paths(batch: Batch, stabilizer: str) -> None:
    net = _net(stabilizer)
    paths = FairSampler(net.space).fair_step()
    losses, hits = add_gradients(net, paths, *batch)
    fair_step = _gradients(net)
    net.zero_grad()
    logits = [net(batch[0], path) for path in paths]
    sum(F.cross_entropy(each, batch[1]) for each in logits).backward()
    _assert_close(fair_step, _gradients(net))
    torch.testing.assert_close(losses, torch.stack([F.cross_entropy(each, batch[1]) for each in logits]).detach())
    assert hits.tolist() == [(each.argmax(1) == batch[1]).sum() for each in logits]


def test_the_stem_runs_forward_and_backward_once(batch: Batch) -> None:
    net = _net()
    calls = {"forward": 0, "backward": 0, "head": 0}

    def count(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            calls[name] += 1

        return hook

    net.stem.register_forward_hook(count("forward"))
    net.stem.bn1.weight.register_post_accumulate_grad_hook(count("backward"))
    net.head.register_forward_hook(count("head"))
    add_gradients(net, FairSampler(net.space).fair_step(), *batch)
    assert calls == {"forward": 1, "backward": 1, "head": 4}


def test_memory_is_that_of_one_path(batch: Batch) -> None:
    """The tensors kept for backward, at most: of a fair step hardly more than of its largest path."""
    net = _net()
    paths = FairSampler(net.space).fair_step()
    largest = max(
        _most_saved(lambda path=path: F.cross_entropy(net(batch[0], path), batch[1]).backward()) for path in paths
    )
    assert _most_saved(lambda: add_gradients(net, paths, *batch)) <= 1.1 * largest


class _Saved:
    """A tensor saved for backward; hashable, and gone with its graph."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def _most_saved(run: Callable[[], object]) -> int:
    """The most bytes of saved tensors, by storage, alive at one time."""
    alive: weakref.WeakSet[_Saved] = weakref.WeakSet()
    most = 0

    def pack(tensor: Tensor) -> _Saved:
        nonlocal most
        saved = _Saved(tensor)
        alive.add(saved)
        storages = {s.tensor.untyped_storage().data_ptr(): s.tensor.untyped_storage().nbytes() for s in alive}
        most = max(most, sum(storages.values()))
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        run()
    return most


def test_batch_statistics_leave_the_running_ones_alone(batch: Batch) -> None:
    net = _net()
    path = FairSampler(net.space).fair_step()[0]
    net(batch[0], path)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    trained = net(batch[0], path)
    net.load_state_dict(before, strict=False)
    with batch_statistics(net), torch.inference_mode():
        scored = net(batch[0], path)
    torch.testing.assert_close(scored, trained.detach())
    assert net.training
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, before[name]), name
    net(batch[0], path)
    assert not torch.equal(net.stem.bn1.running_mean, before["stem.bn1.running_mean"])


# The update


def _start(options: Options, world: World = ALONE) -> Trainer:
    """A training in train mode that has done no step."""
    trainer = Trainer(FairSteps(options, world), "scarlet-search train")
    trainer.task.model.train()
    return trainer


def _exact(options: Options, world: World = ALONE) -> Trainer:
    """The same in float64 with batch norm in eval mode, where sums do not depend on how a batch is cut."""
    trainer = _start(options, world)
    trainer.task.model.double().eval()
    return trainer


def _step(trainer: Trainer, batches: Any = None) -> dict[str, float]:
    """One fair step, on the next batch if none is given. Returns its row."""
    steps = trainer.task.steps_per_epoch
    trainer.train_step(batches or trainer.load(trainer.step // steps, trainer.step % steps, 1))
    trainer.read()
    return trainer.row


def _double(batches: list[Batch]) -> Any:
    return iter([(images.to("cpu").double(), labels) for images, labels in batches])


def test_unused_blocks_get_neither_momentum_nor_decay(options: Options) -> None:
    trainer = _start(dataclasses.replace(options, sampling="single", weight_decay=0.1, lr=0.1))
    before = {name: p.detach().clone() for name, p in trainer.task.model.named_parameters()}
    sampler, used = trainer.task.parts["sampler"], set()
    for _ in range(2):
        state = sampler.state_dict()
        (path,) = sampler.fair_step()
        sampler.load_state_dict(state)
        used |= {f"layers.{layer}.{choice}." for layer, choice in enumerate(path)}
        _step(trainer)
    untouched = 0
    for name, parameter in trainer.task.model.named_parameters():
        block = ".".join(name.split(".")[:3]) + "."
        if name.startswith("layers.") and block not in used:
            assert torch.equal(parameter, before[name])
            assert parameter not in trainer.optimizer.state
            untouched += 1
        elif name.endswith("weight"):
            assert not torch.equal(parameter, before[name]), name
    assert untouched


def test_shared_gradients_are_averaged(options: Options, batch: Batch) -> None:
    """With plain SGD the step is the gradient: of stem and head it is a quarter, of the choices it is the same."""
    steps = {}
    for average in (True, False):
        plain = {"opt_args": {"momentum": 0.0}, "weight_decay": 0.0, "clip_grad": 0.0, "out": f"{options.out}{average}"}
        trainer = _exact(dataclasses.replace(options, average_shared=average, **plain))
        before = {name: p.detach().clone() for name, p in trainer.task.model.named_parameters()}
        _step(trainer, iter([batch]))
        steps[average] = {name: p.detach() - before[name] for name, p in trainer.task.model.named_parameters()}
    net = trainer.task.model
    assert isinstance(net, Supernet)
    shared = {id(p) for p in (*net.stem.parameters(), *net.head.parameters())}
    assert 0 < len(shared) < len(steps[True])
    factor = {name: 4 if id(p) in shared else 1 for name, p in net.named_parameters()}
    _assert_close({name: step * factor[name] for name, step in steps[True].items()}, steps[False])


def test_a_fair_step_reads_nothing_back_from_the_device(options: Options) -> None:
    trainer = _start(options)
    parts = iter(list(trainer.load(0, 0, 2)))
    trainer.train_step(parts)
    with NothingRead():
        trainer.train_step(parts)
    trainer.read()
    assert [step for step, _ in trainer._rows] == [1, 2]


def test_the_gradient_is_clipped(options: Options) -> None:
    plain = {"opt_args": {"momentum": 0.0}, "weight_decay": 0.0}
    trainer = _start(dataclasses.replace(options, clip_grad=0.01, lr=1.0, **plain))
    before = torch.cat([p.detach().flatten().clone() for p in trainer.task.model.parameters()])
    row = _step(trainer)
    moved = torch.cat([p.detach().flatten() for p in trainer.task.model.parameters()]) - before
    assert row["grad_norm"] > 0.01
    assert moved.norm().item() == pytest.approx(0.01, rel=0.01)


def test_accumulated_parts_are_one_batch(options: Options) -> None:
    weights = []
    for accumulate in (1, 4):
        trainer = _exact(dataclasses.replace(options, accumulate=accumulate, out=f"{options.out}{accumulate}"))
        batches = list(trainer.load(0, 0, 2))
        assert len(batches) == 2 * accumulate
        feed = _double(batches)
        rows = [_step(trainer, feed) for _ in range(2)]
        weights.append((trainer.task.model.state_dict(), rows))
    _assert_close(weights[0][0], weights[1][0])
    assert weights[0][1][1] == pytest.approx(weights[1][1][1])


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_reduced_precision_trains(options: Options, amp: Any) -> None:
    trainer = _start(dataclasses.replace(options, amp=amp))
    exact = _start(dataclasses.replace(options, out=f"{options.out}exact"))
    with autocast(amp, trainer.world.device):
        assert trainer.task.model.get_submodule("stem")(torch.zeros(1, 3, 16, 16)).dtype is not torch.float32
    rows = [_step(each) for each in (trainer, exact)]
    assert rows[0]["loss"] == pytest.approx(rows[1]["loss"], rel=0.02)
    assert rows[0]["loss"] != rows[1]["loss"]
    assert rows[0]["grad_norm"] == pytest.approx(rows[1]["grad_norm"], rel=0.1)


# A run


def test_it_learns(options: Options) -> None:
    train.main(dataclasses.replace(options, epochs=8, checkpoint_minutes=60.0))
    rows = _rows(Path(options.out) / "metrics.csv")
    losses, accuracies = ([float(row[name]) for row in rows] for name in ("loss", "top1"))
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
    assert np.mean(accuracies[-4:]) > 75


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train.main(_options(images, out))
    return out


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key != "images_per_second"} for row in csv.DictReader(file)
        ]


def _assert_same_run(run: Path, other: Path) -> None:
    """Weights, momentum, sampler and figures bit for bit."""
    assert sha256_of(run / "supernet.safetensors") == sha256_of(other / "supernet.safetensors")
    for name in ("metrics.csv", "choices.csv"):
        assert _rows(run / name) == _rows(other / name)
    states = [load_checkpoint(list_checkpoints(folder / "checkpoints")[0]) for folder in (run, other)]
    assert states[0]["sampler"] == states[1]["sampler"]
    momentum = [list(state["optimizer"]["state"].values()) for state in states]
    assert len(momentum[0]) == len(momentum[1]) > 0
    for one, two in zip(*momentum, strict=True):
        assert torch.equal(one["momentum_buffer"], two["momentum_buffer"])


def test_a_run_records_every_step(whole: Path) -> None:
    rows = _rows(whole / "metrics.csv")
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert [bool(row["holdout_top1"]) for row in rows] == [step in (4, 8) for step in range(1, 9)]
    choices = _rows(whole / "choices.csv")
    assert {int(row["step"]) for row in choices} == {3, 6, 8}
    wide = [row for row in choices if row["layer"] == "1"]
    paths = [(str(choice), count) for count in ("3", "3", "2") for choice in range(4)]
    assert [(row["choice"], row["paths"]) for row in wide] == paths
    of_the_first_steps = np.mean([float(row["top1"]) for row in rows[:3]])
    assert np.mean([float(row["top1"]) for row in wide[:4]]) == pytest.approx(of_the_first_steps, rel=1e-4)
    assert len(list_checkpoints(whole / "checkpoints")) == 2
    assert any((whole / "events").iterdir())


def test_the_supernets_file_round_trips(whole: Path) -> None:
    net, info, *_ = open_supernet(whole)
    saved = load_checkpoint(list_checkpoints(whole / "checkpoints")[0])["model"]
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, saved[name]), name
    assert not net.training
    assert (net.space.name, net.num_classes, net.stabilizer) == ("mini", 2, "linear")
    assert (info.image_size, info.classes, info.steps) == (16, ["blue", "red"], 8)
    assert info.split_hash == load_checkpoint(list_checkpoints(whole / "checkpoints")[0])["split"]
    assert info.sha256 == sha256_of(whole / "supernet.safetensors")
    logits = net(torch.randn(1, 3, 16, 16), FairSampler(net.space).fair_step()[0])
    logits.sum().backward()  # loaded weights train on
    assert net.stem.conv_stem.weight.grad is not None


def test_a_damaged_supernet_is_refused(whole: Path, tmp_path: Path) -> None:
    for name in ("supernet.safetensors", "supernet.json"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    with (tmp_path / "supernet.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    with pytest.raises(UserError, match="damaged"):
        Supernet.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="holds no supernet"):
        Supernet.from_pretrained(tmp_path / "absent")


def test_killed_and_resumed_it_gives_the_same(images: Path, whole: Path, tmp_path: Path) -> None:
    """SIGKILL at a random moment, also while a checkpoint is written; then --resume."""
    options = _options(images, tmp_path / "run", checkpoint_minutes=0.0)
    delay = random.uniform(0, 0.5)
    kill_after(_command(options, tmp_path), options.out, step=2, delay=delay)
    train.main(dataclasses.replace(options, resume=True))
    _assert_same_run(tmp_path / "run", whole)


def test_a_step_that_was_cut_short_is_done_again(images: Path, whole: Path, tmp_path: Path) -> None:
    """Rows written after the newest checkpoint are dropped, and the sampler goes back."""
    options = _options(images, tmp_path / "run", checkpoint_minutes=0.0)
    trainer = _start(options)
    train_step = trainer.train_step

    def stop(parts: Any) -> None:
        if trainer.step == 5:
            raise KeyboardInterrupt
        train_step(parts)

    trainer.train_step = stop  # type: ignore[method-assign]  # a kill
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    with (tmp_path / "run" / "metrics.csv").open("a") as file:
        file.write("6,2,0.1")  # torn
    train.main(dataclasses.replace(options, resume=True))
    _assert_same_run(tmp_path / "run", whole)


def test_resuming_a_run_that_is_done_changes_nothing(images: Path, whole: Path) -> None:
    before = sha256_of(whole / "supernet.safetensors")
    train.main(_options(images, whole, resume=True))
    assert sha256_of(whole / "supernet.safetensors") == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.5}, "lr was 0.045, is 0.5"),
        ({"stabilizer": "skip"}, "stabilizer was 'linear'"),
        ({"holdout": 0.2}, "holdout"),
    ],
)
def test_another_trainings_folder_is_refused(images: Path, whole: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _start(_options(images, whole, resume=True, **change))
    with pytest.raises(UserError, match="holds a run already"):
        _start(_options(images, whole))


def test_another_split_is_refused_even_with_drift(images: Path, whole: Path) -> None:
    with pytest.raises(UserError, match="holds out other images"):
        _start(_options(images, whole, resume=True, allow_drift=True, split_seed=1))


def test_a_loss_that_is_not_finite_stops_the_run(images: Path, tmp_path: Path, capsys: Any) -> None:
    options = _options(images, tmp_path / "run", lr=1e30, clip_grad=0.0, checkpoint_minutes=0.0)
    _write_config(options, tmp_path)
    assert cli.main(["train", "--config", str(tmp_path / "options.yaml")]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "of path 0 (" in message and "at step 2" in message and "last good checkpoint" in message
    kept = load_checkpoint(list_checkpoints(tmp_path / "run" / "checkpoints")[0])
    assert kept["step"] == 1
    assert not (tmp_path / "run" / "supernet.safetensors").exists()
    with pytest.raises(UserError, match="there was no checkpoint yet"):
        train.main(dataclasses.replace(options, out=str(tmp_path / "early"), checkpoint_minutes=5.0))


def test_steps_may_end_inside_an_epoch(options: Options) -> None:
    train.main(dataclasses.replace(options, steps=6, sampling="uniform", stabilizer="relu"))
    rows = _rows(Path(options.out) / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["1"] * 4 + ["2"] * 2
    assert float(rows[-1]["lr"]) == pytest.approx(0.045 * (1 + np.cos(np.pi * 5 / 6)) / 2, rel=1e-4)
    assert Supernet.from_pretrained(options.out).stabilizer == "relu"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "16", "--accumulate", "3"], "does not divide"),
        (["--batch-size", "100"], "nothing to train"),
        (["--stabilizer", "wax"], "'wax' is not one of linear, skip, bn, relu"),
        (["--init", "wax"], "'wax'"),
        (["--space", "wax"], "no search space 'wax'"),
        (["--sampling", "wax"], "fair"),
        (["--opt", "wax"], "cannot make optimizer wax"),
        (["--data-dir", "wax"], "wax"),
        (["--threads", "-1"], "--threads: -1 is below 0"),
        (["--choices-every", "0"], "--choices-every: 0 is below 1"),
    ],
)
def test_mistakes_get_one_line(images: Path, tmp_path: Path, capsys: Any, arguments: list[str], message: str) -> None:
    start = ["train", "--data-dir", str(images), "--space", "mini", "--out", str(tmp_path / "run")]
    assert cli.main([*start, "--batch-size", "16", "--workers", "0", *arguments]) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["supernet_imagenet", "supernet_imagenette", "supernet_nas_bench_macro"])
def test_recipes_are_options(recipe: str) -> None:
    loaded = cli.PROGRAM.parse("train", train, ["--config", recipe, "--stabilizer", "skip", "--data-dir", "x"])
    assert loaded.stabilizer == "skip"
    assert loaded.data_dir == "x"


# Several processes


def _write_config(options: Options, folder: Path) -> None:
    plain = json.loads(json.dumps(dataclasses.asdict(options)))
    (folder / "options.yaml").write_text(yaml.safe_dump(plain))


def _command(options: Options, folder: Path, processes: int = 1) -> list[str]:
    _write_config(options, folder)
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", free_port()]
    return [*start, "-m", "scarlet_models.search", "train", "--config", str(folder / "options.yaml")]


def _two_steps_of_a_rank(rank: int, port: str, options: Options, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    with start("cpu") as world:
        trainer = _exact(options, world)
        feed = _double(list(trainer.load(0, 0, 2)))
        rows = [_step(trainer, feed) for _ in range(2)]
        torch.save((trainer.task.model.state_dict(), rows), folder / f"rank{rank}.pt")


def test_two_ranks_with_half_the_batch_are_one_rank(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))  # where the ranks find this module
    split = dataclasses.replace(options, out=f"{options.out}2")
    torch.multiprocessing.spawn(_two_steps_of_a_rank, (free_port(), split, tmp_path), nprocs=2)
    trainer = _exact(options)
    feed = _double(list(trainer.load(0, 0, 2)))
    rows = [_step(trainer, feed) for _ in range(2)]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name, tensor in ranks[0][0].items():
        assert torch.equal(tensor, ranks[1][0][name]), name
    _assert_close(ranks[0][0], trainer.task.model.state_dict())
    assert ranks[0][1][1] == ranks[1][1][1] == pytest.approx(rows[1])


@pytest.mark.slow
def test_two_processes_train_and_resume_bit_for_bit(images: Path, tmp_path: Path) -> None:
    run = _options(images, tmp_path / "whole")
    subprocess.run(_command(run, tmp_path, processes=2), check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    killed = _options(images, tmp_path / "killed", checkpoint_minutes=0.0)
    kill_after(_command(killed, tmp_path, processes=2), killed.out, step=3)
    resumed = dataclasses.replace(killed, resume=True)
    subprocess.run(_command(resumed, tmp_path, processes=2), check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_all_ranks_stop_at_a_loss_that_is_not_finite(images: Path, tmp_path: Path) -> None:
    options = _options(images, tmp_path / "run", lr=1e30, clip_grad=0.0)
    done = subprocess.run(
        _command(options, tmp_path, processes=2), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode != 0
    assert done.stderr.count("of path 0 (") == 2


def test_from_python_a_supernet_is_trained_and_returned(images: Path, whole: Path, tmp_path: Path) -> None:
    options = dataclasses.asdict(_options(images, tmp_path / "run"))
    net = train_supernet(options.pop("space"), **options)
    assert sha256_of(tmp_path / "run" / "supernet.safetensors") == sha256_of(whole / "supernet.safetensors")
    assert isinstance(net, Supernet) and not net.training
